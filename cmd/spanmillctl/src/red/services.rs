//! Series of span metrics, summed by service.

use std::collections::{BTreeMap, HashMap};

use super::Kinds;
use crate::exposition::{self, ParseError, Sample};

/// The counters of one scrape that matter, by series.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape(HashMap<Key, f64>);

/// A series: the line up to its value, and where it is summed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    labels: Vec<(String, String)>,
    counter: Counter,
}

/// What a series counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counter {
    Calls,
    /// With the bound's bits, which are equal if the bounds are.
    Bucket(u64),
}

impl Scrape {
    /// Reads the span metrics of a text.
    pub(super) fn read(text: &str, kinds: Kinds) -> Result<Self, ParseError> {
        let mut scrape = Self::default();
        for sample in exposition::parse(text) {
            let sample = sample?;
            let counter = match sample.name {
                "traces_spanmetrics_calls_total" => Some(Counter::Calls),
                "traces_spanmetrics_latency_bucket" => sample
                    .label("le")
                    .and_then(|le| le.parse::<f64>().ok())
                    .map(|bound| Counter::Bucket(bound.to_bits())),
                _ => None,
            };
            let Some(counter) = counter else { continue };
            if wanted(&sample, kinds) {
                let labels = sample.labels.iter();
                let labels = labels.map(|(name, value)| ((*name).to_owned(), value.to_string()));
                let key = Key {
                    labels: labels.collect(),
                    counter,
                };
                scrape.0.insert(key, sample.value);
            }
        }
        Ok(scrape)
    }

    /// Whether there is no series of span metrics.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Series without a kind are taken: the dimension may be switched off.
fn wanted(sample: &Sample<'_>, kinds: Kinds) -> bool {
    kinds == Kinds::All
        || matches!(
            sample.label("span_kind"),
            None | Some("SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER")
        )
}

impl Key {
    fn label(&self, wanted: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }
}

/// What happened, by service.
#[derive(Clone, Debug, Default)]
pub(super) struct Services(pub(super) BTreeMap<String, Red>);

/// Requests, errors and durations of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Red {
    /// How many.
    pub(super) calls: f64,
    /// How many of them failed.
    pub(super) errors: f64,
    /// Cumulative counts by upper bound in seconds.
    buckets: Vec<(f64, f64)>,
}

impl Services {
    /// The increase from one scrape to the next; a counter that fell began anew.
    pub(super) fn between(first: &Scrape, second: &Scrape) -> Self {
        let mut services = Self::default();
        for (key, value) in &second.0 {
            let before = first.0.get(key).copied().unwrap_or(0.0);
            let increase = if *value < before {
                *value
            } else {
                value - before
            };
            let service = key.label("service").unwrap_or("(no service)");
            let red = services.0.entry(service.to_owned()).or_default();
            match key.counter {
                Counter::Calls => {
                    red.calls += increase;
                    if key.label("status_code") == Some("STATUS_CODE_ERROR") {
                        red.errors += increase;
                    }
                }
                Counter::Bucket(bits) => red.add(f64::from_bits(bits), increase),
            }
        }
        for red in services.0.values_mut() {
            red.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        services
    }

    /// Whether nothing happened.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.values().all(|red| red.calls == 0.0)
    }
}

impl Red {
    fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => self.buckets.push((bound, count)),
        }
    }

    /// A quantile of the durations in seconds, as `histogram_quantile` gives it:
    /// linear within a bucket, the highest finite bound beyond it.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let (_, total) = self.buckets.last()?;
        if *total <= 0.0 {
            return None;
        }
        let rank = quantile * total;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            if *count >= rank {
                if bound.is_infinite() {
                    return Some(lower);
                }
                let share = (rank - below) / (count - below);
                return Some(lower + (bound - lower) * if share.is_finite() { share } else { 1.0 });
            }
            (lower, below) = (*bound, *count);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(service: &str, kind: &str, status: &str, value: u32) -> String {
        format!(
            "traces_spanmetrics_calls_total{{service=\"{service}\",span_kind=\"SPAN_KIND_{kind}\",\
             status_code=\"STATUS_CODE_{status}\"}} {value}\n"
        )
    }

    fn scrape(text: &str) -> Scrape {
        Scrape::read(text, Kinds::Served).unwrap()
    }

    #[test]
    fn increases_are_summed_by_service() {
        let first = calls("a", "SERVER", "UNSET", 10) + &calls("a", "SERVER", "ERROR", 1);
        let second = calls("a", "SERVER", "UNSET", 30)
            + &calls("a", "SERVER", "ERROR", 6)
            + &calls("a", "CLIENT", "UNSET", 99)
            + &calls("b", "CONSUMER", "UNSET", 4);
        let services = Services::between(&scrape(&first), &scrape(&second)).0;
        let read: Vec<_> = services
            .iter()
            .map(|(name, red)| (name.as_str(), red.calls, red.errors))
            .collect();
        assert_eq!(read, [("a", 25.0, 5.0), ("b", 4.0, 0.0)]);

        let all = Scrape::read(&second, Kinds::All).unwrap();
        let services = Services::between(&Scrape::default(), &all).0;
        assert_eq!(services["a"].calls, 135.0);
    }

    #[test]
    fn counter_that_fell_began_anew() {
        let before = scrape(&calls("a", "SERVER", "UNSET", 100));
        let after = scrape(&calls("a", "SERVER", "UNSET", 7));
        assert_eq!(Services::between(&before, &after).0["a"].calls, 7.0);
        assert!(Services::between(&after, &after).is_quiet());
    }

    /// Values that Prometheus gives for the same buckets.
    #[test]
    fn quantiles_are_interpolated_like_prometheus() {
        let mut text = String::new();
        for (le, count) in [("0.1", 10), ("0.2", 30), ("0.4", 30), ("+Inf", 40)] {
            text += &format!(
                "traces_spanmetrics_latency_bucket{{service=\"a\",span_name=\"x\",le=\"{le}\"}} {count}\n\
                 traces_spanmetrics_latency_bucket{{service=\"a\",span_name=\"y\",le=\"{le}\"}} {count}\n"
            );
        }
        let services = Services::between(&Scrape::default(), &scrape(&text)).0;
        for (quantile, want) in [
            (0.125, 0.05),
            (0.25, 0.1),
            (0.5, 0.15),
            (0.75, 0.2),
            (0.99, 0.4),
        ] {
            let got = services["a"].quantile(quantile).unwrap();
            assert!((got - want).abs() < 1e-12, "{quantile}: {got}");
        }
        assert_eq!(Red::default().quantile(0.5), None);
    }
}
