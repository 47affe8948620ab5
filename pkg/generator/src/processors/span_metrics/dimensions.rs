//! Dimensions: which data of a span becomes which label.

use model::LabelSetBuf;
use otlp::{AnyValue, Span};
use overrides::{IntrinsicDimensions, RegistryConfig, SpanMetricsConfig, SpanNameSanitization};
use registry::InvalidLabels;

use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::labelling::Labelling;
use crate::labels::{LabelLimits, LabelWriter, label_name};
use crate::raw_key::{write_bytes, write_raw};
use crate::span_name_template::template;
use crate::span_names;

mod explain;

/// Labels that a dimension may not take: its own gets `__` in front.
pub(super) const INTRINSIC_LABELS: [&str; 5] = [
    "service",
    "span_name",
    "span_kind",
    "status_code",
    "status_message",
];

/// The dimensions of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Dimensions {
    intrinsic: IntrinsicDimensions,
    names: SpanNameSanitization,
    service_name: KeyIndex,
    attributes: Vec<(String, KeyIndex)>,
    mappings: Vec<Mapping>,
    target: Option<Target>,
    limits: LabelLimits,
}

/// A label whose value joins those of several attributes.
#[derive(Clone, Debug)]
struct Mapping {
    label: String,
    sources: Vec<KeyIndex>,
    join: String,
}

/// The labels `job` and `instance`.
#[derive(Clone, Debug)]
pub(super) struct Target {
    name: KeyIndex,
    namespace: KeyIndex,
    instance: Option<KeyIndex>,
}

impl Dimensions {
    pub(super) fn new(
        settings: &SpanMetricsConfig,
        registry: &RegistryConfig,
        wanted: &mut WantedKeys,
    ) -> Self {
        let limits = LabelLimits::new(registry);
        let label = |name: &str| label_name(name, &INTRINSIC_LABELS, limits);
        Self {
            intrinsic: settings.intrinsic_dimensions.clone(),
            names: registry.span_name_sanitization,
            service_name: wanted.want("service.name"),
            attributes: settings
                .dimensions
                .iter()
                .map(|key| (label(key), wanted.want(key)))
                .collect(),
            mappings: settings
                .dimension_mappings
                .iter()
                .map(|mapping| Mapping {
                    label: label(&mapping.name),
                    sources: mapping
                        .source_labels
                        .iter()
                        .map(|key| wanted.want(key))
                        .collect(),
                    join: mapping.join.clone(),
                })
                .collect(),
            target: settings
                .enable_target_info
                .then(|| Target::new(wanted, settings.enable_instance_label)),
            limits,
        }
    }

    /// Which labels there can be.
    pub(super) fn labelling(&self) -> Labelling {
        let cut = |name: &str| self.limits.name(name).to_owned();
        let on = |names: [(bool, &str); 2]| {
            let on = names.into_iter().filter(|(is_on, _)| *is_on);
            on.map(|(_, name)| cut(name)).collect::<Vec<_>>()
        };
        let intrinsic = &self.intrinsic;
        let certain = on([
            (intrinsic.span_kind, "span_kind"),
            (intrinsic.status_code, "status_code"),
        ]);
        let named = on([
            (intrinsic.service, "service"),
            (intrinsic.span_name, "span_name"),
        ]);
        let of_target = self.target.as_ref();
        let others = on([
            (intrinsic.status_message, "status_message"),
            (of_target.is_some(), "job"),
        ]);
        let instance = of_target.and_then(|target| target.instance);
        let instance = instance.map(|_| cut("instance"));
        let attributes = self.attributes.iter().map(|(label, _)| label.clone());
        let mapped = self.mappings.iter().map(|mapping| mapping.label.clone());
        let possible = certain.iter().cloned().chain(named).chain(others);
        Labelling {
            possible: Some(
                possible
                    .chain(instance)
                    .chain(attributes)
                    .chain(mapped)
                    .collect(),
            ),
            certain: certain.into_iter().collect(),
            ..Labelling::default()
        }
    }

    /// Attributes whose value may come from a resource.
    fn attribute_keys(&self) -> impl Iterator<Item = KeyIndex> {
        let mapped = self.mappings.iter().flat_map(|mapping| &mapping.sources);
        let direct = self.attributes.iter().map(|(_, key)| key);
        direct.chain(mapped).copied()
    }

    /// Writes the raw values that all spans of a resource share.
    pub(super) fn write_resource_key(&self, values: Values<'_, '_>, out: &mut Vec<u8>) {
        if self.intrinsic.service {
            write_raw(values.in_resource(self.service_name), out);
        }
        for key in self.attribute_keys() {
            write_raw(values.in_resource(key), out);
        }
        if let Some(target) = &self.target {
            for key in [Some(target.name), Some(target.namespace), target.instance] {
                write_raw(key.and_then(|key| values.in_resource(key)), out);
            }
        }
    }

    /// Writes the raw values that belong to one span.
    #[inline]
    pub(super) fn write_span_key(
        &self,
        span: &Span<'_>,
        values: Values<'_, '_>,
        out: &mut Vec<u8>,
    ) {
        if self.intrinsic.span_name {
            write_bytes(span.name, out);
        }
        if self.intrinsic.span_kind {
            out.extend_from_slice(&span.kind.to_le_bytes());
        }
        if self.intrinsic.status_code {
            out.extend_from_slice(&span.status_code.to_le_bytes());
        }
        if self.intrinsic.status_message {
            write_bytes(span.status_message, out);
        }
        for key in self.attribute_keys() {
            // What the resource has is in its key, and wins.
            if values.in_resource(key).is_none() {
                write_raw(values.in_span(key), out);
            }
        }
    }

    /// Writes the labels of a span. Of labels with one name the later counts.
    pub(super) fn write_labels(
        &self,
        span: &Span<'_>,
        values: Values<'_, '_>,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        let mut writer = LabelWriter::new(labels, self.limits);
        if self.intrinsic.service {
            writer.value("service", values.in_resource(self.service_name))?;
        }
        if self.intrinsic.span_name {
            let name = std::str::from_utf8(span.name).map_err(|_| InvalidLabels)?;
            match self.names {
                SpanNameSanitization::Off | SpanNameSanitization::DryRun => {
                    writer.text("span_name", name);
                }
                SpanNameSanitization::Enabled => writer.text("span_name", &template(name)),
            }
        }
        if self.intrinsic.span_kind {
            writer.text("span_kind", &span_names::kind(span.kind));
        }
        if self.intrinsic.status_code {
            writer.text("status_code", &span_names::status_code(span.status_code));
        }
        if self.intrinsic.status_message {
            writer.value(
                "status_message",
                Some(AnyValue::String(span.status_message)),
            )?;
        }
        for (label, key) in &self.attributes {
            writer.value(label, values.dimension(*key))?;
        }
        for mapping in &self.mappings {
            let sources = mapping.sources.iter();
            let sources = sources.map(|source| values.dimension(*source));
            writer.joined(&mapping.label, &mapping.join, sources)?;
        }
        if let Some(target) = &self.target {
            target.write_labels(values, &mut writer)?;
        }
        Ok(())
    }
}

impl Target {
    pub(super) fn new(wanted: &mut WantedKeys, with_instance: bool) -> Self {
        Self {
            name: wanted.want("service.name"),
            namespace: wanted.want("service.namespace"),
            instance: with_instance.then(|| wanted.want("service.instance.id")),
        }
    }

    /// Writes `job`, which is `namespace/name` or `name`, and `instance`.
    fn write_labels(
        &self,
        values: Values<'_, '_>,
        writer: &mut LabelWriter<'_>,
    ) -> Result<(), InvalidLabels> {
        let name = values.in_resource(self.name);
        let namespace = values.in_resource(self.namespace);
        writer.job(namespace, name)?;
        match self.instance {
            Some(instance) => writer.value("instance", values.in_resource(instance)),
            None => Ok(()),
        }
    }
}
