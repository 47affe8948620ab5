//! Metrics of authentication, all named `spanmill_authentication_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

use super::error::AccessError;

/// What authentication says about itself. Cloning is cheap and shares the values.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationMetrics {
    requests: Family<ByCredential, Counter>,
    refusals: Family<ByReason, Counter>,
    reload_failed: Gauge,
    credentials: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCredential {
    credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

impl AuthenticationMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("authentication");
        registry.register(
            "requests",
            "Requests that came with a credential that is known, by its name",
            metrics.requests.clone(),
        );
        registry.register(
            "refusals",
            "Requests that were refused for lack of a credential, or for what it does not give",
            metrics.refusals.clone(),
        );
        registry.register(
            "reload_failed",
            "Whether the credentials file cannot be used, so that its last good state holds",
            metrics.reload_failed.clone(),
        );
        registry.register(
            "credentials",
            "Credentials in force",
            metrics.credentials.clone(),
        );
        metrics
    }

    /// The requests with a credential.
    pub(super) fn requests_of(&self, name: &str) -> Counter {
        let credential = name.to_owned();
        let requests = self.requests.get_or_create(&ByCredential { credential });
        requests.clone()
    }

    /// Notes how many credentials there are now.
    pub(super) fn reloaded(&self, count: usize) {
        self.reload_failed.set(0);
        self.credentials
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Shows a credential no more.
    pub(super) fn gone(&self, name: &str) {
        let credential = name.to_owned();
        self.requests.remove(&ByCredential { credential });
    }

    pub(super) fn reload_failed(&self) {
        self.reload_failed.set(1);
    }

    pub(super) fn refused(&self, error: &AccessError) {
        let reason = error.reason();
        self.refusals.get_or_create(&ByReason { reason }).inc();
    }
}
