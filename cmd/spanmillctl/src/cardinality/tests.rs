use app::tenants_api::{DropFamily, LabelAnswer, TrialAnswer, ValueAnswer};

use super::*;

fn metric(name: &str, label_sets: u64, per: u64) -> MetricAnswer {
    MetricAnswer {
        name: name.to_owned(),
        series: label_sets * per,
        series_per_label_set: per,
    }
}

fn family() -> FamilyAnswer {
    let value = |value: &str, series| ValueAnswer {
        value: value.to_owned(),
        series,
    };
    FamilyAnswer {
        metrics: vec![metric("calls_total", 4, 1), metric("latency", 4, 17)],
        label_sets: 4,
        series: 72,
        refused_label_sets: 9,
        labels: vec![LabelAnswer {
            name: "route".to_owned(),
            values: 4,
            series: 72,
            top: vec![
                value("/a\n", 18),
                value("/b", 18),
                value("/c", 18),
                value("/d", 18),
            ],
            top_error: 0,
        }],
    }
}

#[test]
fn tables_have_metrics_labels_and_both_what_ifs() {
    let answer = CardinalityAnswer {
        tenant: "acme".to_owned(),
        series: 72,
        label_sets: 4,
        standard_error: 0.0325,
        metrics: vec![metric("latency", 4, 17), metric("calls_total", 4, 1)],
        families: vec![family()],
        drop: Some(DropAnswer {
            labels: vec!["nothing".to_owned(), "route".to_owned()],
            unknown_labels: vec!["nothing".to_owned()],
            series: 72,
            series_without: 18,
            families: vec![DropFamily::default()],
        }),
        enable: Some(EnableAnswer {
            processor: "host-info".to_owned(),
            series: 3,
            label_sets: 3,
            known: false,
            trial: Some(TrialAnswer {
                seconds: 30.0,
                spans: 900,
                series_at_half_time: 2,
                waiting_spans: 0,
            }),
            families: vec![FamilyAnswer {
                metrics: vec![metric("traces_host_info", 3, 1)],
                ..FamilyAnswer::default()
            }],
        }),
        sketches: None,
        nodes: 1,
        missing: Vec::new(),
    };
    let want = "\
acme: 72 series of 4 label sets

METRIC       SERIES  PER LABEL SET
latency          68             17
calls_total       4              1

calls_total, latency: 4 label sets, about 9 more refused
LABEL  VALUES  SERIES  MOST SERIES HAVE
route       4      72  /a\\n (18), /b (18), /c (18)

Without nothing, route: about 18 series instead of 72 (standard error 3.25 %).
No series has nothing.

With host-info: 3 series more, of 3 label sets, from 900 spans in 30 s; 2 series at half time.
There will be more as long as new label sets come.

METRIC            SERIES  PER LABEL SET
traces_host_info       3              1
";
    assert_eq!(text(&answer), want);
}

#[test]
fn values_that_are_not_exact_are_shown_with_their_bounds() {
    let mut family = family();
    family.labels[0].top_error = 34;
    let mut text = String::new();
    add_labels(&mut text, &[family]);
    assert!(text.contains("/b (18 to 52), /c (18 to 52)\n"), "{text}");
}

#[test]
fn what_changes_nothing_and_what_is_known_is_said_plainly() {
    let drop = DropAnswer {
        labels: vec!["nothing".to_owned()],
        unknown_labels: vec!["nothing".to_owned()],
        series: 72,
        series_without: 72,
        families: Vec::new(),
    };
    let want = "Without nothing: 72 series as now.\nNo series has nothing.\n";
    assert_eq!(without(&drop, 0.0325), want);
    let known = EnableAnswer {
        processor: "span-metrics-size".to_owned(),
        series: 4,
        label_sets: 4,
        known: true,
        trial: None,
        families: vec![FamilyAnswer {
            metrics: vec![metric("size_total", 4, 1)],
            ..FamilyAnswer::default()
        }],
    };
    let text = added(&known);
    let first = "With span-metrics-size: 4 series more, of 4 label sets that there are.\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("size_total       4              1"), "{text}");
}
