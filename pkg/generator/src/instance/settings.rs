//! A tenant's settings, compiled into what spans and series need.

use std::sync::Arc;

use overrides::TenantConfig;
use registry::{Registry, TableId};

use super::Identity;
use crate::processors::Processors;
use crate::processors::host_info::HostInfo;
use crate::processors::service_graphs::{EdgeStore, EdgeTables};
use crate::processors::span_metrics::name_demand::NameDemand;
use crate::processors::span_metrics::target_info::TargetInfo;
use crate::reading::Reading;

/// The settings in force, compiled.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Arc<TenantConfig>,
    pub(super) processors: Processors,
    pub(super) span_metrics: Option<TableId>,
    pub(super) target_info: Option<TableId>,
    pub(super) service_graphs: Option<EdgeTables>,
    pub(super) host_info: Option<TableId>,
    pub(super) external_labels: Vec<(String, String)>,
}

impl Settings {
    /// How many names the tenant's spans have, if that is asked for.
    pub(super) fn names(&self) -> Option<&NameDemand> {
        self.processors.span_metrics.as_ref()?.names()
    }

    /// Compiles settings, and keeps the tables whose series stay as they are.
    pub(super) fn new(
        identity: &Identity,
        config: Arc<TenantConfig>,
        registry: &Registry,
        before: Option<&Self>,
        now_ms: i64,
    ) -> Self {
        let processors = Processors::new(&config);
        let span_metrics = processors.span_metrics.as_ref();
        let table = |schema, before: Option<&TableId>| match (schema, before) {
            (Some(schema), Some(before)) if *before.schema() == schema => Some(before.clone()),
            (Some(schema), Some(before)) => Some(registry.replace_table(before, schema, now_ms)),
            (Some(schema), None) => Some(registry.resume_table(schema, now_ms)),
            (None, before) => {
                before.inspect(|before| registry.retire_table(before));
                None
            }
        };
        let span_table = table(
            span_metrics.map(|processor| processor.schema()),
            before.and_then(|before| before.span_metrics.as_ref()),
        );
        let target_table = table(
            span_metrics
                .and_then(|processor| processor.target_info())
                .map(|_| TargetInfo::schema()),
            before.and_then(|before| before.target_info.as_ref()),
        );
        let service_graphs = processors.service_graphs.as_ref();
        let before_edges = before.and_then(|before| before.service_graphs.as_ref());
        let edges_table = table(
            service_graphs.map(|processor| processor.schema()),
            before_edges.map(|before| &before.edges),
        );
        let lost_table = table(
            service_graphs.and_then(|processor| processor.lost_schema()),
            before_edges.and_then(|before| before.lost.as_ref()),
        );
        let host_table = table(
            processors.host_info.as_ref().map(HostInfo::schema),
            before.and_then(|before| before.host_info.as_ref()),
        );
        Self {
            span_metrics: span_table,
            target_info: target_table,
            service_graphs: edges_table.map(|edges| EdgeTables {
                edges,
                lost: lost_table,
            }),
            host_info: host_table,
            external_labels: external_labels(identity, &config),
            processors,
            config,
        }
    }
}

impl Settings {
    /// Applies what was read of a push to the tables of its processors.
    pub(super) fn apply(
        &self,
        reading: &mut Reading<'_, '_>,
        registry: &Registry,
        edges: &EdgeStore,
        now_ms: i64,
    ) {
        if let Some(table) = &self.span_metrics {
            let targets = self.target_info.as_ref();
            reading.apply_span_metrics(registry, table, targets, now_ms);
        }
        if let Some(tables) = &self.service_graphs {
            reading.apply_service_graphs(registry, tables, edges, now_ms);
        }
        if let Some(table) = &self.host_info {
            reading.apply_host_info(registry, table, now_ms);
        }
    }
}

/// Labels that every series of the tenant gets unless it has them. No configured
/// one can pass for the tenant's id.
fn external_labels(identity: &Identity, config: &TenantConfig) -> Vec<(String, String)> {
    let Identity {
        tenant,
        instance_label,
    } = identity;
    let registry = &config.registry;
    let mut labels = registry.external_labels.clone();
    let label_name = match registry.instance_label_name.as_str() {
        "" => &*instance_label.default_name,
        name => name,
    };
    if !label_name.is_empty() {
        labels.insert(label_name.to_owned(), instance_label.value.to_string());
    }
    if !registry.inject_tenant_id_as.is_empty() {
        labels.insert(registry.inject_tenant_id_as.clone(), tenant.to_string());
    }
    labels.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use model::TenantId;

    use super::super::InstanceLabel;
    use super::*;

    #[test]
    fn external_labels_name_the_instance_and_none_can_pass_for_the_tenant() {
        let mut config = TenantConfig::default();
        let labels = [("tenant", "another"), ("zone", "a")];
        config.registry.external_labels = labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        config.registry.inject_tenant_id_as = "tenant".to_owned();
        config.registry.instance_label_name = "instance".to_owned();
        let identity = Identity {
            tenant: TenantId::parse("acme").unwrap(),
            instance_label: InstanceLabel {
                default_name: "spanmill_instance".into(),
                value: "host-1".into(),
            },
        };
        let want = [("instance", "host-1"), ("tenant", "acme"), ("zone", "a")];
        let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(external_labels(&identity, &config), want);
        config.registry.instance_label_name.clear();
        let labels = external_labels(&identity, &config);
        let named = ("spanmill_instance".to_owned(), "host-1".to_owned());
        assert!(labels.contains(&named), "{labels:?}");
        let alone = Identity {
            instance_label: "host-1".into(),
            ..identity
        };
        assert_eq!(external_labels(&alone, &config).len(), 2);
    }
}
