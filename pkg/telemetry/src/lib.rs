//! What spanmill says about itself: logs and metrics.

pub mod error_chain;
pub mod logging;
pub mod metrics;
pub mod throttle;

pub use error_chain::error_chain;
pub use metrics::{
    METRICS_CONTENT_TYPE, MetricDescription, MetricsRegistry, encode_metrics, new_metrics_registry,
};
pub use throttle::LogThrottle;
