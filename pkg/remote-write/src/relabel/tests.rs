use std::collections::BTreeMap;

use super::*;

fn labels(text: &str) -> EditedLabels {
    let mut labels = EditedLabels::default();
    labels.set_all(
        text.split_whitespace()
            .filter_map(|label| label.split_once('=')),
    );
    labels
}

/// Applies rules in YAML's flow form, here JSON, and shows what is left.
fn relabel(before: &str, rules: serde_json::Value) -> Option<String> {
    let configs: Vec<RelabelConfig> = serde_json::from_value(rules).unwrap();
    let relabeller = Relabeller::new(&configs).unwrap();
    let mut labels = labels(before);
    relabeller.apply(&mut labels).then(|| {
        let shown: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.join(" ")
    })
}

macro_rules! cases {
    ($($name:ident: $before:expr, $rules:tt => $after:expr;)*) => {
        vec![$((stringify!($name), $before, serde_json::json!($rules), $after)),*]
    };
}

/// What each action does, by the documentation of Prometheus.
#[test]
fn actions_do_what_prometheus_documents() {
    let cases: Vec<(&str, &str, serde_json::Value, Option<&str>)> = cases! {
        replace_whole_value: "a=foo b=bar", [{"source_labels": ["a"], "target_label": "d"}]
            => Some("a=foo b=bar d=foo");
        replace_joins_sources: "a=foo b=bar", [{"source_labels": ["a", "b", "none"], "separator": "-", "target_label": "d"}]
            => Some("a=foo b=bar d=foo-bar-");
        replace_with_groups: "a=foo-7", [{"source_labels": ["a"], "regex": "(\\w+)-(?P<n>\\d)", "target_label": "x_$n", "replacement": "${1}!$$"}]
            => Some("a=foo-7 x_7=foo!$");
        replace_is_anchored: "a=xfoo", [{"source_labels": ["a"], "regex": "foo", "target_label": "b", "replacement": "y"}]
            => Some("a=xfoo");
        replace_with_nothing_removes: "a=foo b=bar", [{"source_labels": ["a"], "regex": "foo", "target_label": "b", "replacement": ""}]
            => Some("a=foo");
        replace_without_source: "a=foo", [{"target_label": "b", "replacement": "c"}]
            => Some("a=foo b=c");
        replace_bad_target_is_ignored: "a=0x", [{"source_labels": ["a"], "target_label": "${1}"}]
            => Some("a=0x");
        keep_matching: "a=foo", [{"source_labels": ["a"], "regex": "f.*", "action": "keep"}] => Some("a=foo");
        keep_other: "a=foo", [{"source_labels": ["a"], "regex": "f", "action": "keep"}] => None;
        drop_matching: "a=foo", [{"source_labels": ["a"], "regex": "f.*", "action": "drop"}] => None;
        drop_missing_is_empty: "a=foo", [{"source_labels": ["b"], "regex": "", "action": "drop"}] => None;
        drop_other: "a=foo", [{"source_labels": ["a"], "regex": "o", "action": "drop"}] => Some("a=foo");
        keepequal: "a=x b=x", [{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}] => Some("a=x b=x");
        keepequal_other: "a=x b=y", [{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}] => None;
        dropequal: "a=x b=x", [{"source_labels": ["a"], "target_label": "b", "action": "dropequal"}] => None;
        dropequal_other: "a=x b=y", [{"source_labels": ["a"], "target_label": "b", "action": "dropequal"}] => Some("a=x b=y");
        lowercase: "a=FoÖ", [{"source_labels": ["a"], "target_label": "b", "action": "lowercase"}] => Some("a=FoÖ b=foö");
        uppercase: "a=foO", [{"source_labels": ["a"], "target_label": "a", "action": "uppercase"}] => Some("a=FOO");
        labelmap: "meta_x=1 meta_y=2 z=3", [{"regex": "meta_(.+)", "action": "labelmap"}]
            => Some("meta_x=1 meta_y=2 x=1 y=2 z=3");
        labeldrop: "__name__=m a=1 ab=2", [{"regex": "a", "action": "labeldrop"}] => Some("__name__=m ab=2");
        labelkeep: "__name__=m a=1 ab=2", [{"regex": "__name__|ab", "action": "labelkeep"}] => Some("__name__=m ab=2");
        action_in_any_case: "a=1", [{"source_labels": ["a"], "regex": "1", "action": "Drop"}] => None;
        rules_apply_in_order: "a=1",
            [{"source_labels": ["a"], "target_label": "b"}, {"source_labels": ["b"], "regex": "1", "action": "keep"}, {"regex": "a", "action": "labeldrop"}]
            => Some("b=1");
        nothing_left: "a=1", [{"regex": "a", "action": "labeldrop"}] => None;
    };
    for (name, before, rules, after) in cases {
        assert_eq!(relabel(before, rules).as_deref(), after, "{name}");
    }
}

/// Vector of Prometheus' own tests: `hashmod` of "baz" by 1000 is 976.
/// The hash is checked against RFC 1321's digest of "abc", whose last half is
/// d6963f7d28e17f72.
#[test]
fn hashmod_is_prometheus_hash() {
    assert_eq!(hash("abc"), 0xd696_3f7d_28e1_7f72);
    assert_eq!(
        relabel(
            "c=baz",
            serde_json::json!([{"source_labels": ["c"], "target_label": "d", "modulus": 1000, "action": "hashmod"}])
        )
        .as_deref(),
        Some("c=baz d=976")
    );
}

#[test]
fn setting_labels_keeps_them_sorted_and_unique() {
    let mut edited = labels("b=1 a=2 b=3");
    edited.set("c".into(), String::new());
    edited.set("aa".into(), "4".into());
    let got: BTreeMap<_, _> = edited.iter().collect();
    let in_order: Vec<_> = edited.iter().map(|(name, _)| name).collect();
    assert_eq!(in_order, ["a", "aa", "b"]);
    assert_eq!(got, BTreeMap::from([("a", "2"), ("aa", "4"), ("b", "3")]));
}

#[test]
fn a_rule_that_is_unusable_is_named_by_its_place() {
    let configs: Vec<RelabelConfig> =
        serde_json::from_value(serde_json::json!([{"target_label": "ok"}, {"regex": "("}]))
            .unwrap();
    let (place, problem) = Relabeller::new(&configs).unwrap_err();
    assert_eq!(place, 1);
    assert!(problem.contains("target_label"), "{problem}");
}
