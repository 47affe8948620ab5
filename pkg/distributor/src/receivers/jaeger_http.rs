//! Jaeger's Thrift over HTTP, in the binary encoding.

use axum::Router;
use http::request::Parts;
use model::PushSpans;

use super::plain_http::{Conversion, PlainHttp};
use super::{BodyLimits, content_type, media_type_essence};
use crate::Distributor;
use crate::config::ThriftHttpConfig;
use crate::conversion::jaeger;
use crate::error::ReceiveError;
use crate::metrics::Receiver;

impl<P: PushSpans> Distributor<P> {
    /// What Jaeger's HTTP port serves: `/api/traces`, by POST.
    pub fn jaeger_http_router(&self, config: &ThriftHttpConfig) -> Router {
        let receiver = PlainHttp {
            distributor: self.clone(),
            receiver: Receiver::JaegerThriftHttp,
            paths: &["/api/traces"],
            body: BodyLimits {
                max_bytes: config.max_body_bytes(),
                read_timeout: config.body_read_timeout(),
            },
            choose,
        };
        receiver.router(&config.cors)
    }
}

fn choose(parts: &Parts) -> Result<Conversion, ReceiveError> {
    match media_type_essence(&parts.headers).as_str() {
        "application/x-thrift" | "application/vnd.apache.thrift.binary" => Ok(Conversion {
            format: "Jaeger Thrift",
            convert: Box::new(jaeger::batch),
        }),
        _ => Err(ReceiveError::UnsupportedMediaType {
            accepted: "application/x-thrift, application/vnd.apache.thrift.binary",
            content_type: content_type(&parts.headers),
        }),
    }
}
