//! spanmill's own metrics.

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`encode_metrics`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics with their names, and what they are about.
#[derive(Debug)]
pub struct MetricsRegistry {
    /// What stands before each name.
    prefix: String,
    metrics: Registry,
    described: Vec<MetricDescription>,
    below: Vec<MetricsRegistry>,
}

/// What a metric is, whether or not it has a value yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name of its samples; of a histogram, what its samples' names begin with.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// What it is about, without a full stop.
    pub help: String,
}

impl MetricsRegistry {
    fn with_prefix(prefix: String) -> Self {
        Self {
            metrics: Registry::with_prefix(prefix.clone()),
            prefix,
            described: Vec::new(),
            below: Vec::new(),
        }
    }

    /// Adds a metric: its name behind the prefix and without `_total`, and what it is
    /// about, without a full stop.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        metric: impl Metric,
    ) {
        let (name, help) = (name.into(), help.into());
        let (kind, suffix) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        self.described.push(MetricDescription {
            name: format!("{}_{name}{suffix}", self.prefix),
            kind,
            help: help.clone(),
        });
        self.metrics.register(name, help, metric);
    }

    /// A registry below this one, with a word more before its names.
    pub fn sub_registry_with_prefix(&mut self, prefix: impl AsRef<str>) -> &mut Self {
        let prefix = format!("{}_{}", self.prefix, prefix.as_ref());
        self.below.push_mut(Self::with_prefix(prefix))
    }

    /// What every metric is, in the order in which they were added.
    pub fn describe(&self) -> Vec<MetricDescription> {
        let below = self.below.iter().flat_map(Self::describe);
        self.described.iter().cloned().chain(below).collect()
    }

    fn encode(&self, text: &mut String) -> std::fmt::Result {
        encode_registry(text, &self.metrics)?;
        self.below.iter().try_for_each(|below| below.encode(text))
    }
}

/// An empty registry whose metrics are all named `spanmill_*`.
///
/// Each component takes `sub_registry_with_prefix("<component>")` of it.
pub fn new_metrics_registry() -> MetricsRegistry {
    MetricsRegistry::with_prefix("spanmill".to_owned())
}

/// Writes all metrics as OpenMetrics 1.0 text, the last line being `# EOF`.
pub fn encode_metrics(registry: &MetricsRegistry) -> String {
    encode_metrics_with(registry, |_| ())
}

/// As [`encode_metrics`], with what is appended before the last line.
pub fn encode_metrics_with(registry: &MetricsRegistry, append: impl FnOnce(&mut String)) -> String {
    let mut text = String::new();
    // Writing to a string fails only if a metric's own encoder does; what was
    // written until then lacks its end, which a scraper refuses as a whole.
    let written = registry.encode(&mut text).and_then(|()| {
        append(&mut text);
        encode_eof(&mut text)
    });
    if let Err(error) = written {
        tracing::error!(%error, "cannot encode own metrics");
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::info::Info;

    use super::*;

    #[test]
    fn metrics_bear_the_prefix_and_end_with_eof() {
        let mut registry = new_metrics_registry();
        let pushes = Counter::<u64>::default();
        registry.sub_registry_with_prefix("distributor").register(
            "pushes",
            "Pushes that came in",
            pushes.clone(),
        );
        pushes.inc();
        assert_eq!(
            encode_metrics(&registry),
            "# HELP spanmill_distributor_pushes Pushes that came in.\n\
             # TYPE spanmill_distributor_pushes counter\n\
             spanmill_distributor_pushes_total 1\n\
             # EOF\n"
        );
    }

    #[test]
    fn metrics_are_described_by_the_names_of_their_samples_also_without_a_value() {
        let mut registry = new_metrics_registry();
        registry.register("build", "Which build", Info::new([("a", "b")]));
        let generator = registry.sub_registry_with_prefix("generator");
        let of_registry = generator.sub_registry_with_prefix("registry");
        let series = Family::<[(&str, &str); 1], Gauge>::default();
        of_registry.register("series", "Series there are", series);
        generator.register("spans", "Spans that came", Counter::<u64>::default());
        let described: Vec<_> = registry
            .describe()
            .into_iter()
            .map(|metric| format!("{} {} {}", metric.name, metric.kind, metric.help))
            .collect();
        assert_eq!(
            described,
            [
                "spanmill_build_info info Which build",
                "spanmill_generator_spans_total counter Spans that came",
                "spanmill_generator_registry_series gauge Series there are",
            ]
        );
        assert!(!encode_metrics(&registry).contains("series"));
    }
}
