//! From attributes to the labels that a tenant's usage is counted by.

use std::collections::BTreeMap;

use otlp::KeyValue;

/// The value of a label whose attributes are not there.
const MISSING: &str = "__missing__";

/// The value of all labels where a tenant has too many label sets.
const OVERFLOW: &str = "__overflow__";

/// The longest value of a label, in bytes; what is longer is cut.
const MAX_VALUE_BYTES: usize = 1_024;

/// Labels that every series has besides.
const OWN_LABELS: [&str; 2] = ["tenant", "tracker"];

/// Which attributes become which labels.
#[derive(Debug, Default)]
pub(super) struct Labelling {
    dimensions: BTreeMap<String, String>,
    /// Names of labels, in their order, each with its attributes in theirs.
    labels: Vec<(String, Vec<usize>)>,
    attributes: Vec<Attribute>,
    /// What is written of a span beyond the limit.
    overflow: String,
}

#[derive(Debug)]
struct Attribute {
    key: Box<[u8]>,
    in_resource: bool,
    in_span: bool,
}

/// The values of one span, and the labels made of them; used again and again, so that
/// nothing is allocated for what is already known.
#[derive(Debug, Default)]
pub(super) struct Values {
    of_resource: Vec<String>,
    of_span: Vec<String>,
    text: String,
}

impl Labelling {
    pub(super) fn new(dimensions: &BTreeMap<String, String>) -> Self {
        let mut attributes = Vec::new();
        let mut labels = BTreeMap::<String, Vec<usize>>::new();
        for (written, label) in dimensions {
            let attribute = Attribute::new(written);
            let own_name = String::from_utf8_lossy(&attribute.key);
            let label = if label.is_empty() {
                &own_name
            } else {
                label.as_str()
            };
            let of_label = labels.entry(label_name(label)).or_default();
            of_label.push(attributes.len());
            attributes.push(attribute);
        }
        let mut labelling = Self {
            dimensions: dimensions.clone(),
            labels: labels.into_iter().collect(),
            attributes,
            overflow: String::new(),
        };
        let mut overflow = String::new();
        for (name, _) in &labelling.labels {
            push_label(name, OVERFLOW, &mut overflow);
        }
        labelling.overflow = overflow;
        labelling
    }

    /// Whether it was made of these.
    pub(super) fn is_of(&self, dimensions: &BTreeMap<String, String>) -> bool {
        self.dimensions == *dimensions
    }

    /// Whether spans of one resource may differ.
    pub(super) fn looks_at_spans(&self) -> bool {
        self.attributes.iter().any(|attribute| attribute.in_span)
    }

    /// The labels of what is beyond the limit.
    pub(super) fn overflow(&self) -> &str {
        &self.overflow
    }
}

impl Attribute {
    fn new(written: &str) -> Self {
        let (key, in_resource, in_span) = match (
            written.strip_prefix("resource."),
            written.strip_prefix("span."),
        ) {
            (Some(key), _) => (key, true, false),
            (None, Some(key)) => (key, false, true),
            (None, None) => (written, true, true),
        };
        Self {
            key: key.as_bytes().into(),
            in_resource,
            in_span,
        }
    }
}

impl Values {
    /// Forgets a resource and its span.
    pub(super) fn begin_resource(&mut self, labelling: &Labelling) {
        begin(&mut self.of_resource, labelling);
        self.begin_span(labelling);
    }

    /// Forgets a span.
    pub(super) fn begin_span(&mut self, labelling: &Labelling) {
        begin(&mut self.of_span, labelling);
    }

    /// Takes an attribute of the resource.
    pub(super) fn resource_attribute(&mut self, labelling: &Labelling, found: KeyValue<'_>) {
        for (attribute, value) in labelling.attributes.iter().zip(&mut self.of_resource) {
            if attribute.in_resource {
                take(attribute, found, value);
            }
        }
    }

    /// Takes an attribute of the span.
    pub(super) fn span_attribute(&mut self, labelling: &Labelling, found: KeyValue<'_>) {
        for (attribute, value) in labelling.attributes.iter().zip(&mut self.of_span) {
            if attribute.in_span {
                take(attribute, found, value);
            }
        }
    }

    /// The labels in Prometheus' text format, each with a comma behind it.
    pub(super) fn labels(&mut self, labelling: &Labelling) -> &str {
        self.text.clear();
        for (name, attributes) in &labelling.labels {
            let value = attributes.iter().find_map(|index| {
                [&self.of_resource, &self.of_span]
                    .into_iter()
                    .filter_map(|values| values.get(*index))
                    .find(|value| !value.is_empty())
            });
            push_label(name, value.map_or(MISSING, String::as_str), &mut self.text);
        }
        &self.text
    }
}

fn begin(values: &mut Vec<String>, labelling: &Labelling) {
    values.resize_with(labelling.attributes.len(), String::new);
    values.iter_mut().for_each(String::clear);
}

/// Takes the value of an attribute, once; what is no text is as if it were not there.
fn take(attribute: &Attribute, found: KeyValue<'_>, value: &mut String) {
    if value.is_empty() && *attribute.key == *found.key {
        if found.value.write_text(value).is_err() {
            value.clear();
        }
        value.truncate(value.floor_char_boundary(MAX_VALUE_BYTES));
    }
}

fn push_label(name: &str, value: &str, text: &mut String) {
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push_str("\",");
}

/// The name of a label: what is no letter, digit or `_` becomes `_`.
fn label_name(label: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = label
        .chars()
        .map(|c| if is_word(c) { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if OWN_LABELS.contains(&name.as_str()) {
        // As Prometheus does with labels that it sets itself.
        name.insert_str(0, "exported_");
    }
    name
}

#[cfg(test)]
mod tests {
    use otlp::AnyValue;

    use super::*;

    fn labelling(dimensions: &[(&str, &str)]) -> Labelling {
        let owned = |(attribute, label): &(&str, &str)| (attribute.to_string(), label.to_string());
        Labelling::new(&dimensions.iter().map(owned).collect())
    }

    fn attribute<'a>(key: &'a str, value: AnyValue<'a>) -> KeyValue<'a> {
        KeyValue {
            key: key.as_bytes(),
            value,
        }
    }

    #[test]
    fn attributes_become_labels_of_their_scope() {
        let labelling = labelling(&[
            ("both", ""),
            ("resource.a.b", ""),
            ("span.a.b", "of span"),
            ("team", "owner"),
            ("squad", "owner"),
            ("tenant", ""),
            ("9", ""),
        ]);
        let mut values = Values::default();
        values.begin_resource(&labelling);
        values.resource_attribute(&labelling, attribute("a.b", AnyValue::Int(5)));
        values.resource_attribute(&labelling, attribute("both", AnyValue::String(b"one")));
        values.span_attribute(&labelling, attribute("both", AnyValue::String(b"two")));
        values.span_attribute(&labelling, attribute("a.b", AnyValue::String(b"q\"\\\n")));
        values.span_attribute(&labelling, attribute("team", AnyValue::String(b"core")));
        values.span_attribute(&labelling, attribute("9", AnyValue::String(b"\xff")));
        assert_eq!(
            values.labels(&labelling),
            "_9=\"__missing__\",a_b=\"5\",both=\"one\",exported_tenant=\"__missing__\",\
             of_span=\"q\\\"\\\\\\n\",owner=\"core\","
        );
        values.begin_span(&labelling);
        values.span_attribute(&labelling, attribute("squad", AnyValue::String(b"x")));
        values.span_attribute(&labelling, attribute("team", AnyValue::String(b"y")));
        assert!(values.labels(&labelling).contains("owner=\"x\""));
        assert!(
            values
                .labels(&labelling)
                .contains("of_span=\"__missing__\"")
        );
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let labelling = labelling(&[("a", "")]);
        let mut values = Values::default();
        values.begin_resource(&labelling);
        let long = "x".to_owned() + &"ä".repeat(MAX_VALUE_BYTES);
        values.span_attribute(
            &labelling,
            attribute("a", AnyValue::String(long.as_bytes())),
        );
        let want = format!("a=\"x{}\",", "ä".repeat(511));
        assert_eq!(values.labels(&labelling), want);
    }
}
