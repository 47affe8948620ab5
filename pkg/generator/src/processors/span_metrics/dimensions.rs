//! Dimensions: which data of a span becomes which label.

use std::borrow::Cow;

use model::LabelSetBuf;
use otlp::{AnyValue, Span};
use overrides::{IntrinsicDimensions, RegistryConfig, SpanMetricsConfig};
use registry::InvalidLabels;

use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::span_names;

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

/// How long names and values of labels may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelLimits {
    pub(super) name: usize,
    pub(super) value: usize,
}

impl LabelLimits {
    pub(super) fn new(config: &RegistryConfig) -> Self {
        Self {
            name: config.max_label_name_length,
            value: config.max_label_value_length,
        }
    }
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
            writer.value("span_name", Some(AnyValue::String(span.name)))?;
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
            writer.mapping(mapping, values)?;
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

/// Turns values into labels: to text, cut to the limit.
#[derive(Debug)]
pub(super) struct LabelWriter<'b> {
    labels: &'b mut LabelSetBuf,
    limits: LabelLimits,
    text: String,
}

impl<'b> LabelWriter<'b> {
    pub(super) fn new(labels: &'b mut LabelSetBuf, limits: LabelLimits) -> Self {
        Self {
            labels,
            limits,
            text: String::new(),
        }
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.labels.push(name, cut(value, self.limits.value));
    }

    pub(super) fn value(
        &mut self,
        name: &str,
        value: Option<AnyValue<'_>>,
    ) -> Result<(), InvalidLabels> {
        self.text.clear();
        self.append(value)?;
        self.flush(name);
        Ok(())
    }

    pub(super) fn job(
        &mut self,
        namespace: Option<AnyValue<'_>>,
        name: Option<AnyValue<'_>>,
    ) -> Result<(), InvalidLabels> {
        self.text.clear();
        self.append(name)?;
        if !self.text.is_empty() {
            let name = std::mem::take(&mut self.text);
            self.append(namespace)?;
            if !self.text.is_empty() {
                self.text.push('/');
            }
            self.text.push_str(&name);
        }
        self.flush("job");
        Ok(())
    }

    fn mapping(&mut self, mapping: &Mapping, values: Values<'_, '_>) -> Result<(), InvalidLabels> {
        self.text.clear();
        for source in &mapping.sources {
            let before = self.text.len();
            if before > 0 {
                self.text.push_str(&mapping.join);
            }
            let joined = self.text.len();
            self.append(values.dimension(*source))?;
            if self.text.len() == joined {
                self.text.truncate(before);
            }
        }
        self.flush(&mapping.label);
        Ok(())
    }

    fn append(&mut self, value: Option<AnyValue<'_>>) -> Result<(), InvalidLabels> {
        value.map_or(Ok(()), |value| {
            value.write_text(&mut self.text).map_err(|_| InvalidLabels)
        })
    }

    fn flush(&mut self, name: &str) {
        self.labels.push(name, cut(&self.text, self.limits.value));
    }
}

/// The label of an attribute: characters that a label may not have become `_`,
/// a reserved name gets `__` in front, and what is too long is cut.
pub(super) fn label_name(attribute: &str, reserved: &[&str], limits: LabelLimits) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut name: String = attribute
        .chars()
        .map(|character| if is_word(character) { character } else { '_' })
        .collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if reserved.contains(&name.as_str()) || ["__name__", "le"].contains(&name.as_str()) {
        name.insert_str(0, "__");
    }
    cut(&name, limits.name).to_owned()
}

/// Cuts text to at most `limit` bytes, never within a character (D32); a limit
/// of 0 is none.
fn cut(text: &str, limit: usize) -> &str {
    if limit == 0 || text.len() <= limit {
        return text;
    }
    text.get(..text.floor_char_boundary(limit)).unwrap_or("")
}

/// Writes a value so that different values never look alike.
fn write_raw(value: Option<AnyValue<'_>>, out: &mut Vec<u8>) {
    let fixed = |tag: u8, bits: u64, out: &mut Vec<u8>| {
        out.push(tag);
        out.extend_from_slice(&bits.to_le_bytes());
    };
    let variable = |tag: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.push(tag);
        write_bytes(bytes, out);
    };
    match value {
        None => out.push(0),
        Some(AnyValue::Empty) => out.push(1),
        Some(AnyValue::String(bytes)) => variable(2, bytes, out),
        Some(AnyValue::Bool(value)) => fixed(3, u64::from(value), out),
        Some(AnyValue::Int(value)) => fixed(4, value as u64, out),
        Some(AnyValue::Double(value)) => fixed(5, value.to_bits(), out),
        Some(AnyValue::Array(bytes)) => variable(6, bytes, out),
        Some(AnyValue::KeyValueList(bytes)) => variable(7, bytes, out),
        Some(AnyValue::Bytes(bytes)) => variable(8, bytes, out),
    }
}

#[inline]
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A key as text, for names that need not be UTF-8.
pub(super) fn key_text(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(key)
}
