//! The protobuf messages that we exchange with others, as owned types.
//!
//! For cold paths and tests only: spans on their way to series are read in
//! place by the `otlp` crate, and samples are written without these types.

/// Every message as an encoded `google.protobuf.FileDescriptorSet`, for gRPC
/// reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// OTLP 1.x traces. Source: opentelemetry-proto.
pub mod otlp {
    /// The request and answer of `TraceService/Export`.
    pub mod collector {
        pub use crate::generated::opentelemetry::proto::collector::trace::v1::*;
    }
    /// Spans, and the resource and scope that they came from.
    pub mod trace {
        pub use crate::generated::opentelemetry::proto::trace::v1::*;
    }
    /// Attributes and instrumentation scopes.
    pub mod common {
        pub use crate::generated::opentelemetry::proto::common::v1::*;
    }
    /// What emitted the spans.
    pub mod resource {
        pub use crate::generated::opentelemetry::proto::resource::v1::*;
    }
}

/// Jaeger's spans and how its clients send them.
pub mod jaeger {
    pub use crate::generated::jaeger::api_v2::*;
    pub use prost_types::{Duration, Timestamp};
}

/// Zipkin's spans, version 2.
pub mod zipkin {
    pub use crate::generated::zipkin::proto3::*;
}

/// Metrics in Prometheus' protobuf format.
pub mod exposition {
    pub use crate::generated::io::prometheus::client::*;
    pub use prost_types::Timestamp;
}

/// Prometheus remote write 1.0.
pub mod remote_write {
    pub use crate::generated::prometheus::*;

    /// Prometheus remote write 2.0.
    pub mod v2 {
        pub use crate::generated::io::prometheus::write::v2::*;
    }
}

/// Distributor to generator, as in Tempo.
pub mod tempopb {
    pub use crate::generated::tempopb::*;
}

/// Distributor to generator, within a cluster of ours.
pub mod cluster {
    pub use crate::generated::spanmill::v1::*;
}

/// `google.rpc`: how failures are told to clients.
pub mod rpc {
    pub use crate::generated::google::rpc::*;
}

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files have the comments"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_push_reads_an_export_request_unchanged() {
        let span = otlp::trace::Span {
            name: "GET /".into(),
            ..Default::default()
        };
        let export = otlp::collector::ExportTraceServiceRequest {
            resource_spans: vec![otlp::trace::ResourceSpans {
                scope_spans: vec![otlp::trace::ScopeSpans {
                    spans: vec![span],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let push = tempopb::PushSpansRequest::decode(export.encode_to_vec().as_slice()).unwrap();
        assert_eq!(push.batches, export.resource_spans);
        assert!(!push.skip_metrics_generation);
    }

    #[test]
    fn descriptors_name_the_services_that_there_are() {
        let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let mut services: Vec<_> = set
            .file
            .iter()
            .flat_map(|file| {
                let package = file.package().to_owned();
                file.service
                    .iter()
                    .map(move |service| format!("{package}.{}", service.name()))
            })
            .collect();
        services.sort();
        assert_eq!(
            services,
            [
                "jaeger.api_v2.CollectorService",
                "opentelemetry.proto.collector.trace.v1.TraceService",
                "spanmill.v1.Generator",
                "tempopb.MetricsGenerator"
            ]
        );
    }
}
