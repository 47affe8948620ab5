//! `traces_target_info`: one series for each resource, with its attributes.
//!
//! Source: tempo-2.10, span-metrics rules 5, 7 and 8; differences D7.

use model::LabelSetBuf;
use otlp::{AnyValue, ResourceSpans, WireError};
use overrides::{RegistryConfig, SpanMetricsConfig};
use registry::{InvalidLabels, KeyHasher, LaneKey, Metric, MetricKind, Schema, Update};

use super::dimensions::INTRINSIC_LABELS;
use crate::labelling::Labelling;
use crate::labels::{LabelLimits, LabelWriter, key_text, label_name};
use crate::raw_key::key_of_settings;

/// What the labels of `job` and `instance` are made of.
const IDENTITY: [&[u8]; 3] = [
    b"service.name",
    b"service.namespace",
    b"service.instance.id",
];

/// The target info of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct TargetInfo {
    excluded: Vec<Vec<u8>>,
    limits: LabelLimits,
    settings_key: LaneKey,
}

/// The parts of a resource that target info looks at.
#[derive(Clone, Copy, Debug, Default)]
struct Identity<'a> {
    name: Option<AnyValue<'a>>,
    namespace: Option<AnyValue<'a>>,
    instance: Option<AnyValue<'a>>,
}

impl TargetInfo {
    pub(super) fn new(settings: &SpanMetricsConfig, registry: &RegistryConfig) -> Self {
        let excluded = settings.target_info_excluded_dimensions.iter();
        let excluded: Vec<_> = excluded.map(|key| key.as_bytes().to_vec()).collect();
        let limits = LabelLimits::new(registry);
        Self {
            settings_key: key_of_settings(&(&excluded, limits)),
            excluded,
            limits,
        }
    }

    /// The one metric.
    pub(crate) fn schema() -> Schema {
        Schema::new([Metric {
            name: "traces_target_info".to_owned(),
            help: "Resources that emitted spans, with their attributes",
            unit: "",
            kind: MetricKind::Gauge,
            sparse: false,
        }])
    }

    /// Which labels there can be.
    pub(crate) fn labelling(&self) -> Labelling {
        let excluded = self.excluded.iter();
        let excluded = excluded.map(|key| self.label(key)).collect();
        Labelling {
            excluded,
            ..Labelling::default()
        }
    }

    fn label(&self, key: &[u8]) -> String {
        let mut reserved = INTRINSIC_LABELS.to_vec();
        reserved.extend(["job", "instance"]);
        label_name(&key_text(key), &reserved, self.limits)
    }

    /// Sets the target info of a resource; `None` if it has none to show: it
    /// needs a job or an instance, and one attribute besides.
    pub(super) fn update(
        &self,
        resource_spans: ResourceSpans<'_>,
        hasher: KeyHasher,
    ) -> Result<Option<Update>, WireError> {
        let mut identity = Identity::default();
        let mut has_attribute = false;
        for attribute in resource_spans.attributes() {
            let attribute = attribute?;
            identity.note(attribute.key, attribute.value);
            has_attribute |= self.shows(attribute.key);
        }
        if !has_attribute || !identity.is_known() {
            return Ok(None);
        }
        let mut resources = resource_spans.resources();
        let resource = match (resources.next(), resources.next()) {
            (Some(Ok(only)), None) => hasher.key(only),
            _ => hasher.key(resource_spans.as_bytes()),
        };
        let both = [self.settings_key.to_bytes(), resource.to_bytes()];
        let key = hasher.key(both.as_flattened());
        Ok(Some(Update::info(key)))
    }

    /// The labels of a resource that [`TargetInfo::update`] took.
    ///
    /// Observed: they must be more than the attributes, `job` and `instance`
    /// included. So a resource may show nothing if attributes are lost, since
    /// their values are empty or their labels have one name.
    pub(crate) fn labels(
        &self,
        resource_spans: ResourceSpans<'_>,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        let mut identity = Identity::default();
        let mut attributes = 0;
        let mut writer = LabelWriter::new(labels, self.limits);
        for attribute in resource_spans.attributes().map_while(Result::ok) {
            identity.note(attribute.key, attribute.value);
            if self.shows(attribute.key) {
                attributes += 1;
                writer.value(&self.label(attribute.key), Some(attribute.value))?;
            }
        }
        writer.job(identity.namespace, identity.name)?;
        writer.value("instance", identity.instance)?;
        if labels.finish().iter().count() > attributes {
            Ok(())
        } else {
            Err(InvalidLabels)
        }
    }

    /// Whether an attribute becomes a label of its own.
    fn shows(&self, key: &[u8]) -> bool {
        let is_digit = key.first().is_some_and(u8::is_ascii_digit);
        !key.is_empty()
            && !is_digit
            && !IDENTITY.contains(&key)
            && !self.excluded.iter().any(|excluded| excluded == key)
    }
}

impl<'a> Identity<'a> {
    /// Keeps the first value of each key.
    fn note(&mut self, key: &[u8], value: AnyValue<'a>) {
        let [name, namespace, instance] = IDENTITY;
        let place = match key {
            _ if key == name => &mut self.name,
            _ if key == namespace => &mut self.namespace,
            _ if key == instance => &mut self.instance,
            _ => return,
        };
        place.get_or_insert(value);
    }

    fn is_known(self) -> bool {
        let is_set = |value: Option<AnyValue<'_>>| {
            value.is_some_and(|value| {
                !matches!(
                    value,
                    AnyValue::Empty | AnyValue::String(b"") | AnyValue::Bytes(_)
                )
            })
        };
        is_set(self.name) || is_set(self.instance)
    }
}
