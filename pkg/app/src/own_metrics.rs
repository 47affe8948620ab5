//! The metrics of every part.

use distributor::{DistributorMetrics, ForwarderMetrics, GeneratorClientMetrics};
use generator::{GeneratorMetrics, NodePushMetrics};
use overrides::OverridesMetrics;
use remote_write::RemoteWriteMetrics;
use ring::RingMetrics;
use server::authentication::AuthenticationMetrics;
use telemetry::MetricsRegistry;

use crate::memory::MemoryMetrics;
use crate::version;

/// The metrics of every part, also of those that do not run in this process: what shows
/// them finds every name.
#[derive(Debug)]
pub(crate) struct OwnMetrics {
    pub(crate) authentication: AuthenticationMetrics,
    pub(crate) memory: MemoryMetrics,
    pub(crate) overrides: OverridesMetrics,
    pub(crate) ring: RingMetrics,
    pub(crate) distributing: DistributingMetrics,
    pub(crate) generating: GeneratingMetrics,
}

/// Of what takes spans in.
#[derive(Debug)]
pub(crate) struct DistributingMetrics {
    pub(crate) distributor: DistributorMetrics,
    pub(crate) forwarders: ForwarderMetrics,
    pub(crate) generators: GeneratorClientMetrics,
}

/// Of what makes series.
#[derive(Debug)]
pub(crate) struct GeneratingMetrics {
    pub(crate) generator: GeneratorMetrics,
    pub(crate) node_pushes: NodePushMetrics,
    pub(crate) remote_write: RemoteWriteMetrics,
}

impl OwnMetrics {
    /// Registers all of them, and which build this is.
    pub(crate) fn register(registry: &mut MetricsRegistry) -> Self {
        version::register(registry);
        Self {
            authentication: AuthenticationMetrics::register(registry),
            memory: MemoryMetrics::register(registry),
            overrides: OverridesMetrics::register(registry),
            ring: RingMetrics::register(registry),
            distributing: DistributingMetrics {
                distributor: DistributorMetrics::register(registry),
                forwarders: ForwarderMetrics::register(registry),
                generators: GeneratorClientMetrics::register(registry),
            },
            generating: GeneratingMetrics {
                generator: GeneratorMetrics::register(registry),
                node_pushes: NodePushMetrics::register(registry),
                remote_write: RemoteWriteMetrics::register(registry),
            },
        }
    }
}
