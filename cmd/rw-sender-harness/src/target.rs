//! A target's series from scrape to scrape, as Prometheus has them: with `job`
//! and `instance`, `up` and its like, and staleness markers.

use std::collections::BTreeMap;

use model::{Exemplar, LabelSetBuf, Metadata, MetricType, Point, SampleSink, Series};

use crate::exposition::{self, Labels, Sample};
use crate::scrape::Scrape;

/// The only label of an exemplar that is sent on; its value must be a trace id.
pub(crate) const TRACE_ID_LABEL: &str = "trace_id";

/// A series' name and labels.
type Identity = (String, Labels);

/// A target, and what is known of its series.
#[derive(Debug)]
pub(crate) struct Target {
    job: String,
    instance: String,
    known: BTreeMap<Identity, Known>,
    scrapes: u64,
}

/// A series that has been sent.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The time of its last sample.
    last_ms: i64,
    /// The scrape that had it last.
    scrape: u64,
    /// Whether its samples have the time of their scrape: only then can its end
    /// be told.
    is_timed_by_scrape: bool,
}

/// What a scrape brings of a series.
#[derive(Debug, Default)]
struct Found<'a> {
    points: Vec<Point>,
    exemplar: Option<Exemplar>,
    started_ms: Option<i64>,
    metadata: Option<Metadata<'a>>,
}

impl Target {
    /// A target that has not been scraped yet.
    pub(crate) fn new(job: &str, instance: &str) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            known: BTreeMap::new(),
            scrapes: 0,
        }
    }

    /// Hands on what a scrape brings: its samples, the ends of series that it
    /// has no more, and what Prometheus says of the scrape itself.
    pub(crate) fn feed(&mut self, scrape: &Scrape, sink: &mut impl SampleSink) {
        self.scrapes += 1;
        let mut found = BTreeMap::new();
        let mut samples = 0;
        if let Ok(page) = &scrape.page {
            samples = page.samples.len();
            for sample in &page.samples {
                self.find(page, sample, scrape.at_ms, &mut found);
            }
        }
        let added = found
            .keys()
            .filter(|id| !self.known.contains_key(*id))
            .count();
        for (name, value, help) in [
            (
                "up",
                f64::from(u8::from(scrape.page.is_ok())),
                "Whether the last scrape succeeded.",
            ),
            (
                "scrape_duration_seconds",
                scrape.took.as_secs_f64(),
                "How long the scrape took.",
            ),
            (
                "scrape_samples_scraped",
                samples as f64,
                "Samples that the target exposed.",
            ),
            (
                "scrape_samples_post_metric_relabeling",
                samples as f64,
                "Samples that remained after relabelling.",
            ),
            (
                "scrape_series_added",
                added as f64,
                "New series in this scrape.",
            ),
        ] {
            let own = Found {
                points: vec![Point {
                    timestamp_ms: scrape.at_ms,
                    value,
                }],
                metadata: Some(Metadata {
                    kind: MetricType::Gauge,
                    help,
                    unit: "",
                }),
                ..Found::default()
            };
            found.insert((name.to_owned(), self.target_labels()), own);
        }
        self.send(found, scrape.at_ms, sink);
        self.end_the_others(scrape.at_ms, sink);
    }

    /// Takes in one sample of a page.
    fn find<'p>(
        &self,
        page: &'p exposition::Page,
        sample: &Sample,
        at_ms: i64,
        found: &mut BTreeMap<Identity, Found<'p>>,
    ) {
        let family = page.family(sample);
        let timestamp_ms = sample.timestamp_ms.unwrap_or(at_ms);
        let counts = family.and_then(|family| family.kind).is_some_and(|kind| {
            matches!(
                kind,
                MetricType::Counter | MetricType::Histogram | MetricType::Summary
            )
        });
        let metadata = family.map(|family| Metadata {
            kind: family.kind.unwrap_or(MetricType::Unknown),
            help: &family.help,
            unit: &family.unit,
        });
        let id = (sample.name.clone(), self.labels(&sample.labels));
        let known = self.known.get(&id).map(|known| known.last_ms);
        let series = found.entry(id).or_default();
        // A time that was sent already is not sent again.
        let last_ms = series.points.last().map(|point| point.timestamp_ms);
        if last_ms
            .or(known)
            .is_none_or(|last_ms| last_ms < timestamp_ms)
        {
            series.points.push(Point {
                timestamp_ms,
                value: sample.value,
            });
        }
        series.exemplar = sample
            .exemplar
            .as_ref()
            .and_then(|exemplar| carried(exemplar, timestamp_ms));
        series.started_ms = page.created_ms(sample).filter(|_| counts);
        series.metadata = metadata;
    }

    fn target_labels(&self) -> Labels {
        let label = |name: &str, value: &String| (name.to_owned(), value.clone());
        [label("job", &self.job), label("instance", &self.instance)].into()
    }

    /// A series' labels, with those of the target; its own of these names are
    /// renamed.
    fn labels(&self, own: &Labels) -> Labels {
        let mut labels = self.target_labels();
        let is_taken = |name: &str| own.contains_key(name) || name == "job" || name == "instance";
        for (name, value) in own {
            let mut name = name.clone();
            if labels.contains_key(&name) {
                while is_taken(&name) {
                    name.insert_str(0, "exported_");
                }
            }
            labels.insert(name, value.clone());
        }
        labels
    }

    fn send(
        &mut self,
        found: BTreeMap<Identity, Found<'_>>,
        at_ms: i64,
        sink: &mut impl SampleSink,
    ) {
        let mut buffer = LabelSetBuf::new();
        for (id, series) in found {
            let last_ms = series.points.last().map(|point| point.timestamp_ms);
            let before = self.known.get(&id);
            let known = Known {
                last_ms: last_ms.or(before.map(|b| b.last_ms)).unwrap_or(at_ms),
                scrape: self.scrapes,
                is_timed_by_scrape: last_ms == Some(at_ms),
            };
            if !series.points.is_empty() {
                begin(&id, &mut buffer, sink);
                series
                    .started_ms
                    .into_iter()
                    .for_each(|ms| sink.started(ms));
                series
                    .metadata
                    .into_iter()
                    .for_each(|metadata| sink.metric(metadata));
                let name = Series {
                    name: &id.0,
                    le: None,
                };
                sink.series(name, &series.points, series.exemplar);
            }
            self.known.insert(id, known);
        }
    }

    /// Ends the series that this scrape did not have.
    fn end_the_others(&mut self, at_ms: i64, sink: &mut impl SampleSink) {
        let mut buffer = LabelSetBuf::new();
        let scrape = self.scrapes;
        self.known.retain(|id, known| {
            let is_there = known.scrape == scrape;
            if !is_there && known.is_timed_by_scrape && known.last_ms < at_ms {
                begin(id, &mut buffer, sink);
                let name = Series {
                    name: &id.0,
                    le: None,
                };
                sink.series(name, &[Point::stale(at_ms)], None);
            }
            is_there
        });
    }
}

fn begin((_, labels): &Identity, buffer: &mut LabelSetBuf, sink: &mut impl SampleSink) {
    buffer.clear();
    for (name, value) in labels {
        buffer.push(name, value);
    }
    sink.label_set(buffer.finish());
}

/// An exemplar as it can be sent: with a trace id and nothing else.
fn carried(exemplar: &exposition::Exemplar, sample_ms: i64) -> Option<Exemplar> {
    let trace_id = exemplar.labels.get(TRACE_ID_LABEL)?;
    let is_alone = exemplar.labels.len() == 1 && trace_id.len() == 32;
    let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
    is_alone.then_some(Exemplar {
        trace_id: trace_id.to_be_bytes(),
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp_ms.unwrap_or(sample_ms),
    })
}

#[cfg(test)]
mod tests;
