//! The service graph of what was generated, exactly: what a receiver is held against.
//!
//! It is made from the traces as they were drawn, before they are encoded; nothing
//! of spanmill's own processors is in it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::template::Stamp;

mod graph;

pub(crate) use graph::Graph;

/// What was generated so far.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    traces: u64,
    spans: Spans,
    edges: BTreeMap<EdgeKey, Requests>,
    unpaired: BTreeMap<Half, u64>,
}

/// Counts of spans: `generated = in_edges + unpaired + without_edge`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spans {
    /// All of them, each once.
    pub(crate) generated: u64,
    /// Those that are a side of an edge.
    pub(crate) in_edges: u64,
    /// Those whose other side does not come, or comes too late.
    pub(crate) unpaired: u64,
    /// Internal ones.
    pub(crate) without_edge: u64,
    /// Those of requests that were sent a second time.
    pub(crate) repeated: u64,
}

/// What tells edges apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct EdgeKey {
    /// Who calls: a service, or `user`.
    pub(crate) client: String,
    /// Who is called: a service, or the name of what sends no spans.
    pub(crate) server: String,
    /// `messaging_system`, `database`, `virtual_node` or nothing.
    pub(crate) connection_type: &'static str,
    /// The side of which there is no span.
    pub(crate) absent: Option<Side>,
}

/// A side of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words of service graphs")]
pub(crate) enum Side {
    Client,
    Server,
}

/// A span that is no edge without its other side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Half {
    /// Its service.
    pub(crate) service: String,
    /// Which side it is.
    pub(crate) side: Side,
    /// `messaging_system` or nothing.
    pub(crate) connection_type: &'static str,
}

/// The requests along an edge, with durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Requests {
    /// How many.
    pub(crate) requests: u64,
    /// How many failed on either side.
    pub(crate) failed: u64,
    /// How long each took for the client.
    pub(crate) client_nanoseconds: Vec<u64>,
    /// How long each took for the server. A database's are its client's.
    pub(crate) server_nanoseconds: Vec<u64>,
    /// How long each message was on its way.
    pub(crate) messaging_nanoseconds: Vec<u64>,
}

/// The file's layout.
#[derive(Serialize)]
struct File<'a> {
    traces: u64,
    spans: Spans,
    edges: Vec<Edge<'a>>,
    unpaired: Vec<Unpaired<'a>>,
}

#[derive(Serialize)]
struct Edge<'a> {
    #[serde(flatten)]
    key: &'a EdgeKey,
    #[serde(flatten)]
    requests: &'a Requests,
}

#[derive(Serialize)]
struct Unpaired<'a> {
    #[serde(flatten)]
    half: &'a Half,
    spans: u64,
}

impl Truth {
    /// Adds one sending of a batch, of which so many spans are sent twice.
    pub(crate) fn add(&mut self, graph: &Graph, stamp: &Stamp, repeated: u64) {
        self.traces += graph.traces;
        self.spans.generated += graph.spans.generated;
        self.spans.in_edges += graph.spans.in_edges;
        self.spans.unpaired += graph.spans.unpaired;
        self.spans.without_edge += graph.spans.without_edge;
        self.spans.repeated += repeated;
        for edge in &graph.edges {
            let requests = match self.edges.get_mut(&edge.key) {
                Some(requests) => requests,
                None => self.edges.entry(edge.key.clone()).or_default(),
            };
            requests.requests += 1;
            requests.failed += u64::from(edge.failed);
            for (durations, length) in [
                (&mut requests.client_nanoseconds, edge.client),
                (&mut requests.server_nanoseconds, edge.server),
                (&mut requests.messaging_nanoseconds, edge.messaging),
            ] {
                // Each end is rounded when it is sent, so the difference is not.
                let ago = |before| stamp.ago(edge.trace, before);
                durations.extend(length.map(|(from, to)| ago(from).saturating_sub(ago(to))));
            }
        }
        for half in &graph.unpaired {
            *self.unpaired.entry(half.clone()).or_default() += 1;
        }
    }

    /// Everything as JSON, with durations in ascending order.
    pub(crate) fn json(mut self) -> serde_json::Result<Vec<u8>> {
        for requests in self.edges.values_mut() {
            requests.client_nanoseconds.sort_unstable();
            requests.server_nanoseconds.sort_unstable();
            requests.messaging_nanoseconds.sort_unstable();
        }
        let edges = self.edges.iter();
        let unpaired = self.unpaired.iter();
        serde_json::to_vec(&File {
            traces: self.traces,
            spans: self.spans,
            edges: edges
                .map(|(key, requests)| Edge { key, requests })
                .collect(),
            unpaired: unpaired
                .map(|(half, spans)| Unpaired {
                    half,
                    spans: *spans,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests;
