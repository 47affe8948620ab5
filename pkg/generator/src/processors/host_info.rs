//! `traces_host_info`: one series for each host that sends spans.
//!
//! Source: tempo-2.10, sections 1.1 and 1.6, the recorded case of host info;
//! differences D7.

use model::LabelSetBuf;
use otlp::AnyValue;
use overrides::{Processor, TenantConfig};
use registry::{InvalidLabels, KeyHasher, LaneKey, Metric, MetricKind, Schema, Update};

use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::labelling::Labelling;
use crate::labels::{LabelLimits, LabelWriter};
use crate::raw_key::{key_of_settings, write_bytes};

/// The host-info processor of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct HostInfo {
    /// Attributes that name a host, the best first.
    identifiers: Vec<(String, KeyIndex)>,
    metric_name: String,
    limits: LabelLimits,
    hasher: KeyHasher,
    settings_key: LaneKey,
}

impl HostInfo {
    /// Compiles the settings; `None` if the tenant does not have the processor.
    pub(crate) fn new(config: &TenantConfig, wanted: &mut WantedKeys) -> Option<Self> {
        if !config.processors.contains(Processor::HostInfo) {
            return None;
        }
        let identifiers = &config.host_info.host_identifiers;
        let limits = LabelLimits::new(&config.registry);
        Some(Self {
            settings_key: key_of_settings(&(identifiers, limits)),
            identifiers: identifiers
                .iter()
                .map(|key| (key.clone(), wanted.want(key)))
                .collect(),
            metric_name: config.host_info.metric_name.clone(),
            limits,
            hasher: KeyHasher::new(),
        })
    }

    /// The one metric.
    pub(crate) fn schema(&self) -> Schema {
        Schema::new([Metric {
            name: self.metric_name.clone(),
            help: "Hosts that sent spans",
            unit: "",
            kind: MetricKind::Gauge,
            sparse: false,
        }])
    }

    /// Which label sets there can be.
    pub(crate) fn labelling(&self) -> Labelling {
        let sources = self.identifiers.iter();
        let sources = sources.map(|(source, _)| self.limits.cut(source).to_owned());
        Labelling {
            choice: Some(("host_source", sources.collect())),
            ..Labelling::default()
        }
    }

    /// Sets the series of a resource's host; `None` if the resource names none.
    ///
    /// Observed: a resource that comes without spans is as good.
    ///
    /// # Errors
    ///
    /// [`InvalidLabels`] if the name is not UTF-8.
    pub(crate) fn update(
        &self,
        values: Values<'_, '_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Update>, InvalidLabels> {
        let Some((source, host)) = self.host(values) else {
            return Ok(None);
        };
        std::str::from_utf8(host).map_err(|_| InvalidLabels)?;
        scratch.clear();
        scratch.extend_from_slice(&self.settings_key.to_bytes());
        write_bytes(source.as_bytes(), scratch);
        write_bytes(host, scratch);
        Ok(Some(Update::info(self.hasher.key(scratch))))
    }

    /// The labels of a resource that [`HostInfo::update`] took.
    pub(crate) fn labels(
        &self,
        values: Values<'_, '_>,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        let (source, host) = self.host(values).ok_or(InvalidLabels)?;
        let mut writer = LabelWriter::new(labels, self.limits);
        writer.value("grafana_host_id", Some(AnyValue::String(host)))?;
        writer.text("host_source", source);
        Ok(())
    }

    /// The first identifier that a resource has, and its value.
    ///
    /// Observed: only text counts, and empty text does not.
    pub(crate) fn host<'a>(&self, values: Values<'_, 'a>) -> Option<(&str, &'a [u8])> {
        self.identifiers
            .iter()
            .find_map(|(source, key)| match values.in_resource(*key) {
                Some(AnyValue::String(host)) if !host.is_empty() => Some((source.as_str(), host)),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use overrides::Processors;

    use super::*;

    fn config() -> TenantConfig {
        TenantConfig {
            processors: Processors::from_iter([Processor::HostInfo]),
            ..TenantConfig::default()
        }
    }

    fn labels_of(host_info: &HostInfo, resource: &[Option<AnyValue<'_>>]) -> Option<String> {
        let values = Values {
            resource,
            span: &[],
        };
        host_info.update(values, &mut Vec::new()).unwrap()?;
        let mut labels = LabelSetBuf::new();
        host_info.labels(values, &mut labels).unwrap();
        let labels = labels.finish().into_iter();
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Some(labels.join(","))
    }

    #[test]
    fn hosts_named_by_what_is_no_identifier_any_more_cannot_come() {
        let mut config = config();
        config.host_info.host_identifiers = vec!["host.id".to_owned()];
        let host_info = HostInfo::new(&config, &mut WantedKeys::default()).unwrap();
        for (source, want) in [("host.id", true), ("k8s.node.name", false)] {
            let mut labels = LabelSetBuf::new();
            labels.push("grafana_host_id", "h");
            labels.push("host_source", source);
            assert_eq!(host_info.labelling().can_come(labels.finish()), want);
        }
    }

    #[test]
    fn first_identifier_with_text_names_the_host() {
        let mut wanted = WantedKeys::default();
        let host_info = HostInfo::new(&config(), &mut wanted).unwrap();
        let text = |value: &'static str| Some(AnyValue::String(value.as_bytes()));
        let node = Some("grafana_host_id=node-1,host_source=k8s.node.name");
        let host = Some("grafana_host_id=hid-1,host_source=host.id");
        for (resource, want) in [
            ([text("node-1"), text("hid-1")], node),
            ([text("node-1"), None], node),
            ([None, text("hid-1")], host),
            ([text(""), text("hid-1")], host),
            ([Some(AnyValue::Int(33)), text("hid-1")], host),
            ([None, Some(AnyValue::Int(33))], None),
            ([None, None], None),
        ] {
            let labels = labels_of(&host_info, &resource);
            assert_eq!(labels.as_deref(), want, "{resource:?}");
        }
    }

    #[test]
    fn host_that_is_not_utf8_is_refused() {
        let host_info = HostInfo::new(&config(), &mut WantedKeys::default()).unwrap();
        let values = Values {
            resource: &[Some(AnyValue::String(b"\xff")), None],
            span: &[],
        };
        assert!(host_info.update(values, &mut Vec::new()).is_err());
    }

    #[test]
    fn hosts_and_their_sources_have_keys_of_their_own() {
        let mut wanted = WantedKeys::default();
        let host_info = HostInfo::new(&config(), &mut wanted).unwrap();
        let key = |host_info: &HostInfo, resource: [Option<AnyValue<'_>>; 2]| {
            let values = Values {
                resource: &resource,
                span: &[],
            };
            let update = host_info.update(values, &mut Vec::new());
            update.unwrap().unwrap().key
        };
        let (a, b) = (AnyValue::String(b"a"), AnyValue::String(b"b"));
        let of_node = key(&host_info, [Some(a), None]);
        assert_eq!(of_node, key(&host_info, [Some(a), Some(b)]));
        assert_ne!(of_node, key(&host_info, [Some(b), None]));
        assert_ne!(of_node, key(&host_info, [None, Some(a)]));
        let mut shorter = config();
        shorter.registry.max_label_value_length = 1;
        let shorter = HostInfo::new(&shorter, &mut WantedKeys::default()).unwrap();
        assert_ne!(of_node, key(&shorter, [Some(a), None]));
    }

    #[test]
    fn metric_has_the_name_of_the_settings_and_only_if_wanted() {
        let mut config = config();
        config.host_info.metric_name = "hosts".to_owned();
        let mut wanted = WantedKeys::default();
        let host_info = HostInfo::new(&config, &mut wanted).unwrap();
        let names: Vec<_> = host_info
            .schema()
            .metrics()
            .map(|metric| metric.name.clone())
            .collect();
        assert_eq!(names, ["hosts"]);
        config.processors = Processors::from_iter([Processor::SpanMetrics]);
        assert!(HostInfo::new(&config, &mut wanted).is_none());
    }
}
