//! Spans in: receives OTLP, Zipkin and Jaeger, finds out whose it is, refuses single spans that
//! cannot be right, and hands the rest on as the bytes that they came in, or that
//! they were converted to.

pub mod config;
pub mod conversion;
pub mod error;
pub mod forwarders;
pub mod limits;
pub mod metrics;

mod push;
mod receivers;
mod usage;

pub use config::DistributorConfig;
pub use error::{DiscardReason, ReceiveError};
pub use forwarders::{ForwardError, ForwarderMetrics, ForwarderStartError, Forwarders};
pub use limits::{LimitError, Limits};
pub use metrics::{DistributorMetrics, TenantIntake};
pub use push::Distributor;
pub use usage::UsageTracker;

#[cfg(test)]
mod testing;
