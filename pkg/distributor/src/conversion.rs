//! Spans of other protocols, as OTLP requests in protobuf, so that everything
//! behind a receiver sees one encoding.
//!
//! What becomes of which field is what the translators of the OpenTelemetry
//! Collector make of it, except where `docs/differences.md` says otherwise. A span
//! that cannot be read becomes one that validation refuses, so that its neighbours
//! stay; ids that cannot be right are left out, with the same effect. Memory stays
//! within a small multiple of the input: a span keeps [`MAX_ITEMS`] attributes,
//! events and links, and says how many it had.

use otlp::WireError;
use otlp::writer::MessageTooLong;

pub mod jaeger;
pub mod zipkin;

mod attributes;
mod output;
#[cfg(test)]
mod testing;
mod thrift;

pub use thrift::{Encoding as ThriftEncoding, ThriftError};

/// Attributes, events and links, each, that a span keeps; what comes after them
/// is dropped and counted in the span. SDKs stop at 128.
pub const MAX_ITEMS: usize = 1_024;

/// A request of which no span could be read.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// It is not the JSON that it should be.
    #[error("not a list of spans in JSON")]
    Json(#[from] serde_json::Error),
    /// It is not protobuf.
    #[error("not protobuf")]
    Protobuf(#[from] WireError),
    /// It is not Thrift.
    #[error("not Thrift")]
    Thrift(#[from] ThriftError),
    /// It cannot be written as protobuf.
    #[error(transparent)]
    TooLong(#[from] MessageTooLong),
}
