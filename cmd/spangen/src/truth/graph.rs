//! The edges of traces, by the rules of service graphs.
//!
//! Source: the documentation of Tempo's service graphs: pairs are a client span
//! and the server span whose parent it is, or a producer's and a consumer's; a
//! client span that names a database is a whole edge; what has no other side is
//! an edge to a virtual node if it is a root or names its peer.

use std::time::Duration;

use super::{EdgeKey, Half, Side, Spans};
use crate::trace::{Attributes, Kind, Resource, Span, Trace, Value};

/// What names the other side of a client span.
const PEER: [&str; 3] = ["peer.service", "db.name", "db.system"];

/// What makes a client span one to a database.
const DATABASE: [&str; 3] = ["db.namespace", "db.name", "db.system"];

/// What names a database, before [`DATABASE`].
const DATABASE_SERVER: [&str; 2] = ["peer.service", "server.address"];

/// The edges of the traces of a batch, whenever it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(super) traces: u64,
    pub(super) spans: Spans,
    pub(super) edges: Vec<Edge>,
    pub(super) unpaired: Vec<Half>,
}

/// From and to, each in nanoseconds before the end of the trace.
type Length = (u64, u64);

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) key: EdgeKey,
    /// The number of its trace in the batch.
    pub(super) trace: u32,
    pub(super) failed: bool,
    pub(super) client: Option<Length>,
    pub(super) server: Option<Length>,
    pub(super) messaging: Option<Length>,
}

/// A trace in the making of a graph.
struct Reader<'a> {
    graph: &'a mut Graph,
    number: u32,
    end: u64,
    resources: &'a [Resource],
}

impl Graph {
    /// Adds a trace whose spans come so late, each in its place; what is apart for
    /// longer than `wait` does not pair.
    pub(crate) fn add(
        &mut self,
        trace: &Trace,
        resources: &[Resource],
        delays: &[Duration],
        wait: Duration,
    ) {
        let number = u32::try_from(self.traces).unwrap_or(u32::MAX);
        self.traces += 1;
        self.spans.generated += trace.len() as u64;
        let delay = |index: usize| delays.get(index).copied().unwrap_or_default();
        let mut paired = vec![false; trace.len()];
        let mut reader = Reader {
            graph: self,
            number,
            end: trace.iter().map(|span| span.end).max().unwrap_or(0),
            resources,
        };
        for (index, span) in trace.iter().enumerate() {
            if !is_client(span) {
                continue;
            }
            if let Some(database) = reader.database(span) {
                reader.database_edge(span, database);
                continue;
            }
            let mut others = trace.iter().enumerate();
            let other = others.find(|(other, span)| {
                let is_free = paired.get(*other).is_some_and(|paired| !paired);
                let in_time = delay(*other).abs_diff(delay(index)) < wait;
                is_server(span) && span.parent == Some(index) && is_free && in_time
            });
            match other {
                Some((other, server)) => {
                    if let Some(paired) = paired.get_mut(other) {
                        *paired = true;
                    }
                    reader.pair(span, server);
                }
                None => reader.client_alone(span),
            }
        }
        for (span, paired) in trace.iter().zip(paired) {
            if is_server(span) && !paired {
                reader.server_alone(span);
            }
        }
        self.spans.without_edge += trace.iter().filter(|s| s.kind == Kind::Internal).count() as u64;
    }
}

impl Reader<'_> {
    fn database_edge(&mut self, span: &Span, server: String) {
        let length = self.length(span);
        self.edge(Edge {
            key: EdgeKey {
                client: self.service(span),
                server,
                connection_type: "database",
                absent: Some(Side::Server),
            },
            trace: self.number,
            failed: span.failure.is_some(),
            client: Some(length),
            server: Some(length),
            messaging: None,
        });
    }

    fn pair(&mut self, client: &Span, server: &Span) {
        let is_message = is_message(client) || is_message(server);
        let on_its_way = (self.before(client.end), self.before(server.start));
        self.edge(Edge {
            key: EdgeKey {
                client: self.service(client),
                server: self.service(server),
                connection_type: connection_type(is_message),
                absent: None,
            },
            trace: self.number,
            failed: client.failure.is_some() || server.failure.is_some(),
            client: Some(self.length(client)),
            server: Some(self.length(server)),
            messaging: is_message.then_some(on_its_way),
        });
    }

    fn client_alone(&mut self, span: &Span) {
        match first_of(&span.attributes, &PEER) {
            Some(peer) => self.edge(Edge {
                key: EdgeKey {
                    client: self.service(span),
                    server: peer,
                    connection_type: "virtual_node",
                    absent: Some(Side::Server),
                },
                trace: self.number,
                failed: span.failure.is_some(),
                client: Some(self.length(span)),
                server: None,
                messaging: None,
            }),
            None => self.unpaired(span, Side::Client),
        }
    }

    fn server_alone(&mut self, span: &Span) {
        if span.parent.is_some() {
            return self.unpaired(span, Side::Server);
        }
        let peer = first_of(&span.attributes, &PEER);
        self.edge(Edge {
            key: EdgeKey {
                client: peer.unwrap_or_else(|| "user".to_owned()),
                server: self.service(span),
                connection_type: "virtual_node",
                absent: Some(Side::Client),
            },
            trace: self.number,
            failed: span.failure.is_some(),
            client: None,
            server: Some(self.length(span)),
            messaging: None,
        });
    }

    fn edge(&mut self, edge: Edge) {
        self.graph.spans.in_edges += if edge.key.absent.is_none() { 2 } else { 1 };
        self.graph.edges.push(edge);
    }

    fn unpaired(&mut self, span: &Span, side: Side) {
        self.graph.spans.unpaired += 1;
        let service = self.service(span);
        let connection_type = connection_type(is_message(span));
        self.graph.unpaired.push(Half {
            service,
            side,
            connection_type,
        });
    }

    /// The name of the database that a client span calls, if it does.
    fn database(&self, span: &Span) -> Option<String> {
        let resource = self.resource(span).and_then(|r| first_of(r, &DATABASE));
        let name = resource.or_else(|| first_of(&span.attributes, &DATABASE))?;
        Some(first_of(&span.attributes, &DATABASE_SERVER).unwrap_or(name))
    }

    fn service(&self, span: &Span) -> String {
        let name = self
            .resource(span)
            .and_then(|r| first_of(r, &["service.name"]));
        name.unwrap_or_default()
    }

    fn resource(&self, span: &Span) -> Option<&Attributes> {
        Some(&self.resources.get(span.resource)?.attributes)
    }

    fn length(&self, span: &Span) -> Length {
        (self.before(span.start), self.before(span.end))
    }

    fn before(&self, time: u64) -> u64 {
        self.end.saturating_sub(time)
    }
}

fn is_client(span: &Span) -> bool {
    matches!(span.kind, Kind::Client | Kind::Producer)
}

fn is_server(span: &Span) -> bool {
    matches!(span.kind, Kind::Server | Kind::Consumer)
}

fn is_message(span: &Span) -> bool {
    matches!(span.kind, Kind::Producer | Kind::Consumer)
}

fn connection_type(is_message: bool) -> &'static str {
    if is_message { "messaging_system" } else { "" }
}

/// The value of the first of these attributes that is there and not empty.
fn first_of(attributes: &Attributes, keys: &[&str]) -> Option<String> {
    let value = |key: &&str| {
        let (_, value) = attributes.iter().find(|(name, _)| name == key)?;
        let text = match value {
            Value::Text(text) => text.to_string(),
            Value::Int(number) => number.to_string(),
        };
        (!text.is_empty()).then_some(text)
    };
    keys.iter().find_map(value)
}
