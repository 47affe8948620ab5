use std::time::Duration;

use model::{HistogramSample, LabelSet};

use super::*;
use crate::exposition::{Format, Page};
use crate::scrape::ScrapeError;

/// What was handed on, a line for each call.
#[derive(Debug, Default)]
struct Written(Vec<String>);

impl SampleSink for Written {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
        self.0.push(labels.collect::<Vec<_>>().join(","));
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.add(&format!("started {timestamp_ms}"));
    }

    fn metric(&mut self, metadata: Metadata) {
        let Metadata { kind, help, unit } = metadata;
        self.add(&format!("{kind:?} {help:?} {unit:?}"));
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        self.add(series.name);
        for point in points {
            let Point {
                timestamp_ms,
                value,
            } = *point;
            let value = if point.is_stale() {
                "stale".to_owned()
            } else {
                value.to_string()
            };
            self.add(&format!("{value}@{timestamp_ms}"));
        }
        if let Some(exemplar) = exemplar {
            let trace_id = u128::from_be_bytes(exemplar.trace_id);
            let (value, timestamp_ms) = (exemplar.value, exemplar.timestamp_ms);
            self.add(&format!("exemplar {trace_id:x} {value}@{timestamp_ms}"));
        }
    }

    fn histogram(&mut self, _: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {
        self.add("histogram");
    }
}

impl Written {
    fn add(&mut self, text: &str) {
        let line = self.0.last_mut().unwrap();
        line.push(' ');
        line.push_str(text);
    }
}

fn scrape(at_ms: i64, page: Result<&str, ScrapeError>) -> Scrape {
    Scrape {
        at_ms,
        took: Duration::from_millis(250),
        page: page.map(|text| Page::parse(text, Format::OpenMetrics).unwrap()),
    }
}

/// What the scrapes bring, without what is said of the scrapes themselves.
fn fed(scrapes: &[Scrape]) -> Vec<Vec<String>> {
    let mut target = Target::new("j", "i:1");
    let fed = scrapes.iter().map(|scrape| {
        let mut written = Written::default();
        target.feed(scrape, &mut written);
        written.0.retain(|line| !line.contains("scrape_"));
        written.0
    });
    fed.collect()
}

const TARGET: &str = "instance=i:1,job=j";

fn up(value: u8, at_ms: i64) -> String {
    format!("{TARGET} Gauge \"Whether the last scrape succeeded.\" \"\" up {value}@{at_ms}")
}

#[test]
fn series_have_the_targets_labels_and_their_own_are_kept_apart() {
    let page = "a{job=\"own\",exported_job=\"x\",b=\"1\"} 5\n# EOF\n";
    assert_eq!(
        fed(&[scrape(1_000, Ok(page))]),
        [[
            "b=1,exported_exported_job=own,exported_job=x,instance=i:1,job=j a 5@1000".to_owned(),
            up(1, 1_000),
        ]]
    );
}

#[test]
fn counters_have_what_the_page_says_of_them() {
    let page = "\
# HELP c Calls.
# TYPE c counter
# UNIT c spans
c_total 5 0.5 # {trace_id=\"000000000000000000000000000000ab\"} 2
c_created 0.25
# TYPE g gauge
g 1 # {trace_id=\"ab\"} 1
h 1 # {trace_id=\"000000000000000000000000000000ab\",span_id=\"c\"} 1
# HELP u Of no type
u 1
# EOF
";
    let line = |text: &str| format!("{TARGET} {text}");
    assert_eq!(
        fed(&[scrape(1_000, Ok(page))]),
        [[
            line("started 250 Counter \"Calls.\" \"spans\" c_total 5@500 exemplar ab 2@500"),
            line("Gauge \"\" \"\" g 1@1000"),
            line("h 1@1000"),
            line("Unknown \"Of no type\" \"\" u 1@1000"),
            up(1, 1_000),
        ]]
    );
}

#[test]
fn series_that_is_gone_ends_once_and_all_end_with_a_failed_scrape() {
    let fed = fed(&[
        scrape(1_000, Ok("a 1\nb 1\n# EOF\n")),
        scrape(2_000, Ok("b 2\n# EOF\n")),
        scrape(3_000, Err(ScrapeError::TooLong)),
        scrape(4_000, Err(ScrapeError::TooLong)),
        scrape(5_000, Ok("a 5\n# EOF\n")),
    ]);
    let line = |text: &str| format!("{TARGET} {text}");
    assert_eq!(
        fed,
        [
            vec![line("a 1@1000"), line("b 1@1000"), up(1, 1_000)],
            vec![line("b 2@2000"), up(1, 2_000), line("a stale@2000")],
            vec![up(0, 3_000), line("b stale@3000")],
            vec![up(0, 4_000)],
            vec![line("a 5@5000"), up(1, 5_000)],
        ]
    );
}

/// Prometheus does not know when such a series ends either.
#[test]
fn series_with_a_time_of_its_own_is_sent_once_and_does_not_end() {
    let fed = fed(&[
        scrape(1_000, Ok("a 1 0.5\n# EOF\n")),
        scrape(2_000, Ok("a 1 0.5\n# EOF\n")),
        scrape(3_000, Ok("a 1 0.25\na 2 2.5\na 3 2.75\n# EOF\n")),
        scrape(4_000, Ok("# EOF\n")),
    ]);
    let line = |text: &str| format!("{TARGET} {text}");
    assert_eq!(
        fed,
        [
            vec![line("a 1@500"), up(1, 1_000)],
            vec![up(1, 2_000)],
            vec![line("a 2@2500 3@2750"), up(1, 3_000)],
            vec![up(1, 4_000)],
        ]
    );
}

#[test]
fn scrapes_themselves_have_series() {
    let mut target = Target::new("j", "i:1");
    let mut counts = Vec::new();
    for (at_ms, page) in [
        (1_000, "a 1\nb 1\n# EOF\n"),
        (2_000, "b 1\nc 1\nd 1\n# EOF\n"),
    ] {
        let mut written = Written::default();
        target.feed(&scrape(at_ms, Ok(page)), &mut written);
        written.0.retain(|line| line.contains("scrape_"));
        let values = written.0.iter().map(|line| {
            let series = line.rsplit_once("\"\" ").unwrap().1;
            series.split('@').next().unwrap().to_owned()
        });
        counts.push(values.collect::<Vec<_>>());
    }
    let series = |samples, added| {
        vec![
            "scrape_duration_seconds 0.25".to_owned(),
            format!("scrape_samples_post_metric_relabeling {samples}"),
            format!("scrape_samples_scraped {samples}"),
            format!("scrape_series_added {added}"),
        ]
    };
    assert_eq!(counts, [series(2, 2), series(3, 2)]);
}
