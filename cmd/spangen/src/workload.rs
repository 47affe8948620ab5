//! What is sent: templates made once, before the first send.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::arrival::{Part, Scatter};
use crate::profile::{Reference, TRACES_PER_REQUEST};
use crate::template::{Churn, Template, mix};
use crate::topology::Topology;
use crate::trace::{Resource, Trace};
use crate::truth::Graph;

/// Where traces come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Services that call each other.
    Topology(Topology),
    /// Spans of a known shape.
    Reference(Reference),
}

/// A source of traces with the requests made from it.
#[derive(Debug)]
pub(crate) struct Workload {
    source: Source,
    random: StdRng,
    scatter: Scatter,
    /// Apart from `random`: the same seed gives the same traces, however they arrive.
    scatter_random: StdRng,
    /// How late a span may come for its edge, if edges are wanted.
    wait: Option<Duration>,
    batches: Vec<Arc<Batch>>,
    churn_percent: f64,
}

/// Some traces, and the requests that they are sent in.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The requests: one, unless traces are split.
    pub(crate) parts: Vec<Part>,
    /// The edges; empty if they are not wanted.
    pub(crate) graph: Graph,
    spans: u64,
}

impl Batch {
    /// How many spans its requests hold together.
    pub(crate) fn spans(&self) -> u64 {
        self.spans
    }
}

/// How big the pool of templates is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Spans a request has at least; whole traces are added until then.
    pub(crate) spans_per_request: u64,
    /// Spans that the templates together have at least.
    pub(crate) pool: u64,
}

impl Sizes {
    /// Sizes for a rate in spans a second; `None` is as fast as possible.
    ///
    /// A slow rate gets small requests, several a second, as SDKs send them.
    pub(crate) fn for_rate(rate: Option<f64>) -> Self {
        const REQUESTS_PER_SECOND: f64 = 5.0;
        let spans_per_request =
            rate.map_or(512.0, |rate| (rate / REQUESTS_PER_SECOND).clamp(1.0, 512.0));
        Self {
            spans_per_request: spans_per_request as u64,
            pool: 20_000,
        }
    }
}

impl Workload {
    /// Makes the templates. With `wait`, the edges of each batch as well.
    pub(crate) fn new(
        source: Source,
        sizes: Sizes,
        seed: u64,
        churn_percent: f64,
        scatter: Scatter,
        wait: Option<Duration>,
    ) -> Self {
        let mut workload = Self {
            source,
            random: StdRng::seed_from_u64(seed),
            scatter,
            scatter_random: StdRng::seed_from_u64(mix(seed)),
            wait,
            batches: Vec::new(),
            churn_percent,
        };
        match &workload.source {
            Source::Topology(_) => {
                let mut spans = 0;
                while spans < sizes.pool {
                    let traces = workload.traces(sizes.spans_per_request);
                    spans += workload.add(&traces);
                }
            }
            Source::Reference(profile) => {
                const FEWEST: usize = 16;
                let requests = profile.traces_to_see_all().div_ceil(TRACES_PER_REQUEST);
                for _ in 0..requests.max(FEWEST) {
                    let traces: Vec<_> =
                        (0..TRACES_PER_REQUEST).map(|_| workload.trace()).collect();
                    workload.add(&traces);
                }
            }
        }
        workload
    }

    /// The `number`th batch.
    pub(crate) fn batch(&self, number: u64) -> Option<Arc<Batch>> {
        let index = number % self.batches.len().max(1) as u64;
        self.batches.get(index as usize).cloned()
    }

    /// A batch of exactly so many spans, for the end of a run.
    pub(crate) fn exactly(&mut self, spans: u64) -> Arc<Batch> {
        let mut traces = self.traces(spans);
        let sum = |traces: &[Trace]| traces.iter().map(|trace| trace.len() as u64).sum::<u64>();
        let excess = sum(&traces).saturating_sub(spans);
        if let Some(last) = traces.last_mut() {
            // Parents come before children, so none is cut off.
            last.truncate(last.len().saturating_sub(excess as usize));
        }
        Arc::new(self.encode(&traces))
    }

    /// How far the replacement of series is.
    pub(crate) fn churn(&self, elapsed: Duration) -> Churn {
        match &self.source {
            Source::Topology(_) => Churn::default(),
            Source::Reference(profile) => profile.churn(self.churn_percent, elapsed),
        }
    }

    fn add(&mut self, traces: &[Trace]) -> u64 {
        let batch = self.encode(traces);
        let spans = batch.spans;
        self.batches.push(Arc::new(batch));
        spans
    }

    fn encode(&mut self, traces: &[Trace]) -> Batch {
        let spans = traces.iter().map(Vec::len).sum();
        let places: Vec<usize> = if self.scatter.is_whole() {
            vec![0; spans]
        } else {
            let place = |_| self.scatter.place(&mut self.scatter_random);
            (0..spans).map(place).collect()
        };
        let resources = self.resources();
        let parts = (0..self.scatter.places()).filter_map(|place| {
            let is_in = |span: u32| places.get(span as usize) == Some(&place);
            let template = Template::encode(traces, resources, is_in);
            (template.spans() > 0).then(|| Part {
                template: Arc::new(template),
                late: self.scatter.late(place),
            })
        });
        let parts = parts.collect();
        let mut graph = Graph::default();
        if let Some(wait) = self.wait {
            let delays: Vec<_> = places.iter().map(|p| self.scatter.delay(*p)).collect();
            let mut delays = delays.as_slice();
            for trace in traces {
                let (of_trace, rest) = delays.split_at(trace.len().min(delays.len()));
                graph.add(trace, resources, of_trace, wait);
                delays = rest;
            }
        }
        Batch {
            parts,
            graph,
            spans: spans as u64,
        }
    }

    fn traces(&mut self, spans: u64) -> Vec<Trace> {
        let mut traces = Vec::new();
        let mut sum = 0;
        while sum < spans {
            let trace = self.trace();
            sum += trace.len().max(1) as u64;
            traces.push(trace);
        }
        traces
    }

    fn trace(&mut self) -> Trace {
        match &mut self.source {
            Source::Topology(topology) => topology.trace(&mut self.random),
            Source::Reference(profile) => profile.trace(&mut self.random),
        }
    }

    fn resources(&self) -> &[Resource] {
        match &self.source {
            Source::Topology(topology) => topology.resources(),
            Source::Reference(profile) => profile.resources(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::decoded;
    use crate::topology::WEB_SHOP;

    #[test]
    fn last_request_has_exactly_the_spans_that_are_left() {
        let topology = Topology::parse(WEB_SHOP).unwrap();
        let sizes = Sizes {
            spans_per_request: 50,
            pool: 100,
        };
        let source = Source::Topology(topology);
        let mut workload = Workload::new(source, sizes, 1, 0.0, Scatter::default(), None);
        assert!(workload.batch(0).unwrap().spans() >= 50);
        for spans in [1, 7, 50, 333] {
            let batch = workload.exactly(spans);
            assert_eq!((batch.spans(), batch.parts.len()), (spans, 1));
            let request = decoded(&batch.parts[0].template, 1, Churn::default());
            let ids: Vec<_> = request.spans().map(|(_, span)| &span.span_id).collect();
            assert_eq!(ids.len() as u64, spans);
            for (_, span) in request.spans() {
                assert!(span.parent_span_id.is_empty() || ids.contains(&&span.parent_span_id));
            }
        }
    }

    #[test]
    fn slow_rates_get_small_requests() {
        assert_eq!(Sizes::for_rate(Some(1.0)).spans_per_request, 1);
        assert_eq!(Sizes::for_rate(Some(500.0)).spans_per_request, 100);
        assert_eq!(Sizes::for_rate(Some(1e6)).spans_per_request, 512);
        assert_eq!(Sizes::for_rate(None).spans_per_request, 512);
    }
}
