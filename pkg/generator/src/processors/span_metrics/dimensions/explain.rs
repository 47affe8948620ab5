//! Which label comes from where.

use model::LabelSetBuf;
use otlp::{AnyValue, Span};
use overrides::{SpanMetricsConfig, SpanNameSanitization};

use super::Dimensions;
use crate::attributes::{KeyIndex, Values};
use crate::explain::{Rule, shown, shown_text};
use crate::span_name_template::template;

impl Dimensions {
    /// Adds a rule for each label that a span could get: its source, and the label.
    pub(in super::super) fn explain(
        &self,
        settings: &SpanMetricsConfig,
        span: &Span<'_>,
        values: Values<'_, '_>,
        rules: &mut Vec<Rule>,
    ) {
        let mut labels = LabelSetBuf::new();
        if self.write_labels(span, values, &mut labels).is_err() {
            let finding = "a value that should be a label is not UTF-8: refused";
            rules.push(Rule::new("labels", finding));
            return;
        }
        let labels = labels.finish();
        let mut add = |source: String, label: &str, found: Option<String>| {
            let label = self.limits.name(label);
            let finding = match (found, labels.get(label)) {
                (None, None) => "is not there: no label".to_owned(),
                (None, Some(_)) => format!("is not there: {label} is from another"),
                (Some(found), None) => format!("is {found}: no label, since it is empty"),
                (Some(found), Some(value)) => format!("is {found}: {label}={value:?}"),
            };
            rules.push(Rule::new(source, finding));
        };
        let intrinsic = &self.intrinsic;
        if intrinsic.service {
            let name = values.in_resource(self.service_name).map(shown);
            add("resource service.name".to_owned(), "service", name);
        }
        if intrinsic.span_name {
            let name = shown_text(span.name);
            let template = std::str::from_utf8(span.name).map(template);
            let found = match (self.names, template) {
                (SpanNameSanitization::Enabled, Ok(template)) => {
                    format!("{name}, sanitized {template:?}")
                }
                _ => name,
            };
            add("span name".to_owned(), "span_name", Some(found));
        }
        if intrinsic.span_kind {
            add(
                "span kind".to_owned(),
                "span_kind",
                Some(span.kind.to_string()),
            );
        }
        if intrinsic.status_code {
            let code = Some(span.status_code.to_string());
            add("status code".to_owned(), "status_code", code);
        }
        if intrinsic.status_message {
            let message = Some(shown_text(span.status_message));
            add("status message".to_owned(), "status_message", message);
        }
        for (key, (label, index)) in settings.dimensions.iter().zip(&self.attributes) {
            let (place, found) = found(values, *index);
            add(format!("dimension {key}{place}"), label, found);
        }
        for (settings, mapping) in settings.dimension_mappings.iter().zip(&self.mappings) {
            let sources = mapping.sources.iter();
            let sources = sources.filter_map(|source| values.dimension(*source).map(shown));
            let found: Vec<_> = sources.collect();
            let found = (!found.is_empty()).then(|| found.join(" with "));
            let name = format!(
                "mapping {} of {}",
                settings.name,
                settings.source_labels.join(", ")
            );
            add(name, &mapping.label, found);
        }
        if let Some(target) = &self.target {
            let name = values.in_resource(target.name).map(shown);
            let source = "target: service.namespace/service.name".to_owned();
            add(source, "job", name);
            if let Some(instance) = target.instance {
                let instance = values.in_resource(instance).map(shown);
                let source = "target: service.instance.id".to_owned();
                add(source, "instance", instance);
            }
        }
    }
}

/// Where the value of a dimension is, and the value.
fn found(values: Values<'_, '_>, key: KeyIndex) -> (&'static str, Option<String>) {
    let of = |value: Option<AnyValue<'_>>| value.map(shown);
    match (values.in_resource(key), values.in_span(key)) {
        (Some(value), _) => (" of the resource", of(Some(value))),
        (None, Some(value)) => (" of the span", of(Some(value))),
        (None, None) => ("", None),
    }
}
