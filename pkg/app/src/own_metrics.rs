//! The metrics of every part.

use distributor::{DistributorMetrics, ForwarderMetrics};
use generator::GeneratorMetrics;
use overrides::OverridesMetrics;
use remote_write::RemoteWriteMetrics;
use server::authentication::AuthenticationMetrics;
use telemetry::MetricsRegistry;

use crate::version;

/// The metrics of every part.
#[derive(Debug)]
pub(crate) struct OwnMetrics {
    pub(crate) authentication: AuthenticationMetrics,
    pub(crate) distributor: DistributorMetrics,
    pub(crate) forwarders: ForwarderMetrics,
    pub(crate) generator: GeneratorMetrics,
    pub(crate) overrides: OverridesMetrics,
    pub(crate) remote_write: RemoteWriteMetrics,
}

impl OwnMetrics {
    /// Registers all of them, and which build this is.
    pub(crate) fn register(registry: &mut MetricsRegistry) -> Self {
        version::register(registry);
        Self {
            authentication: AuthenticationMetrics::register(registry),
            distributor: DistributorMetrics::register(registry),
            forwarders: ForwarderMetrics::register(registry),
            generator: GeneratorMetrics::register(registry),
            overrides: OverridesMetrics::register(registry),
            remote_write: RemoteWriteMetrics::register(registry),
        }
    }
}
