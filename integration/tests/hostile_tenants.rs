//! Ids that are no tenants' are refused wherever a request can name a tenant, and leave
//! nothing on the disk.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use prost::Message as _;
use serde_json::json;
use spanmill_integration::push_spans::PushSpans;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Ids that some file system, or a server behind several decodings, takes for more.
const HOSTILE: [&[u8]; 13] = [
    b".",
    b"..",
    b"../x",
    b"..\\x",
    b"..\\",
    b"/etc/x",
    b"a/../../x",
    b"%2e%2e",
    b"%2e%2e%2fx",
    b"%252e%252e%252fx",
    b"a\0b",
    b"\xc0\xae\xc0\xae",
    b"C:x",
];

/// Tenants with names that are odd and allowed.
const ODD: [&str; 6] = ["con", "nul.", "...", "Team", "team", "!-_.*'()"];

/// The status of an answer to a request that no client library would send.
async fn raw(address: &str, head: &[&[u8]], body: &[u8]) -> anyhow::Result<u16> {
    let address = address.strip_prefix("http://").unwrap_or(address);
    let address = address.split('/').next().unwrap_or_default();
    let mut connection = TcpStream::connect(address).await?;
    let length = format!(
        "\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut request = head.concat();
    request.extend_from_slice(length.as_bytes());
    request.extend_from_slice(body);
    connection.write_all(&request).await?;
    let mut answer = Vec::new();
    // An answer may come before the request was read, and the end be a reset.
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap_or("0");
    Ok(status.parse()?)
}

/// Names of what lies in a directory; none where there is none.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Threats, S2.
#[tokio::test]
async fn hostile_ids_are_refused_everywhere_and_leave_nothing_on_the_disk() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "multitenancy_enabled": true,
                "metrics_generator": {"storage": {"remote_write": [{"url": sink.url()}]}},
            })
            .to_string(),
        )
        .start()
        .await?;
    let traces = Traces::of_service("shop").spans("pay", 1, Duration::from_millis(3), 1);
    let body = traces.request().encode_to_vec();
    let long = [b'a'; 151];
    for id in HOSTILE.into_iter().chain([&long[..], b""]) {
        let shown = String::from_utf8_lossy(id);
        let protobuf: &[u8] = b"\r\ncontent-type: application/x-protobuf\r\nx-scope-orgid: ";
        let push = [&b"POST /v1/traces HTTP/1.1"[..], protobuf, id];
        let status = raw(&spanmill.otlp_http(), &push, &body).await?;
        ensure!(
            status == 400 || status == 401,
            "push as {shown:?}: {status}"
        );
        let scrape = [
            &b"GET /metrics/generated HTTP/1.1\r\nx-scope-orgid: "[..],
            id,
        ];
        let status = raw(&spanmill.api(""), &scrape, b"").await?;
        ensure!(
            status == 400 || status == 401,
            "scrape of {shown:?}: {status}"
        );
        // What stands in a query or a path is decoded once, so it is sent encoded once,
        // and as it is where that is a request at all.
        let encoded: String = id.iter().map(|byte| format!("%{byte:02x}")).collect();
        let as_it_is = id.iter().all(u8::is_ascii_graphic).then_some(&*shown);
        for named in [Some(&*encoded), as_it_is].into_iter().flatten() {
            for (what, path) in [
                (
                    spanmill.api(""),
                    format!("/metrics/generated?tenant={named}"),
                ),
                (spanmill.api(""), format!("/status/overrides/{named}")),
                (spanmill.admin(""), format!("/status/overrides/{named}")),
                (spanmill.admin(""), format!("/api/v1/tenants/{named}")),
                (
                    spanmill.admin(""),
                    format!("/api/v1/tenants/{named}/cardinality"),
                ),
            ] {
                // Without an id these are pages of their own, that list.
                if named.is_empty() && !path.contains('?') {
                    continue;
                }
                let line = format!("GET {path} HTTP/1.1");
                let status = raw(&what, &[line.as_bytes()], b"").await?;
                ensure!((400..500).contains(&status), "{path}: {status}");
            }
        }
        let Ok(as_metadata) = std::str::from_utf8(id) else {
            continue;
        };
        for address in [spanmill.internal_grpc(), spanmill.otlp_grpc()] {
            // The port of OTLP has no such service; it must not act on the id either.
            let mut pushes = PushSpans::connect(&address).await?;
            let pushed = pushes.push(as_metadata, body.clone()).await;
            ensure!(pushed.is_err(), "{address} took {shown:?}");
        }
    }
    for tenant in ODD {
        let answer = post(&spanmill.otlp_http(), &traces.request(), Some(tenant)).await?;
        answer.accepted()?;
    }
    let ledger = spanmill.ledger().await?;
    for tenant in ODD {
        let counted = ledger.counted(tenant, "span-metrics");
        ensure!(counted == 1, "{tenant}: {counted}");
    }
    let stopped = spanmill.stop_for_now().await?;
    let directory = stopped.directory();
    let want = ["data", "spanmill.log", "spanmill.yaml"].map(str::to_owned);
    ensure!(names(directory) == want.into(), "{:?}", names(directory));
    let data = directory.join("data");
    for name in names(&data) {
        ensure!(
            ["lock", "spool", "state"].contains(&name.as_str()),
            "{name} lies in the data directory"
        );
    }
    for part in ["spool", "state"] {
        let tenants = names(&data.join(part));
        ensure!(tenants.len() == ODD.len(), "{part}: {tenants:?}");
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        ensure!(
            tenants.iter().all(|name| name.bytes().all(is_plain)),
            "{part}: {tenants:?}"
        );
    }
    Ok(())
}
