//! Limits cut what is too much, keep the totals, and know what they cut.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series};
use spanmill_registry::{
    Collection, Consumer, KeyHasher, LABEL_OVERFLOW, Limits, MAX_METRICS, Metric, MetricKind,
    Registry, Relabelled, Schema, TableId, Update,
};

/// The points of a collection by label set, as text.
#[derive(Default)]
struct Written {
    current: String,
    series: BTreeMap<String, Vec<Point>>,
}

impl SampleSink for Written {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        self.current = labels.join(",");
    }

    fn series(&mut self, _: Series<'_>, points: &[Point], _: Option<Exemplar>) {
        let known = self.series.insert(self.current.clone(), points.to_vec());
        assert!(known.is_none(), "{} twice", self.current);
    }

    fn histogram(&mut self, name: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {
        unreachable!("{name} is not native");
    }
}

impl Written {
    fn total(&self) -> f64 {
        let points = self.series.values().filter_map(|points| points.last());
        points.filter(|p| !p.is_stale()).map(|p| p.value).sum()
    }

    fn ended(&self) -> Vec<&str> {
        let ended = |points: &Vec<Point>| points.iter().any(|point| point.is_stale());
        let series = self.series.iter().filter(|(_, points)| ended(points));
        series.map(|(labels, _)| labels.as_str()).collect()
    }
}

fn registry(limits: Limits) -> (Registry, TableId) {
    let registry = Registry::new(limits, 1);
    let schema = Schema::new([Metric {
        name: "calls_total".to_owned(),
        help: "help",
        unit: "",
        kind: MetricKind::Counter,
        sparse: false,
    }]);
    let table = registry.add_table(schema.limiting_labels());
    (registry, table)
}

type Labels<'a> = &'a [(&'a str, &'a str)];

fn push(registry: &Registry, table: &TableId, now_ms: i64, spans: &[Labels<'_>]) {
    let update = |labels: &Labels<'_>| {
        let mut values = [f64::NAN; MAX_METRICS];
        values[0] = 1.0;
        Update {
            key: KeyHasher::new().key(format!("{labels:?}").as_bytes()),
            weight: 1.0,
            spans: 1,
            is_sampled: false,
            order: 0,
            values,
            trace_id: [0; 16],
            timestamp_ms: now_ms,
        }
    };
    let updates: Vec<Update> = spans.iter().map(update).collect();
    registry.apply(table, &updates, now_ms, |index, labels| {
        for (name, value) in spans[index] {
            labels.push(name, value);
        }
        Ok(())
    });
}

fn collect(registry: &Registry, now_ms: i64) -> Written {
    let mut written = Written::default();
    registry.collect(
        Collection {
            now_ms,
            zero_ms: now_ms - 1,
            idle_since_ms: now_ms - 60_000,
            consumers: &[Consumer::RemoteWrite],
        },
        &mut written,
    );
    written
}

fn values(written: &Written, name: &str) -> BTreeSet<String> {
    let labels = written.series.keys().flat_map(|labels| labels.split(','));
    let of_name = labels.filter_map(|label| label.split_once('='));
    let of_name = of_name.filter(|(label, _)| *label == name);
    of_name.map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn label_keeps_the_values_it_has_and_replaces_others() {
    let (registry, table) = registry(Limits {
        max_cardinality_per_label: 2,
        ..Limits::default()
    });
    for round in 0..3 {
        for value in 0..100 {
            let value = value.to_string();
            push(&registry, &table, round, &[&[("kind", "a"), ("v", &value)]]);
        }
    }
    let written = collect(&registry, 10_000);
    let kept = ["0", "1", LABEL_OVERFLOW].map(str::to_owned);
    assert_eq!(values(&written, "v"), kept.into());
    assert_eq!(values(&written, "kind"), ["a".to_owned()].into());
    assert_eq!(written.total(), 300.0);
    let stats = registry.label_stats();
    let v = stats.iter().find(|stats| stats.name == "v").unwrap();
    // Four standard errors: which hashes there are differs from run to run.
    assert!((90..=110).contains(&v.demand), "{v:?}");
    assert!(v.limited >= 98, "{v:?}");
    assert_eq!(stats.iter().find(|s| s.name == "kind").unwrap().demand, 1);
}

#[test]
fn value_that_a_raised_limit_lets_in_is_in_the_demand_once() {
    let limits = |max_cardinality_per_label| Limits {
        max_cardinality_per_label,
        ..Limits::default()
    };
    let (registry, table) = registry(limits(1));
    push(&registry, &table, 0, &[&[("v", "a")], &[("v", "b")]]);
    registry.set_limits(limits(2));
    collect(&registry, 1);
    push(&registry, &table, 2, &[&[("v", "b")]]);
    let demand: Vec<u64> = registry.label_stats().iter().map(|s| s.demand).collect();
    assert_eq!(demand, [2]);
}

#[test]
fn value_is_free_again_when_its_last_series_ends() {
    let (registry, table) = registry(Limits {
        max_cardinality_per_label: 1,
        ..Limits::default()
    });
    push(
        &registry,
        &table,
        0,
        &[&[("v", "first")], &[("v", "second")]],
    );
    assert_eq!(values(&collect(&registry, 1), "v").len(), 2);
    for now_ms in [59_000, 100_000] {
        // What replaces the second goes on; the first goes idle.
        push(&registry, &table, now_ms, &[&[("v", "second")]]);
        collect(&registry, now_ms + 1);
    }
    collect(&registry, 100_002);
    push(&registry, &table, 110_000, &[&[("v", "second")]]);
    push(&registry, &table, 112_000, &[&[("v", "second")]]);
    let written = collect(&registry, 112_001);
    assert!(
        written.series.contains_key("v=second"),
        "{:?}",
        written.series.keys()
    );
}

#[test]
fn limit_of_values_acts_at_once_on_what_is_there() {
    let (registry, table) = registry(Limits::default());
    push(&registry, &table, 0, &[&[("v", "a")], &[("v", "b")]]);
    registry.set_limits(Limits {
        max_cardinality_per_label: 2,
        ..Limits::default()
    });
    push(&registry, &table, 1, &[&[("v", "a")], &[("v", "c")]]);
    let kept = ["a", "b", LABEL_OVERFLOW].map(str::to_owned);
    assert_eq!(values(&collect(&registry, 2), "v"), kept.into());
    registry.set_limits(Limits::default());
    push(&registry, &table, 3, &[&[("v", "c")]]);
    // The lane forgets where c led when it has merged.
    collect(&registry, 4);
    push(&registry, &table, 5, &[&[("v", "c")]]);
    assert!(values(&collect(&registry, 6), "v").contains("c"));
    assert!(registry.label_stats().is_empty());
}

#[test]
fn demand_is_known_while_a_limit_cuts() {
    for wanted in [100_u64, 5_000, 40_000] {
        let (registry, table) = registry(Limits {
            max_active_entities: 50,
            ..Limits::default()
        });
        for _ in 0..2 {
            for value in 0..wanted {
                push(&registry, &table, 0, &[&[("v", &value.to_string())]]);
            }
        }
        let stats = registry.stats();
        assert_eq!(stats.active.entities, 50);
        let error = stats.demand.entities as f64 / wanted as f64 - 1.0;
        // Three times the standard error of 3.25 %.
        assert!(error.abs() < 0.1, "{} of {wanted}", stats.demand.entities);
        assert_eq!(stats.demand.series, stats.demand.entities);
        assert_eq!(collect(&registry, 1).total(), 2.0 * wanted as f64);
    }
}

#[test]
fn refused_label_sets_count_no_longer_when_they_stay_away() {
    let (registry, table) = registry(Limits {
        max_active_series: 1,
        ..Limits::default()
    });
    push(&registry, &table, 0, &[&[("v", "a")], &[("v", "b")]]);
    assert_eq!(registry.stats().demand.series, 2);
    for minute in 1..4 {
        push(&registry, &table, minute * 60_000, &[&[("v", "a")]]);
        collect(&registry, minute * 60_000);
    }
    assert_eq!(registry.stats().demand.series, 1);
}

/// D2: what cannot come again ends, the rest goes on.
#[test]
fn label_sets_with_a_label_that_is_gone_end() {
    let (registry, table) = registry(Limits::default());
    let spans: [Labels<'_>; 2] = [&[("v", "a"), ("gone", "x")], &[("v", "b")]];
    push(&registry, &table, 0, &spans);
    collect(&registry, 1);
    registry.relabel(&table, Relabelled::default(), 2, |labels| {
        labels.get("gone").is_none()
    });
    push(&registry, &table, 3, &[&[("v", "b")]]);
    let written = collect(&registry, 4);
    assert_eq!(written.ended(), ["gone=x,v=a"]);
    assert_eq!(written.series["v=b"].last().unwrap().value, 2.0);
}

/// D2: a label that comes in addition replaces label sets without it, unless
/// there are spans that do not have it.
#[test]
fn label_sets_end_when_an_additional_label_takes_their_place() {
    let (registry, table) = registry(Limits::default());
    push(
        &registry,
        &table,
        0,
        &[&[("v", "a")], &[("v", "b")], &[("v", "c")]],
    );
    collect(&registry, 1);
    let change = Relabelled {
        added: vec!["new".to_owned()],
    };
    registry.relabel(&table, change, 2, |_| true);
    push(&registry, &table, 3, &[&[("v", "b")]]);
    collect(&registry, 4); // So that the lane has merged b.
    let spans: [Labels<'_>; 2] = [&[("v", "a"), ("new", "x")], &[("v", "b"), ("new", "x")]];
    push(&registry, &table, 5, &spans);
    let written = collect(&registry, 6);
    assert_eq!(written.ended(), ["v=a"]);
    assert_eq!(written.series.len(), 5);
}
