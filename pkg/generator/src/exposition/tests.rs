use registry::{KeyHasher, Limits, MAX_METRICS, Metric, NativeBuckets, Registry, Schema, Update};

use super::*;

const NOW_MS: i64 = 1_700_000_001_000;

fn text(format: Format, external: &[(&str, &str)]) -> String {
    let bounds = vec![0.5];
    let latency = MetricKind::ClassicHistogram { bounds };
    written(latency, external, |labels| Text::new(format, labels)).text
}

/// What is written of a counter, a histogram of this kind, and a gauge.
pub(super) fn written<E: Exposition>(
    latency: MetricKind,
    external: &[(&str, &str)],
    exposition: impl Fn(ScrapeLabels) -> E,
) -> E {
    let external = external
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let exposition = exposition(ScrapeLabels {
        external_labels: external,
        trace_id_label: "traceID".to_owned(),
        escaping: Escaping::Underscores,
    });
    let label = ("name", "a\\b\"c\nd} 1\nfake 9");
    written_as(
        ["calls_total", "latency", "info"],
        latency,
        label,
        exposition,
    )
}

/// The same with names that not everyone takes.
pub(super) fn dotted<E: Exposition>(
    escaping: Escaping,
    exposition: impl Fn(ScrapeLabels) -> E,
) -> E {
    let exposition = exposition(ScrapeLabels {
        escaping,
        trace_id_label: "traceID".to_owned(),
        ..ScrapeLabels::default()
    });
    let bounds = vec![0.5];
    let latency = MetricKind::ClassicHistogram { bounds };
    let names = ["host.calls_total", "a.latency", "host.total"];
    written_as(names, latency, ("k8s.node", "n"), exposition)
}

fn written_as<E: Exposition>(
    [calls, latency, info]: [&str; 3],
    kind: MetricKind,
    (label, value): (&str, &str),
    mut exposition: E,
) -> E {
    let registry = Registry::new(Limits::default(), 1);
    let metric = |name: &str, kind| Metric {
        name: name.to_owned(),
        help: "Some help",
        unit: "",
        kind,
        sparse: false,
    };
    let table = registry.add_table(Schema::new([
        metric(calls, MetricKind::Counter),
        metric(latency, kind),
        metric(info, MetricKind::Gauge),
    ]));
    let mut values = [f64::NAN; MAX_METRICS];
    values[..3].copy_from_slice(&[1.0, 0.25, 1.0]);
    let update = Update {
        key: KeyHasher::new().key(b"a"),
        weight: 1.0,
        spans: 1,
        is_sampled: false,
        order: 0,
        values,
        trace_id: [0xab; 16],
        timestamp_ms: 1_700_000_000_123,
    };
    registry.apply(&table, &[update], 1_600_000_000_000, |_, labels| {
        labels.push(label, value);
        Ok(())
    });
    for family in registry.families(NOW_MS) {
        exposition.family(&family);
        registry.walk(&family, NOW_MS, &mut exposition, |_| true);
    }
    exposition.end();
    exposition
}

pub(super) fn native_buckets() -> NativeBuckets {
    NativeBuckets::new(1.1, 100, std::time::Duration::ZERO)
}

#[test]
fn text_has_one_bucket_of_a_native_histogram() {
    let buckets = native_buckets();
    let native = MetricKind::NativeHistogram { buckets };
    let text = |format| written(native.clone(), &[], |labels| Text::new(format, labels)).text;
    let labels = r#"name="a\\b\"c\nd} 1\nfake 9""#;
    let trace_id = "ab".repeat(16);
    let open = text(Format::OpenMetrics);
    let want = format!(
        "# HELP latency Some help\n# TYPE latency histogram\n\
         latency_bucket{{{labels},le=\"+Inf\"}} 1 # {{traceID=\"{trace_id}\"}} 0.25 1700000000.123\n\
         latency_sum{{{labels}}} 0.25\n\
         latency_count{{{labels}}} 1\n\
         latency_created{{{labels}}} 1600000000.000\n"
    );
    assert!(open.contains(&want), "{open}");
    let plain = text(Format::Prometheus);
    assert_eq!(plain.matches("latency_").count(), 3, "{plain}");
}

#[test]
fn text_of_both_histograms_is_that_of_the_classic_one() {
    let (bounds, buckets) = (vec![0.5], native_buckets());
    let both = MetricKind::ClassicAndNative { bounds, buckets };
    let text = written(both, &[], |labels| Text::new(Format::OpenMetrics, labels)).text;
    assert_eq!(text, self::text(Format::OpenMetrics, &[]));
}

#[test]
fn openmetrics_has_exemplars_and_creation_times() {
    let labels = r#"name="a\\b\"c\nd} 1\nfake 9""#;
    let trace_id = "ab".repeat(16);
    assert_eq!(
        text(Format::OpenMetrics, &[]),
        format!(
            "# HELP calls Some help\n# TYPE calls counter\n\
             calls_total{{{labels}}} 1\n\
             calls_created{{{labels}}} 1600000000.000\n\
             # HELP latency Some help\n# TYPE latency histogram\n\
             latency_bucket{{{labels},le=\"0.5\"}} 1 # {{traceID=\"{trace_id}\"}} 0.25 1700000000.123\n\
             latency_bucket{{{labels},le=\"+Inf\"}} 1\n\
             latency_sum{{{labels}}} 0.25\n\
             latency_count{{{labels}}} 1\n\
             latency_created{{{labels}}} 1600000000.000\n\
             # HELP info Some help\n# TYPE info gauge\n\
             info{{{labels}}} 1\n\
             # EOF\n"
        )
    );
}

#[test]
fn prometheus_text_has_neither() {
    let text = text(Format::Prometheus, &[("zone", "z"), ("name", "loses")]);
    assert!(text.starts_with("# HELP calls_total Some help\n# TYPE calls_total counter\n"));
    assert!(text.contains("fake 9\",zone=\"z\"} 1\n"));
    for absent in ["_created", "# {", "EOF", "loses"] {
        assert!(!text.contains(absent), "{absent}\n{text}");
    }
}

#[test]
fn names_that_need_it_are_quoted_or_escaped_with_their_suffix_apart() {
    let text = |format, escaping| dotted(escaping, |labels| Text::new(format, labels)).text;
    let quoted = text(Format::OpenMetrics, Escaping::AllowUtf8);
    let exemplar = format!("# {{traceID=\"{}\"}} 0.25 1700000000.123", "ab".repeat(16));
    assert_eq!(
        quoted,
        format!(
            "# HELP \"host.calls\" Some help\n# TYPE \"host.calls\" counter\n\
             {{\"host.calls_total\",\"k8s.node\"=\"n\"}} 1\n\
             {{\"host.calls_created\",\"k8s.node\"=\"n\"}} 1600000000.000\n\
             # HELP \"a.latency\" Some help\n# TYPE \"a.latency\" histogram\n\
             {{\"a.latency_bucket\",\"k8s.node\"=\"n\",le=\"0.5\"}} 1 {exemplar}\n\
             {{\"a.latency_bucket\",\"k8s.node\"=\"n\",le=\"+Inf\"}} 1\n\
             {{\"a.latency_sum\",\"k8s.node\"=\"n\"}} 0.25\n\
             {{\"a.latency_count\",\"k8s.node\"=\"n\"}} 1\n\
             {{\"a.latency_created\",\"k8s.node\"=\"n\"}} 1600000000.000\n\
             # HELP \"host.total\" Some help\n# TYPE \"host.total\" gauge\n\
             {{\"host.total\",\"k8s.node\"=\"n\"}} 1\n\
             # EOF\n"
        )
    );
    for (escaping, counter, bucket) in [
        (
            Escaping::Underscores,
            "host_calls",
            "a_latency_bucket{k8s_node",
        ),
        (
            Escaping::Dots,
            "host_dot_calls",
            "a_dot_latency_bucket{k8s_dot_node",
        ),
        (
            Escaping::Values,
            "U__host_2E_calls",
            "U__a_2E_latency_bucket{U__k8s_2E_node",
        ),
    ] {
        let text = text(Format::Prometheus, escaping);
        let counter = format!("# TYPE {counter}_total counter\n{counter}_total{{");
        assert!(text.contains(&counter), "{text}");
        assert!(
            text.contains(&format!("{bucket}=\"n\",le=\"0.5\"}} 1\n")),
            "{text}"
        );
    }
}

#[test]
fn of_labels_that_are_escaped_alike_one_is_left() {
    let mut own = LabelSetBuf::new();
    own.push("a.b", "1");
    own.push("a_b", "2");
    let mut merged = LabelSetBuf::new();
    let scrape_labels = ScrapeLabels::default();
    let labels = scrape_labels.merge(own.finish(), &mut merged);
    assert_eq!(labels.iter().collect::<Vec<_>>(), [("a_b", "2")]);
}
