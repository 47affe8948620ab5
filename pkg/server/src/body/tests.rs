use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use model::TenantId;

use super::*;
use crate::Budget;
use crate::inflate::tests::{gzip, zstd_of_unknown_size};

fn headers(encodings: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for encoding in encodings {
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    headers
}

/// A body that comes in pieces of 1,000 bytes, without a known length.
fn pieces(data: &[u8]) -> impl Body<Data = Bytes, Error = Infallible> {
    let frames: Vec<_> = data
        .chunks(1_000)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    StreamBody::new(futures_util::stream::iter(frames))
}

#[tokio::test]
async fn encodings_give_the_same_bytes() {
    let data: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let limit = data.len();
    for (name, encodings, sent) in [
        ("none", &[] as &[_], data.clone()),
        ("identity", &["identity"], data.clone()),
        ("gzip", &["gzip"], gzip(&data)),
        ("case and space", &[" GZIP "], gzip(&data)),
        ("identity and gzip", &["identity", "gzip"], gzip(&data)),
        ("zstd", &["zstd"], zstd_of_unknown_size(&data)),
    ] {
        let read = read_body(&headers(encodings), pieces(&sent), limit, BODY_READ_TIMEOUT).await;
        assert_eq!(read.unwrap(), data, "{name}");
    }
}

#[tokio::test]
async fn body_in_one_piece_is_not_copied() {
    let sent = Bytes::from(vec![7; 4_096]);
    let read = read_body(
        &HeaderMap::new(),
        Full::new(sent.clone()),
        4_096,
        BODY_READ_TIMEOUT,
    )
    .await;
    assert_eq!(read.unwrap().as_ptr(), sent.as_ptr());
}

#[tokio::test]
async fn unknown_and_nested_encodings_are_415() {
    for encodings in [
        &["br"] as &[_],
        &["gzip, gzip"],
        &["gzip", "gzip"],
        &["\u{7f}"],
    ] {
        let mut map = HeaderMap::new();
        for encoding in encodings {
            map.append(
                header::CONTENT_ENCODING,
                HeaderValue::from_bytes(encoding.as_bytes())
                    .unwrap_or_else(|_| HeaderValue::from_static("weird")),
            );
        }
        let error = read_body(&map, pieces(b""), 10, BODY_READ_TIMEOUT)
            .await
            .unwrap_err();
        assert_eq!(error.http_status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}

#[tokio::test]
async fn limits_hold_before_and_after_decompression() {
    let zeros = vec![0; 32 << 20];
    let limit = 1 << 20;
    for (name, encodings, sent) in [
        ("plain", &[] as &[_], zeros.clone()),
        ("gzip bomb", &["gzip"], gzip(&zeros)),
        ("zstd bomb", &["zstd"], zstd_of_unknown_size(&zeros)),
        // Compressed data that alone is over the limit, whatever it holds.
        ("long gzip", &["gzip"], gzip(b"").repeat(100_000)),
        ("long zstd", &["zstd"], zeros.clone()),
    ] {
        let error = read_body(&headers(encodings), pieces(&sent), limit, BODY_READ_TIMEOUT)
            .await
            .unwrap_err();
        assert!(
            matches!(error, BodyError::TooLarge { .. }),
            "{name}: {error}"
        );
        assert_eq!(error.http_status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(error.grpc_code(), Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn declared_length_over_the_limit_is_refused_unread() {
    let mut map = HeaderMap::new();
    map.insert(header::CONTENT_LENGTH, HeaderValue::from_static("11"));
    let never = StreamBody::new(futures_util::stream::pending::<
        Result<Frame<Bytes>, Infallible>,
    >());
    let error = read_body(&map, never, 10, BODY_READ_TIMEOUT)
        .await
        .unwrap_err();
    assert!(matches!(error, BodyError::TooLarge { limit: 10 }));
}

#[tokio::test]
async fn damaged_gzip_is_400_and_nested_gzip_is_inflated_once() {
    let error = read_body(
        &headers(&["gzip"]),
        pieces(b"plain text"),
        100,
        BODY_READ_TIMEOUT,
    )
    .await
    .unwrap_err();
    assert_eq!(error.http_status(), StatusCode::BAD_REQUEST);
    let inner = gzip(b"spans");
    let read = read_body(
        &headers(&["gzip"]),
        pieces(&gzip(&inner)),
        100,
        BODY_READ_TIMEOUT,
    )
    .await;
    assert_eq!(read.unwrap(), inner);
}

#[tokio::test(start_paused = true)]
async fn slow_body_is_cut_off() {
    let never = StreamBody::new(futures_util::stream::pending::<
        Result<Frame<Bytes>, Infallible>,
    >());
    let limit = Duration::from_secs(7);
    let start = tokio::time::Instant::now();
    let error = read_body(&HeaderMap::new(), never, 10, limit)
        .await
        .unwrap_err();
    assert_eq!(start.elapsed(), limit);
    assert_eq!(error.http_status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(error.to_string(), "request body took longer than 7s");
}

/// A body that counts the bytes that were taken of it.
fn counted<'a>(
    data: &'a [u8],
    taken: &'a AtomicUsize,
) -> impl Body<Data = Bytes, Error = Infallible> {
    let body = pieces(data);
    body.map_frame(|frame| {
        taken.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        frame
    })
}

#[tokio::test]
async fn body_without_memory_for_it_is_read_to_its_end() {
    const LIMIT: usize = 100_000;
    let (tenant, other) = (
        TenantId::parse("acme").unwrap(),
        TenantId::parse("b").unwrap(),
    );
    let plain = vec![7; 50_000];
    let zipped = gzip(&vec![7; 4_000_000]);
    let endless = vec![7; 1_000_000];
    let long = ("content-length", "50000");
    let is_gzip = ("content-encoding", "gzip");
    for (name, asked, header, sent, taken) in [
        ("refused before", 60_000, None, &plain, plain.len()),
        (
            "refused by its declared length",
            10,
            Some(long),
            &plain,
            plain.len(),
        ),
        ("refused partway", 10, None, &plain, plain.len()),
        (
            "refused by what it becomes",
            10,
            Some(is_gzip),
            &zipped,
            zipped.len(),
        ),
        (
            "refused and never ending",
            60_000,
            None,
            &endless,
            LIMIT + 1_000,
        ),
    ] {
        let budget = Budget::new(60_000);
        let _other = budget.begin(&other, 20_000).unwrap();
        let memory = RequestMemory::default();
        let _ = memory.take(&budget, &tenant, asked);
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let count = AtomicUsize::new(0);
        let body = counted(sent, &count);
        let read = read_held_body(&headers, body, LIMIT, BODY_READ_TIMEOUT, &memory).await;
        let refused = Overloaded::Full;
        assert!(
            matches!(read, Err(BodyError::Overloaded(why)) if why == refused),
            "{name}: {read:?}"
        );
        assert_eq!(count.into_inner(), taken, "{name}");
    }
}
