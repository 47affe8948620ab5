use super::*;

const CALLS: &str = "traces_spanmetrics_calls_total";

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The recorded outcome as spanmill would have it: ids padded, zero samples
/// for all but gauges.
fn ours(recorded: &Outcome) -> Outcome {
    let mut ours = recorded.clone();
    for (labels, _) in ours.exemplars.values_mut() {
        for value in labels.values_mut() {
            *value = format!("{value:0>32}");
        }
    }
    ours.exemplars.retain(|_, (labels, _)| !labels.is_empty());
    ours.no_zero_sample
        .retain(|(name, _)| !name.ends_with("_sum"));
    ours
}

fn loaded(name: &str) -> (Comparison, Outcome) {
    let case = Case::load(name).unwrap();
    (Comparison::of(&case), case.recorded().unwrap())
}

#[test]
fn lines_are_read_with_all_their_escapes() {
    let outcome = Outcome::parse(
        "sample m{a=\"x \\\"y\\\"\\\\n\\n {\\\"\",le=\"+Inf\"} 2.5\n\
         exemplar m{a=\"} {\"} {\"traceID\": \"ab\"} 40.0\n\
         no_zero_sample m{a=\"b\"}\n\
         histogram m{a=\"} {\"} {\"count\": 6.0, \"custom\": [], \"float\": false, \
         \"neg_deltas\": [], \"neg_spans\": [], \"pos_counts\": [], \"pos_deltas\": [2, -1, 1], \
         \"pos_spans\": [[-3, 1], [4, 2]], \"reset_hint\": 0, \"schema\": 3, \"sum\": 1.5, \
         \"zero_count\": 1.0, \"zero_threshold\": 1e-39}\n\
         server spans_received_total{} 160.0\n\
         server spans_discarded_total{processor=\"all\",reason=\"late\"} 2.0\n\
         server registry_active_series{} 5.0\n",
    )
    .unwrap();
    let id = |pairs: &[(&str, &str)]| ("m".to_owned(), labels(pairs));
    let histogram = NativeHistogram {
        count: 6.0,
        sum: 1.5,
        schema: 3,
        zero_threshold: 1e-39,
        zero_count: 1.0,
        spans: vec![(-3, 1), (4, 2)],
        counts: vec![2.0, 1.0, 2.0],
        is_float: false,
        reset_hint: 0,
    };
    assert_eq!(histogram.by_key(), [(-3, 2.0), (2, 1.0), (3, 2.0)].into());
    let wanted = Outcome {
        samples: [(id(&[("a", "x \"y\"\\n\n {\""), ("le", "+Inf")]), 2.5)].into(),
        histograms: [(id(&[("a", "} {")]), histogram)].into(),
        exemplars: [(id(&[("a", "} {")]), (labels(&[("traceID", "ab")]), 40.0))].into(),
        no_zero_sample: [id(&[("a", "b")])].into(),
        spans_received: 160.0,
        discarded: [(("all".to_owned(), "late".to_owned()), 2.0)].into(),
    };
    assert_eq!(outcome, wanted);
    assert!(Outcome::parse("sampel m 1\n").is_err());
}

#[test]
fn every_recorded_case_is_read_and_agrees_with_itself() {
    let names = Case::names().unwrap();
    assert_eq!(names.len(), 53);
    for name in names {
        let (mut comparison, recorded) = loaded(&name);
        // These make ours different from the recording.
        comparison.buckets = None;
        comparison.gained = None;
        comparison.limit = None;
        let found = comparison.differences(&recorded, &ours(&recorded));
        assert_eq!(found, [""; 0], "{name}");
    }
}

#[test]
fn each_kind_of_mistake_is_found() {
    let (comparison, recorded) = loaded("target-info");
    let right = ours(&recorded);
    let some = recorded.samples.keys().nth(1000).unwrap().clone();
    let with_exemplar = recorded.exemplars.keys().nth(50).unwrap().clone();
    let other = (some.0.clone(), labels(&[("service", "other")]));
    let gauge = right.no_zero_sample.first().unwrap().clone();

    type Mistake<'a> = Box<dyn Fn(&mut Outcome) + 'a>;
    let mistakes: Vec<(&str, Mistake<'_>)> = vec![
        (
            "missing",
            Box::new(|o| o.samples.retain(|id, _| *id != some)),
        ),
        (
            "extra",
            Box::new(|o| o.samples.extend([(other.clone(), 1.0)])),
        ),
        (
            "recorded",
            Box::new(|o| *o.samples.get_mut(&some).unwrap() += 1.0),
        ),
        (
            "exemplar",
            Box::new(|o| o.exemplars.get_mut(&with_exemplar).unwrap().1 += 0.001),
        ),
        (
            "exemplar",
            Box::new(|o| {
                o.exemplars.get_mut(&with_exemplar).unwrap().0 = labels(&[("traceID", "0a")]);
            }),
        ),
        (
            "missing",
            Box::new(|o| o.exemplars.retain(|id, _| *id != with_exemplar)),
        ),
        (
            "no_zero_sample",
            Box::new(|o| o.no_zero_sample.extend([some.clone()])),
        ),
        (
            "no_zero_sample",
            Box::new(|o| o.no_zero_sample.retain(|id| *id != gauge)),
        ),
    ];
    for (what, mistake) in mistakes {
        let mut wrong = right.clone();
        mistake(&mut wrong);
        let found = comparison.differences(&recorded, &wrong);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(what), "{what}: {found:?}");
    }
}

#[test]
fn native_histograms_are_compared_bucket_by_bucket() {
    let (comparison, recorded) = loaded("native-real");
    let right = ours(&recorded);
    let some = recorded.histograms.keys().nth(20).unwrap().clone();
    let mistakes: [fn(&mut NativeHistogram); 8] = [
        |histogram| histogram.count += 1.0,
        |histogram| histogram.sum *= 1.0 + 1e-6,
        |histogram| histogram.schema -= 1,
        |histogram| histogram.zero_count += 1.0,
        |histogram| histogram.spans[0].0 += 1,
        |histogram| *histogram.counts.last_mut().unwrap() += 1.0,
        |histogram| histogram.is_float = true,
        |histogram| histogram.reset_hint = 1,
    ];
    for mistake in mistakes {
        let mut wrong = right.clone();
        mistake(wrong.histograms.get_mut(&some).unwrap());
        assert_eq!(comparison.differences(&recorded, &wrong).len(), 1);
    }
    let mut other = right.clone();
    other.exemplars.get_mut(&some).unwrap().1 += 1.0;
    assert_eq!(comparison.differences(&recorded, &other), [""; 0]);
    other.exemplars.remove(&some);
    other.histograms.remove(&some);
    assert_eq!(comparison.differences(&recorded, &other).len(), 2);
}

#[test]
fn exact_weights_of_native_histograms_are_those_of_the_calls() {
    let (comparison, recorded) = loaded("multiplier-native");
    let mut exact = ours(&recorded);
    for ((name, labels), histogram) in &mut exact.histograms {
        if labels.get("span_name").is_some_and(|name| name == "mult") {
            let calls = exact.samples.get_mut(&(CALLS.to_owned(), labels.clone()));
            let calls = calls.unwrap();
            // The string "0.5", which Tempo does not read.
            *calls += 1.0;
            histogram.count = *calls;
            histogram.counts = vec![*calls];
            histogram.sum = *calls * 0.01;
            histogram.is_float = true;
            assert_eq!(name, "traces_spanmetrics_latency");
        }
    }
    assert_eq!(comparison.differences(&recorded, &exact), [""; 0]);
    assert_eq!(comparison.differences(&recorded, &ours(&recorded)).len(), 2);
}

#[test]
fn sums_may_differ_in_their_last_bits_and_counts_may_not() {
    let (comparison, recorded) = loaded("defaults-real");
    let mut near = ours(&recorded);
    for ((name, _), value) in &mut near.samples {
        if name.ends_with("_sum") {
            *value *= 1.0 + 1e-12;
        }
    }
    assert_eq!(comparison.differences(&recorded, &near), [""; 0]);
    let mut wrong = near.clone();
    let count = wrong
        .samples
        .iter_mut()
        .find(|((n, _), _)| n.ends_with("_count"));
    *count.unwrap().1 *= 1.0 + 1e-9;
    assert_eq!(comparison.differences(&recorded, &wrong).len(), 1);
}

#[test]
fn only_the_chosen_metrics_are_compared() {
    let (mut comparison, recorded) = loaded("defaults-real");
    let mut without = ours(&recorded);
    without
        .samples
        .retain(|(name, _), _| !name.starts_with("traces_service_graph_"));
    without
        .exemplars
        .retain(|(name, _), _| !name.starts_with("traces_service_graph_"));
    assert!(!comparison.differences(&recorded, &without).is_empty());
    comparison.only = vec!["traces_spanmetrics_"];
    assert_eq!(comparison.differences(&recorded, &without), [""; 0]);
}

#[test]
fn gained_weight_is_expected_of_its_span_alone() {
    let (comparison, recorded) = loaded("multiplier");
    assert!(
        !comparison
            .differences(&recorded, &ours(&recorded))
            .is_empty()
    );
    let mut gained = ours(&recorded);
    for ((name, labels), value) in &mut gained.samples {
        let is_mult = labels.get("span_name").is_some_and(|n| n == "mult");
        if is_mult && name != "traces_spanmetrics_size_total" {
            *value += match name.as_str() {
                "traces_spanmetrics_latency_sum" => 0.01,
                _ if *value == 0.0 => 0.0,
                _ => 1.0,
            };
        }
    }
    assert_eq!(comparison.differences(&recorded, &gained), [""; 0]);
}

#[test]
fn configured_buckets_are_expected_where_tempo_had_its_own() {
    let (comparison, recorded) = loaded("base-subproc-latency");
    let mut ours = ours(&recorded);
    ours.samples.retain(|(_, labels), _| {
        labels
            .get("le")
            .is_none_or(|le| ["+Inf", "0.016", "0.128", "1.024"].contains(&le.as_str()))
    });
    let rebound: BTreeMap<_, _> = ours
        .samples
        .into_iter()
        .map(|((name, mut labels), value)| {
            if let Some(le) = labels.get_mut("le") {
                match le.as_str() {
                    "0.016" => *le = "0.01".to_owned(),
                    "0.128" => *le = "0.1".to_owned(),
                    "1.024" => *le = "1".to_owned(),
                    _ => {}
                }
            }
            ((name, labels), value)
        })
        .collect();
    ours.samples = rebound;
    assert_eq!(comparison.differences(&recorded, &ours), [""; 0]);
    let bucket = ours
        .samples
        .keys()
        .find(|(_, l)| l.get("le").is_some_and(|le| le == "0.1"));
    let bucket = bucket.unwrap().clone();
    ours.samples.remove(&bucket);
    assert_eq!(comparison.differences(&recorded, &ours).len(), 1);
}

#[test]
fn limits_are_judged_by_totals_and_whole_label_sets() {
    // Tempo cuts label sets in half: its own recording does not pass.
    let (comparison, recorded) = loaded("limit-sm");
    let halves = comparison.differences(&recorded, &recorded);
    assert!(!halves.is_empty());
    assert!(
        halves.iter().all(|line| line.contains("has only")),
        "{halves:?}"
    );

    // All in overflow is right, if nothing is lost.
    let mut overflow = Outcome::default();
    for ((name, labels), value) in &recorded.samples {
        let mut to = self::labels(&[("metric_overflow", "true")]);
        if let Some(le) = labels.get("le") {
            to.insert("le".to_owned(), le.clone());
        }
        *overflow.samples.entry((name.clone(), to)).or_default() += value;
    }
    assert_eq!(comparison.differences(&recorded, &overflow), [""; 0]);
    let count = overflow
        .samples
        .iter_mut()
        .find(|((n, _), _)| n.ends_with("_count"));
    *count.unwrap().1 -= 1.0;
    assert_eq!(comparison.differences(&recorded, &overflow).len(), 1);
}

#[test]
fn counters_are_compared_by_processor_and_reason() {
    let (comparison, recorded) = loaded("sm-only-edge");
    assert_eq!(
        comparison.counter_differences(&recorded, &recorded),
        [""; 0]
    );
    let mut ours = recorded.clone();
    ours.spans_received += 1.0;
    ours.discarded
        .insert(("span-metrics".into(), "invalid_utf8".into()), 2.0);
    ours.discarded.insert(("all".into(), "new".into()), 1.0);
    ours.discarded
        .insert(("host-info".into(), "new".into()), 1.0);
    assert_eq!(comparison.counter_differences(&recorded, &ours).len(), 3);
}

#[test]
fn inputs_are_shifted_and_otherwise_unchanged() {
    use prost::Message as _;
    let shift = 5;
    let before = Input::Real.requests(1_700_000_000_000_000_000).unwrap();
    let after = Input::Real
        .requests(1_700_000_000_000_000_000 + shift)
        .unwrap();
    let mut events = 0;
    let mut spans = Vec::new();
    for (before, after) in before.iter().zip(&after) {
        use proto::otlp::collector::ExportTraceServiceRequest as Export;
        let mut request = Export::decode(before.as_slice()).unwrap();
        for span in request
            .resource_spans
            .iter_mut()
            .flat_map(|resource| &mut resource.scope_spans)
            .flat_map(|scope| &mut scope.spans)
        {
            span.start_time_unix_nano += shift;
            span.end_time_unix_nano += shift;
            spans.push(PushedSpan {
                trace_id: span.trace_id.iter().map(|b| format!("{b:02x}")).collect(),
                name: span.name.clone(),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
            });
            for event in &mut span.events {
                event.time_unix_nano += shift;
                events += 1;
            }
        }
        assert_eq!(Export::decode(after.as_slice()).unwrap(), request);
        assert_eq!(pushed_spans(after).unwrap(), std::mem::take(&mut spans));
    }
    assert!(events > 0);
    let edge = Input::Edge.requests(0).unwrap().len();
    assert_eq!(Input::Mix.requests(0).unwrap().len(), edge + before.len());
    assert!(shift_times(&mut [0x0a, 5, 0], 1).is_err());
}
