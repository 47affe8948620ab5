//! The rules of span metrics in words.

use otlp::Span;
use overrides::TenantConfig;

use super::SpanMetrics;
use crate::attributes::Values;
use crate::explain::Rule;

impl SpanMetrics {
    /// What each rule finds for a span, in the order in which they apply.
    pub(crate) fn explain(
        &self,
        config: &TenantConfig,
        span: &Span<'_>,
        values: Values<'_, '_>,
    ) -> Vec<Rule> {
        let settings = &config.span_metrics;
        let policies = &settings.filter_policies;
        let mut rules = self.filter.explain(policies, span, values);
        if !self.filter.admits(span, values) {
            return rules;
        }
        let weight = self.multiplier.weight(span, values);
        rules.push(weight.explain(
            &settings.span_multiplier_key,
            settings.enable_tracestate_span_multiplier,
        ));
        self.dimensions.explain(settings, span, values, &mut rules);
        rules
    }
}
