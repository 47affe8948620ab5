//! What spanmill says about itself: logs and metrics.

pub mod error_chain;
pub mod logging;
pub mod metrics;
pub mod other_names;
pub mod throttle;

pub use error_chain::error_chain;
pub use metrics::{
    METRICS_CONTENT_TYPE, MetricDescription, MetricsRegistry, encode_metrics, encode_metrics_with,
    new_metrics_registry,
};
pub use other_names::{MadeOf, OtherKind, OtherLabel, OtherName, append_other_names};
pub use throttle::LogThrottle;
