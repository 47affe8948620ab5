//! Samples to receivers of Prometheus remote write, 1.0 or 2.0.
//!
//! A collection writes a tenant's samples through a [`TenantWriter`] to the spool on
//! disk. One task reads them back, for each destination of each tenant, encodes and
//! sends them: `turn.rs` is the way of a sample from there.

pub mod answer;
mod bisection;
mod client;
pub mod config;
mod delivery;
mod destination;
mod encode;
pub mod error;
mod filler;
mod gate;
mod gated;
mod handover;
mod headers;
pub mod inspect;
pub mod metrics;
mod progress;
mod protocol;
mod queue;
mod relabel;
mod remote_write;
mod requests;
mod retry;
mod sender;
mod spool;
mod tenant;
mod turn;
mod writer;
mod written;

pub use config::{EndpointConfig, ProtobufMessage, RemoteWriteConfig};
pub use error::StartError;
pub use handover::ChunkError;
pub use metrics::{DropReason, RemoteWriteMetrics};
pub use protocol::Protocol;
pub use relabel::relabelled;
pub use remote_write::{
    DestinationStatus, HandedChunk, Handover, RemoteWrite, TakeError, TakenOver, TenantStatus,
};
pub use spool::{Fsync, SpoolConfig};
pub use writer::{Append, TenantDestinations, TenantWriter};
pub use written::Written;
