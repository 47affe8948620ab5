//! Samples to receivers of Prometheus remote write, 1.0 or 2.0.
//!
//! A collection writes a tenant's samples through a [`TenantWriter`]; they are
//! encoded and compressed there, wait in a bounded buffer, and are sent at once
//! by one task for each endpoint.

mod buffer;
mod client;
pub mod config;
mod encode;
pub mod error;
mod headers;
pub mod metrics;
mod protocol;
mod relabel;
mod remote_write;
mod retry;
mod sender;
mod writer;
mod written;

pub use config::{EndpointConfig, ProtobufMessage, RemoteWriteConfig};
pub use error::StartError;
pub use metrics::RemoteWriteMetrics;
pub use remote_write::RemoteWrite;
pub use writer::{Append, TenantWriter};
