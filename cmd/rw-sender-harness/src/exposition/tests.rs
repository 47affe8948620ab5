use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn sample(line: &str, format: Format) -> Sample {
    Sample::parse(line, format).unwrap()
}

#[test]
fn samples_are_read_with_labels_values_and_times() {
    for (line, name, pairs, value) in [
        ("up 1", "up", &[][..], 1.0),
        ("a:b_c{} -2.5e3", "a:b_c", &[], -2_500.0),
        (
            "m{b=\"2\",a=\"1\"} +Inf",
            "m",
            &[("a", "1"), ("b", "2")],
            f64::INFINITY,
        ),
        (
            "m { a = \"1\" , } -Inf",
            "m",
            &[("a", "1")],
            f64::NEG_INFINITY,
        ),
        ("m{a=\"\",b=\"🚀\"} 3", "m", &[("b", "🚀")], 3.0),
        ("m{a=\"\\q} 1\"} 3", "m", &[("a", "\\q} 1")], 3.0),
    ] {
        let sample = sample(line, Format::Prometheus);
        assert_eq!(
            (sample.name.as_str(), sample.value),
            (name, value),
            "{line}"
        );
        assert_eq!(sample.labels, labels(pairs), "{line}");
    }
    let escaped = sample("m{a=\"x\\\\y\\\"z\\n}\"} 1", Format::Prometheus);
    assert_eq!(escaped.labels, labels(&[("a", "x\\y\"z\n}")]));
    let nan = sample("m NaN", Format::Prometheus);
    assert_eq!(nan.value.to_bits(), 0x7ff8_0000_0000_0001);
    let millis = |line, format| sample(line, format).timestamp_ms;
    assert_eq!(
        millis("m 1 1700000000123", Format::Prometheus),
        Some(1_700_000_000_123)
    );
    assert_eq!(
        millis("m 1 1700000000.123", Format::OpenMetrics),
        Some(1_700_000_000_123)
    );
    assert_eq!(millis("m 1", Format::OpenMetrics), None);
}

#[test]
fn exemplars_are_read_with_and_without_times() {
    let exemplar = |line| sample(line, Format::OpenMetrics).exemplar;
    assert_eq!(
        exemplar("b{le=\"1\"} 5 # {trace_id=\"ab\",span_id=\"c\"} 0.5 12.5"),
        Some(Exemplar {
            labels: labels(&[("trace_id", "ab"), ("span_id", "c")]),
            value: 0.5,
            timestamp_ms: Some(12_500),
        })
    );
    assert_eq!(
        exemplar("b_total 5 7 # {} 0.5"),
        Some(Exemplar {
            labels: labels(&[]),
            value: 0.5,
            timestamp_ms: None,
        })
    );
}

#[test]
fn lines_that_are_no_samples_are_refused() {
    for (line, problem) in [
        ("1234notvali}{ 444", "no name"),
        ("{label=\"value\"} 1.0", "no name"),
        ("m", "no value"),
        ("m x", "a value that is no number"),
        ("m{a=\"1\" 1", "no comma after a label"),
        ("m{a=\"1} 1", "a label's value without an end"),
        ("m{a=1} 1", "a label without =\""),
        ("m{1=\"1\"} 1", "no name of a label"),
        ("m{a=\"1\",a=\"1\"} 1", "a label twice"),
        ("m{__name__=\"n\"} 1", "a label __name__"),
        ("m 1 soon", "a timestamp that is no number"),
        ("m 1 2 3", "more than a sample"),
        ("m 1 # {a=\"b\"} 1", "more than a sample"),
    ] {
        assert_eq!(
            Sample::parse(line, Format::Prometheus),
            Err(problem),
            "{line}"
        );
    }
    assert_eq!(
        Sample::parse("m 1 # 1", Format::OpenMetrics),
        Err("an exemplar without labels")
    );
}

#[test]
fn openmetrics_must_have_its_end() {
    let parse = |text| Page::parse(text, Format::OpenMetrics).map(|page| page.samples.len());
    assert_eq!(parse("m 1\n# EOF\n"), Ok(1));
    assert_eq!(parse("m 1\n# EOF"), Ok(1));
    assert_eq!(parse("m 1\n"), Err(PageError::NoEnd));
    assert_eq!(parse("m 1\n# EOF\nm 2\n"), Err(PageError::NoEnd));
    let plain = Page::parse("\nm 1\n# EOF\nm 2\n", Format::Prometheus).unwrap();
    assert_eq!(plain.samples.len(), 2);
}

#[test]
fn number_of_the_bad_line_is_told() {
    let problem = "a value that is no number";
    assert_eq!(
        Page::parse("m 1\n\nm one\n", Format::Prometheus),
        Err(PageError::Line { number: 3, problem })
    );
}

const PAGE: &str = "\
# HELP calls All \\\"calls\\\"\\\\.
# TYPE calls counter
# UNIT calls spans
calls_total{a=\"1\"} 5
calls_created{a=\"1\"} 1700000000.5
# TYPE old_total counter
old_total 1
old_created 1700000001
# TYPE latency histogram
latency_bucket{a=\"1\",le=\"+Inf\"} 1
latency_sum{a=\"1\"} 1
latency_count{a=\"1\"} 1
latency_created{a=\"1\"} 1700000002
# TYPE rpc summary
rpc{quantile=\"0.5\"} 1
rpc_count 1
rpc_created 1700000003
# TYPE build info
build_info 1
# TYPE door stateset
door{door=\"open\"} 1
# TYPE queue gaugehistogram
queue_gcount 1
# TYPE odd unknown
odd 1
temperature_created 5
# EOF
";

#[test]
fn series_find_their_family_and_their_creation() {
    let page = Page::parse(PAGE, Format::OpenMetrics).unwrap();
    let found = page.samples.iter().map(|sample| {
        let kind = page.family(sample).and_then(|family| family.kind);
        (sample.name.as_str(), kind, page.created_ms(sample))
    });
    let of = |name, kind, created: Option<i64>| (name, Some(kind), created);
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            of("calls_total", MetricType::Counter, Some(1_700_000_000_500)),
            of("old_total", MetricType::Counter, Some(1_700_000_001_000)),
            of(
                "latency_bucket",
                MetricType::Histogram,
                Some(1_700_000_002_000)
            ),
            of(
                "latency_sum",
                MetricType::Histogram,
                Some(1_700_000_002_000)
            ),
            of(
                "latency_count",
                MetricType::Histogram,
                Some(1_700_000_002_000)
            ),
            of("rpc", MetricType::Summary, Some(1_700_000_003_000)),
            of("rpc_count", MetricType::Summary, Some(1_700_000_003_000)),
            of("build_info", MetricType::Info, None),
            of("door", MetricType::StateSet, None),
            of("queue_gcount", MetricType::GaugeHistogram, None),
            ("odd", None, None),
            ("temperature_created", None, None),
        ]
    );
    let calls = page.family(&page.samples[0]).unwrap();
    assert_eq!(
        (calls.help.as_str(), calls.unit.as_str()),
        ("All \"calls\"\\.", "spans")
    );
}

/// In text 0.0.4 they are gauges of their own.
#[test]
fn prometheus_text_has_no_creation_times() {
    let page = Page::parse(PAGE, Format::Prometheus).unwrap();
    let created = page.samples.iter().filter(|s| s.name.ends_with("_created"));
    assert_eq!(created.count(), 5);
    assert_eq!(page.created_ms(&page.samples[0]), None);
}

#[test]
fn format_is_that_of_the_content_type() {
    for (content_type, want) in [
        (
            "application/openmetrics-text; version=1.0.0",
            Format::OpenMetrics,
        ),
        ("Application/OpenMetrics-Text", Format::OpenMetrics),
        ("text/plain; version=0.0.4", Format::Prometheus),
        ("", Format::Prometheus),
    ] {
        assert_eq!(Format::of(content_type), want, "{content_type}");
    }
}
