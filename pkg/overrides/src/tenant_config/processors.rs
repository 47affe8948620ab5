//! Which processors a tenant has.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// What turns spans into series.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Processor {
    /// Edges between services.
    ServiceGraphs,
    /// Calls, latency and size by service and span name: the next three in one.
    SpanMetrics,
    /// The latency histogram alone.
    SpanMetricsLatency,
    /// The calls alone.
    SpanMetricsCount,
    /// The size alone.
    SpanMetricsSize,
    /// Which hosts send traces.
    HostInfo,
    /// Recent spans kept for queries.
    LocalBlocks,
}

impl Processor {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServiceGraphs,
        Self::SpanMetrics,
        Self::SpanMetricsLatency,
        Self::SpanMetricsCount,
        Self::SpanMetricsSize,
        Self::HostInfo,
        Self::LocalBlocks,
    ];

    /// The name in settings and labels, as in Tempo.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceGraphs => "service-graphs",
            Self::SpanMetrics => "span-metrics",
            Self::SpanMetricsLatency => "span-metrics-latency",
            Self::SpanMetricsCount => "span-metrics-count",
            Self::SpanMetricsSize => "span-metrics-size",
            Self::HostInfo => "host-info",
            Self::LocalBlocks => "local-blocks",
        }
    }

    /// Whether this version has it; one that it has not is accepted in
    /// settings, does nothing, and is warned of.
    pub fn is_available(self) -> bool {
        match self {
            Self::SpanMetrics
            | Self::SpanMetricsLatency
            | Self::SpanMetricsCount
            | Self::SpanMetricsSize
            | Self::ServiceGraphs
            | Self::HostInfo => true,
            Self::LocalBlocks => false,
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of processors.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Processors(u8);

impl Processors {
    /// Whether one is in the set.
    pub fn contains(self, processor: Processor) -> bool {
        self.0 & processor.bit() != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in one of two sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in the set.
    pub fn iter(self) -> impl Iterator<Item = Processor> {
        Processor::ALL
            .into_iter()
            .filter(move |processor| self.contains(*processor))
    }
}

impl FromIterator<Processor> for Processors {
    fn from_iter<I: IntoIterator<Item = Processor>>(processors: I) -> Self {
        Self(
            processors
                .into_iter()
                .fold(0, |bits, processor| bits | processor.bit()),
        )
    }
}

impl<const N: usize> From<[Processor; N]> for Processors {
    fn from(processors: [Processor; N]) -> Self {
        processors.into_iter().collect()
    }
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Processors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Processors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Processor>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_is_written_by_name() {
        let set = Processors::from([Processor::LocalBlocks, Processor::SpanMetrics]);
        assert!(set.contains(Processor::SpanMetrics));
        assert!(!set.contains(Processor::SpanMetricsCount));
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, r#"["span-metrics","local-blocks"]"#);
        assert_eq!(serde_json::from_str::<Processors>(&text).unwrap(), set);
        for processor in Processor::ALL {
            assert_eq!(serde_json::to_value(processor).unwrap(), processor.name());
            assert_eq!(Processors::from([processor]).iter().count(), 1);
        }
    }
}
