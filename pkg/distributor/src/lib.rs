//! Spans in: receives OTLP, finds out whose it is, refuses single spans that
//! cannot be right, and hands the rest on as the bytes that they came in.

pub mod config;
pub mod error;
pub mod metrics;

mod push;
mod receivers;

pub use config::DistributorConfig;
pub use error::{DiscardReason, ReceiveError};
pub use metrics::{DistributorMetrics, TenantIntake};
pub use push::Distributor;

#[cfg(test)]
mod testing;
