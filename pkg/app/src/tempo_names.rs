//! Our own metrics under the names that dashboards and alerts for Tempo ask for.

use overrides::{Overrides, TenantConfig};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use telemetry::{MetricDescription, append_other_names};

mod table;

pub(crate) use self::table::{LEFT_OUT, NAMES};

/// The limits of tenants, by the names of their series.
const LIMITS: [(&str, &str); 2] = [
    (
        "tempo_limits_overrides",
        "Limits of tenants with settings of their own; 0 is none",
    ),
    (
        "tempo_limits_defaults",
        "Limits of tenants without settings of their own; 0 is none",
    ),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfUser {
    limit_name: &'static str,
    user: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAll {
    limit_name: &'static str,
}

/// Appends everything under Tempo's names to our own metrics as they are written.
pub(crate) fn append(text: &mut String, overrides: &Overrides) {
    append_other_names(text, NAMES);
    // Writing to a string fails only if a metric's own encoder does.
    if let Err(error) = encode_registry(text, &limits(overrides)) {
        tracing::error!(%error, "cannot encode the limits of tenants");
    }
}

/// What everything under Tempo's names is.
pub(crate) fn describe() -> Vec<MetricDescription> {
    let made = NAMES.iter().map(|name| MetricDescription {
        name: name.sample_name(),
        kind: name.kind.name(),
        help: name.meaning(),
    });
    let limits = LIMITS.iter().map(|(name, help)| MetricDescription {
        name: (*name).to_owned(),
        kind: "gauge",
        help: (*help).to_owned(),
    });
    made.chain(limits).collect()
}

/// The limits in force, read anew for each scrape.
fn limits(overrides: &Overrides) -> Registry {
    let mut registry = Registry::default();
    let (of_tenants, defaults) = (
        Family::<OfUser, Gauge>::default(),
        Family::<OfAll, Gauge>::default(),
    );
    let [(name, help), (name_of_defaults, help_of_defaults)] = LIMITS;
    registry.register(name, help, of_tenants.clone());
    registry.register(name_of_defaults, help_of_defaults, defaults.clone());
    for (limit_name, value) in named(&overrides.defaults()) {
        defaults.get_or_create(&OfAll { limit_name }).set(value);
    }
    for tenant in overrides.tenants() {
        for (limit_name, value) in named(&overrides.for_tenant(&tenant)) {
            let user = tenant.to_string();
            let labels = OfUser { limit_name, user };
            of_tenants.get_or_create(&labels).set(value);
        }
    }
    registry
}

/// The limits of a tenant that Tempo has, too, by its names.
fn named(config: &TenantConfig) -> [(&'static str, i64); 1] {
    let series = config.registry.max_active_series;
    let series = i64::try_from(series).unwrap_or(i64::MAX);
    [("metrics_generator_max_active_series", series)]
}

#[cfg(test)]
mod tests;
