use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tonic::{Code, Status};

use super::*;

fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
    let info = RetryInfo {
        retry_delay: Some(RetryDelay { seconds, nanos }),
    };
    let status = RpcStatus {
        message: "busy".into(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: info.encode_to_vec().into(),
        }],
    };
    status.encode_to_vec()
}

#[test]
fn grpc_codes_are_retried_as_otlp_says() {
    let plain = |code| Status::new(code, "no");
    let with_info =
        |code| Status::with_details(code, "no", Bytes::from(retry_info(1, 500_000_000)));
    let delay = Some(Duration::from_millis(1500));
    let cases = [
        (plain(Code::Unavailable), Some(None)),
        (with_info(Code::Unavailable), Some(delay)),
        (plain(Code::Cancelled), Some(None)),
        (plain(Code::DeadlineExceeded), Some(None)),
        (plain(Code::Aborted), Some(None)),
        (plain(Code::OutOfRange), Some(None)),
        (plain(Code::DataLoss), Some(None)),
        (plain(Code::ResourceExhausted), None),
        (with_info(Code::ResourceExhausted), Some(delay)),
        (plain(Code::InvalidArgument), None),
        (plain(Code::Unauthenticated), None),
        (plain(Code::PermissionDenied), None),
        (plain(Code::Unimplemented), None),
        (plain(Code::Internal), None),
        (plain(Code::Unknown), None),
    ];
    for (status, want) in cases {
        let reason = format!("{:?}: no", status.code());
        let want = match want {
            Some(after) => Answer::Retry { after, reason },
            None => Answer::Refused { reason },
        };
        assert_eq!(grpc::judge(&status), want);
    }
}

#[test]
fn http_statuses_are_retried_as_otlp_says() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    for (status, retryable) in [
        (400, false),
        (401, false),
        (404, false),
        (413, false),
        (429, true),
        (500, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = http1::judge(status, &headers, Bytes::from(retry_info(0, 0)));
        let reason = format!("{status}: busy");
        let want = if retryable {
            Answer::Retry {
                after: Some(Duration::from_secs(7)),
                reason,
            }
        } else {
            Answer::Refused { reason }
        };
        assert_eq!(answer, want);
    }
}

#[test]
fn partial_success_tells_the_rejected_spans() {
    let response = ExportResponse {
        partial_success: Some(PartialSuccess {
            rejected_spans: 3,
            error_message: "trace id is zero".into(),
        }),
    };
    let want = Answer::Accepted {
        rejected: 3,
        message: "trace id is zero".into(),
    };
    assert_eq!(accepted(response.encode_to_vec().into()), want);
    let all = Answer::Accepted {
        rejected: 0,
        message: String::new(),
    };
    assert_eq!(accepted(Bytes::new()), all);
}
