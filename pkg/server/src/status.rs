//! `google.rpc.Status`: how OTLP tells clients what failed.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use prost::Message;
use proto::rpc;
use serde_json::{Value, json};
use tonic::Code;

/// The media types of an OTLP/HTTP answer: that of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// What failed, in the form of `google.rpc.Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// A sentence for the client.
    pub message: String,
    /// When the client may send the same again; `None` if never.
    pub retry_after: Option<Duration>,
    /// The field that is wrong and what is wrong with it.
    pub bad_field: Option<(String, String)>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

impl MediaType {
    /// The value of `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

impl Failure {
    /// A failure that is not worth a retry.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            bad_field: None,
        }
    }

    /// The same, worth a retry after a delay.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The same, naming the field of the request that is wrong.
    #[must_use]
    pub fn bad_field(mut self, field: impl Into<String>, problem: impl Into<String>) -> Self {
        self.bad_field = Some((field.into(), problem.into()));
        self
    }

    /// As an encoded `google.rpc.Status`.
    pub fn to_protobuf(&self) -> Bytes {
        let mut details = Vec::new();
        if let Some(delay) = self.retry_after {
            details.push(retry_info_detail(delay));
        }
        if let Some((field, description)) = &self.bad_field {
            let detail = rpc::BadRequest {
                field_violations: vec![rpc::bad_request::FieldViolation {
                    field: field.clone(),
                    description: description.clone(),
                }],
            };
            details.push(prost_types::Any {
                type_url: BAD_REQUEST.to_owned(),
                value: detail.encode_to_vec(),
            });
        }
        rpc::Status {
            code: self.code as i32,
            message: self.message.clone(),
            details,
        }
        .encode_to_vec()
        .into()
    }

    /// As the JSON form of a `google.rpc.Status`.
    pub fn to_json(&self) -> Bytes {
        let mut details = Vec::new();
        if let Some(delay) = self.retry_after {
            let seconds = format!("{}s", delay.as_secs_f64());
            details.push(json!({"@type": RETRY_INFO, "retryDelay": seconds}));
        }
        if let Some((field, description)) = &self.bad_field {
            details.push(json!({
                "@type": BAD_REQUEST,
                "fieldViolations": [{"field": field, "description": description}],
            }));
        }
        let mut status = json!({"code": self.code as i32, "message": self.message});
        if let (false, Value::Object(fields)) = (details.is_empty(), &mut status) {
            fields.insert("details".to_owned(), Value::Array(details));
        }
        status.to_string().into()
    }

    /// As an OTLP/HTTP answer, with `Retry-After` where it is worth a retry.
    pub fn to_http(&self, status: StatusCode, media_type: MediaType) -> Response<Body> {
        let body = match media_type {
            MediaType::Protobuf => self.to_protobuf(),
            MediaType::Json => self.to_json(),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(media_type.as_str()),
        );
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(delay).into());
        }
        response
    }

    /// As a gRPC status, with details where there are any.
    pub fn to_grpc(&self) -> tonic::Status {
        if self.retry_after.is_none() && self.bad_field.is_none() {
            return tonic::Status::new(self.code, self.message.clone());
        }
        tonic::Status::with_details(self.code, self.message.clone(), self.to_protobuf())
    }
}

/// Tells the client to send the same again after a delay.
pub fn retry_info(status: tonic::Status, delay: Duration) -> tonic::Status {
    Failure::new(status.code(), status.message())
        .retry_after(delay)
        .to_grpc()
}

fn retry_info_detail(delay: Duration) -> prost_types::Any {
    let detail = rpc::RetryInfo {
        retry_delay: Some(prost_types::Duration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
        }),
    };
    prost_types::Any {
        type_url: RETRY_INFO.to_owned(),
        value: detail.encode_to_vec(),
    }
}

/// The unit of `Retry-After`, rounded up: 0 would mean at once.
fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn overloaded() -> Failure {
        Failure::new(Code::Unavailable, "try \"later\"").retry_after(Duration::from_millis(1_500))
    }

    #[test]
    fn protobuf_reads_back_with_its_details() {
        let failure = overloaded().bad_field("spans[3].trace_id", "is 15 bytes long");
        let status = rpc::Status::decode(failure.to_protobuf()).unwrap();
        assert_eq!(
            (status.code, status.message.as_str()),
            (14, "try \"later\"")
        );
        assert_eq!(status.details.len(), 2);
        assert_eq!(status.details[0].type_url, RETRY_INFO);
        let retry = rpc::RetryInfo::decode(status.details[0].value.as_slice()).unwrap();
        let delay = retry.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
        let bad = rpc::BadRequest::decode(status.details[1].value.as_slice()).unwrap();
        assert_eq!(bad.field_violations[0].field, "spans[3].trace_id");
    }

    #[test]
    fn json_is_the_canonical_form() {
        assert_eq!(
            overloaded().to_json(),
            r#"{"code":14,"message":"try \"later\"","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"}]}"#
        );
        assert_eq!(
            Failure::new(Code::InvalidArgument, "bad").to_json(),
            r#"{"code":3,"message":"bad"}"#
        );
    }

    #[tokio::test]
    async fn http_answer_has_type_status_and_rounded_up_delay() {
        let response = overloaded().to_http(StatusCode::SERVICE_UNAVAILABLE, MediaType::Protobuf);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        assert_eq!(response.headers()["retry-after"], "2");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, overloaded().to_protobuf());

        let response = Failure::new(Code::InvalidArgument, "bad")
            .to_http(StatusCode::BAD_REQUEST, MediaType::Json);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(!response.headers().contains_key("retry-after"));
    }

    #[test]
    fn grpc_status_carries_retry_info_only_when_asked() {
        let status = retry_info(tonic::Status::unavailable("busy"), Duration::from_secs(5));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "busy")
        );
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!((details.code, details.details.len()), (14, 1));
        assert!(
            Failure::new(Code::ResourceExhausted, "x")
                .to_grpc()
                .details()
                .is_empty()
        );
    }
}
