//! Spans in: receives OTLP, Zipkin and Jaeger, finds out whose it is, refuses single spans that
//! cannot be right, and hands the rest on as the bytes that they came in, or that
//! they were converted to.

pub mod config;
pub mod conversion;
pub mod error;
pub mod forwarders;
pub mod generator_client;
pub mod limits;
pub mod metrics;

mod push;
mod receivers;
mod route;
mod usage;

pub use config::DistributorConfig;
pub use error::{DiscardReason, ReceiveError};
pub use forwarders::{ForwardError, ForwarderMetrics, ForwarderStartError, Forwarders};
pub use generator_client::{
    CallError, ClientTlsError, GeneratorClientMetrics, GeneratorClients,
    MetricsGeneratorClientConfig, Network, Stream,
};
pub use limits::{LimitError, Limits};
pub use metrics::{DistributorMetrics, TenantIntake};
pub use push::Distributor;
pub use route::{ClusterPusher, ClusterPusherDependencies, OwnGenerator};
pub use usage::UsageTracker;

#[cfg(test)]
mod testing;
