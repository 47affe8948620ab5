//! What several nodes have of a tenant, as one answer.

use std::sync::Arc;

use super::everywhere::Described;
use crate::tenants_api::{
    DestinationAnswer, Discarded, Flow, Level, LimitedLabel, RemoteWriteAnswer, TenantAnswer,
    TenantNode,
};

/// A tenant as far as it is summed up.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// None before the first node.
    answer: Option<TenantAnswer>,
    /// Whether it has the limits of a node that makes series.
    has_series: bool,
}

impl Sum {
    /// Adds what a node has.
    pub(super) fn add(&mut self, node: &Arc<str>, part: Described) {
        let Described {
            answer: mut other,
            has_series,
        } = part;
        let share = TenantNode {
            node: node.to_string(),
            series: other.series.active,
            spans_per_second: other.spans.per_second,
        };
        other.nodes = if has_series { vec![share] } else { Vec::new() };
        let Some(sum) = &mut self.answer else {
            self.answer = Some(other);
            self.has_series = has_series;
            return;
        };
        // Each generator has the limit for itself; a distributor only knows of it.
        let both_count = self.has_series && has_series;
        if has_series && !self.has_series {
            sum.series.limit = other.series.limit;
            sum.label_sets.limit = other.label_sets.limit;
            sum.rate_over_seconds = other.rate_over_seconds;
        }
        self.has_series |= has_series;
        add_level(&mut sum.series, other.series, both_count);
        add_level(&mut sum.label_sets, other.label_sets, both_count);
        add_flow(&mut sum.spans, other.spans);
        add_flow(&mut sum.bytes, other.bytes);
        sum.rate_over_seconds = sum.rate_over_seconds.max(other.rate_over_seconds);
        sum.values_per_label_limit = sum.values_per_label_limit.max(other.values_per_label_limit);
        sum.overflowed_spans += other.overflowed_spans;
        sum.waiting_spans += other.waiting_spans;
        sum.last_collection_ms = sum.last_collection_ms.max(other.last_collection_ms);
        add_labels(&mut sum.limited_labels, other.limited_labels);
        add_discards(&mut sum.discards, other.discards);
        match (&mut sum.remote_write, other.remote_write) {
            (Some(sum), Some(other)) => add_remote_write(sum, other),
            (sum @ None, other) => *sum = other,
            (Some(_), None) => {}
        }
        sum.nodes.append(&mut other.nodes);
    }

    /// The answer.
    pub(super) fn finish(self) -> TenantAnswer {
        let mut answer = self.answer.unwrap_or_default();
        answer.nodes.sort_by(|a, b| a.node.cmp(&b.node));
        answer
    }
}

fn add_level(sum: &mut Level, other: Level, is_limit_added: bool) {
    sum.active += other.active;
    sum.demand += other.demand;
    if is_limit_added {
        // None on one node is none on all.
        sum.limit = match (sum.limit, other.limit) {
            (0, _) | (_, 0) => 0,
            (sum, other) => sum.saturating_add(other),
        };
    }
}

fn add_flow(sum: &mut Flow, other: Flow) {
    sum.total += other.total;
    sum.per_second += other.per_second;
}

/// Values of a label may be the same on all nodes, so the most that one has is taken.
fn add_labels(sum: &mut Vec<LimitedLabel>, others: Vec<LimitedLabel>) {
    for other in others {
        match sum.iter_mut().find(|known| known.name == other.name) {
            Some(known) => {
                known.demand = known.demand.max(other.demand);
                known.limited_label_sets += other.limited_label_sets;
            }
            None => sum.push(other),
        }
    }
}

fn add_discards(sum: &mut Vec<Discarded>, others: Vec<Discarded>) {
    for other in others {
        let is_same =
            |known: &&mut Discarded| known.stage == other.stage && known.reason == other.reason;
        match sum.iter_mut().find(is_same) {
            Some(known) => known.spans += other.spans,
            None => sum.push(other),
        }
    }
}

fn add_remote_write(sum: &mut RemoteWriteAnswer, others: RemoteWriteAnswer) {
    sum.spool_bytes += others.spool_bytes;
    sum.unwritten_samples += others.unwritten_samples;
    for other in others.destinations {
        let mut known = sum.destinations.iter_mut();
        match known.find(|known| known.name == other.name) {
            Some(known) => add_destination(known, other),
            None => sum.destinations.push(other),
        }
    }
}

fn add_destination(sum: &mut DestinationAnswer, other: DestinationAnswer) {
    sum.pending_samples += other.pending_samples;
    sum.lag_seconds = sum.lag_seconds.max(other.lag_seconds);
    sum.failures = sum.failures.max(other.failures);
    sum.sent_samples += other.sent_samples;
    for (reason, samples) in other.dropped_samples {
        *sum.dropped_samples.entry(reason).or_default() += samples;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(series: u64, lag_seconds: f64) -> Described {
        let level = Level {
            active: series,
            limit: 100,
            demand: series + 1,
        };
        Described {
            answer: TenantAnswer {
                tenant: "acme".to_owned(),
                series: level,
                spans: Flow {
                    total: 10,
                    per_second: 0.5,
                },
                discards: vec![discarded("all", series)],
                remote_write: Some(RemoteWriteAnswer {
                    spool_bytes: 7,
                    unwritten_samples: 0,
                    destinations: vec![DestinationAnswer {
                        name: "one".to_owned(),
                        pending_samples: 3,
                        lag_seconds,
                        dropped_samples: [("refused".to_owned(), 2)].into(),
                        ..DestinationAnswer::default()
                    }],
                }),
                ..TenantAnswer::default()
            },
            has_series: true,
        }
    }

    fn discarded(stage: &str, spans: u64) -> Discarded {
        Discarded {
            stage: stage.to_owned(),
            reason: "malformed".to_owned(),
            spans,
        }
    }

    #[test]
    fn series_and_limits_of_generators_add_up_and_distributors_bring_discards() {
        let distributor = Described {
            answer: TenantAnswer {
                tenant: "acme".to_owned(),
                series: Level {
                    limit: 100,
                    ..Level::default()
                },
                discards: vec![discarded("distributor", 1), discarded("all", 0)],
                ..TenantAnswer::default()
            },
            has_series: false,
        };
        let parts = [
            ("d1", distributor.clone()),
            ("g2", generator(5, 9.0)),
            ("g1", generator(7, 2.0)),
            ("d2", distributor),
        ];
        let mut sum = Sum::default();
        for (node, part) in parts {
            sum.add(&node.into(), part);
        }
        let answer = sum.finish();
        let want = Level {
            active: 12,
            limit: 200,
            demand: 14,
        };
        assert_eq!(answer.series, want);
        assert_eq!((answer.spans.total, answer.spans.per_second), (20, 1.0));
        let discards = [discarded("distributor", 2), discarded("all", 12)];
        assert_eq!(answer.discards, discards);
        let nodes = answer.nodes.iter().map(|node| (&*node.node, node.series));
        assert_eq!(nodes.collect::<Vec<_>>(), [("g1", 7), ("g2", 5)]);
        let remote_write = answer.remote_write.unwrap();
        let [destination] = &remote_write.destinations[..] else {
            panic!("{remote_write:?}");
        };
        assert_eq!(remote_write.spool_bytes, 14);
        assert_eq!(
            (destination.pending_samples, destination.lag_seconds),
            (6, 9.0)
        );
        assert_eq!(destination.dropped_samples["refused"], 4);
    }

    #[test]
    fn no_limit_on_one_node_is_none_on_all() {
        let mut unlimited = generator(5, 0.0);
        unlimited.answer.series.limit = 0;
        let mut sum = Sum::default();
        sum.add(&"a".into(), generator(5, 0.0));
        sum.add(&"b".into(), unlimited);
        sum.add(&"c".into(), generator(5, 0.0));
        assert_eq!(sum.finish().series.limit, 0);
    }
}
