//! Trace bytes as they lie on the wire: a borrowed, bounds-checked view over
//! OTLP protobuf, the checks that refuse single spans, the splitting of a request by
//! owner, a writer of protobuf, and OTLP/JSON in.
//!
//! Nothing here allocates per span, and nothing is decoded into owned messages.

pub mod json;
pub mod rewrite;
pub mod split;
pub mod truncate;
pub mod validate;
pub mod view;
pub mod wire;
pub mod writer;

pub use view::{AnyValue, KeyValue, Request, ResourceSpans, ScopeSpans, Span};
pub use wire::WireError;
