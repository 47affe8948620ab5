//! Zipkin over HTTP: version 1 in JSON, version 2 in JSON and protobuf.

use axum::Router;
use http::request::Parts;
use model::PushSpans;

use super::plain_http::{Conversion, PlainHttp};
use super::{BodyLimits, content_type, media_type_essence};
use crate::Distributor;
use crate::config::ZipkinConfig;
use crate::conversion::zipkin::{self, Options};
use crate::error::ReceiveError;
use crate::metrics::Receiver;

const V1_SPANS: &str = "/api/v1/spans";
const V2_SPANS: &str = "/api/v2/spans";

impl<P: PushSpans> Distributor<P> {
    /// What the Zipkin port serves: the paths of spans of both versions, by POST.
    pub fn zipkin_router(&self, config: &ZipkinConfig) -> Router {
        let options = Options {
            parse_string_tags: config.parse_string_tags,
        };
        let receiver = PlainHttp {
            distributor: self.clone(),
            receiver: Receiver::Zipkin,
            paths: &[V1_SPANS, V2_SPANS],
            body: BodyLimits {
                max_bytes: config.max_body_bytes(),
                read_timeout: config.body_read_timeout(),
            },
            choose: move |parts: &Parts| choose(parts, options),
        };
        receiver.router(&config.cors)
    }
}

fn choose(parts: &Parts, options: Options) -> Result<Conversion, ReceiveError> {
    let is_v1 = parts.uri.path() == V1_SPANS;
    let media_type = media_type_essence(&parts.headers);
    // Whatever else it is called, it is JSON, as in the Collector.
    let (format, convert): (_, fn(&[u8], Options) -> _) = match media_type.as_str() {
        "application/x-thrift" => {
            return Err(ReceiveError::UnsupportedMediaType {
                accepted: "application/json, application/x-protobuf",
                content_type: content_type(&parts.headers),
            });
        }
        _ if is_v1 => ("Zipkin JSON of version 1", zipkin::v1_json),
        "application/x-protobuf" | "application/protobuf" => {
            ("Zipkin protobuf", zipkin::list_of_spans)
        }
        _ => ("Zipkin JSON", zipkin::v2_json),
    };
    Ok(Conversion {
        format,
        convert: Box::new(move |body| convert(body, options)),
    })
}
