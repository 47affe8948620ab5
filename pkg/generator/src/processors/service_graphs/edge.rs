//! A complete edge, and what it adds to which series.

use registry::{KeyHasher, LaneKey, MAX_METRICS, Update};

use super::half_edge::{HalfEdge, Role, SharedLabels};

const NANOS_PER_SECOND: f64 = 1e9;

/// How two services are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// By a call.
    Direct,
    /// By a message.
    Messaging,
    /// The client calls a database.
    Database,
    /// The client is not instrumented.
    VirtualClient,
    /// The server is not instrumented.
    VirtualServer,
}

impl Connection {
    /// The value of the label `connection_type`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Messaging => "messaging_system",
            Self::Database => "database",
            Self::VirtualClient | Self::VirtualServer => "virtual_node",
        }
    }

    /// The value of the label `virtual_node`.
    pub(super) fn virtual_node(self) -> &'static str {
        match self {
            Self::VirtualClient => "client",
            Self::VirtualServer => "server",
            Self::Direct | Self::Messaging | Self::Database => "",
        }
    }
}

/// Where the labels of an edge come from.
#[derive(Clone, Debug)]
pub(crate) struct EdgeLabels {
    pub(super) connection: Connection,
    pub(super) client: Option<SharedLabels>,
    pub(super) server: Option<SharedLabels>,
}

/// A complete edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'h> {
    pub(super) connection: Connection,
    client: Option<&'h HalfEdge>,
    server: Option<&'h HalfEdge>,
    /// The half that came last: it gives the weight and the time.
    last: &'h HalfEdge,
}

/// Which values of edges are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// 0 s for a side that is not instrumented, as Tempo does (D6).
    pub(super) absent_side: bool,
    /// The time from a producer to a consumer.
    pub(super) messaging_latency: bool,
    /// A database's own span, if it has one (D18).
    pub(super) database_server: bool,
}

impl<'h> Edge<'h> {
    /// Of two halves that have met, the `last` one having arrived last.
    pub(super) fn paired(stored: &'h HalfEdge, last: &'h HalfEdge) -> Self {
        let (client, server) = match last.role {
            Role::Client => (last, stored),
            Role::Server | Role::Internal => (stored, last),
        };
        let connection = if client.is_database {
            Connection::Database
        } else if server.is_messaging {
            Connection::Messaging
        } else {
            Connection::Direct
        };
        Self {
            connection,
            client: Some(client),
            server: Some(server),
            last,
        }
    }

    /// Of a single half: an edge to a database or to a virtual node.
    pub(super) fn single(connection: Connection, half: &'h HalfEdge) -> Self {
        let (client, server) = match half.role {
            Role::Client => (Some(half), None),
            Role::Server | Role::Internal => (None, Some(half)),
        };
        Self {
            connection,
            client,
            server,
            last: half,
        }
    }

    /// Its labels: those of the half that came last, and those of the other, if
    /// there is one.
    pub(super) fn labels(&self, last: SharedLabels, other: Option<SharedLabels>) -> EdgeLabels {
        let (client, server) = match self.last.role {
            Role::Client => (Some(last), other),
            Role::Server | Role::Internal => (other, Some(last)),
        };
        EdgeLabels {
            connection: self.connection,
            client,
            server,
        }
    }

    /// What it adds to the label set with these labels.
    pub(super) fn update(
        &self,
        labels: &EdgeLabels,
        settings_key: LaneKey,
        observed: Observed,
    ) -> Update {
        let Self {
            connection,
            client,
            server,
            last,
        } = *self;
        let halves = [client, server].into_iter().flatten();
        let is_failed = halves.clone().any(|half| half.is_failed);
        let is_sampled = halves.clone().any(|half| half.is_sampled);
        let spans = halves.filter(|half| !half.is_extra).count() as u8;
        let taken = |half: Option<&HalfEdge>| half.map(|half| seconds(half.duration_ns));
        let absent = if observed.absent_side { 0.0 } else { f64::NAN };
        let client_seconds = taken(client).unwrap_or(absent);
        let server_seconds = match connection {
            // A database's time is its client's, unless it has a span of its own.
            Connection::Database if server.is_none() || !observed.database_server => client_seconds,
            Connection::VirtualServer if observed.absent_side && last.is_nameless_database => {
                client_seconds
            }
            _ => taken(server).unwrap_or(absent),
        };
        let waited = match (connection, client, server) {
            (Connection::Messaging, Some(client), Some(server))
                if observed.messaging_latency && server.boundary_ns > client.boundary_ns =>
            {
                seconds(server.boundary_ns - client.boundary_ns)
            }
            _ => f64::NAN,
        };
        let mut values = [f64::NAN; MAX_METRICS];
        let failed = if is_failed { last.weight } else { f64::NAN };
        for (place, value) in
            values
                .iter_mut()
                .zip([last.weight, failed, server_seconds, client_seconds, waited])
        {
            *place = value;
        }
        Update {
            key: labels.key(settings_key),
            weight: last.weight,
            spans,
            is_sampled,
            values,
            order: last.source,
            trace_id: last.key.trace_id,
            timestamp_ms: last.end_ms(),
        }
    }
}

impl EdgeLabels {
    fn key(&self, settings_key: LaneKey) -> LaneKey {
        let of = |side: &Option<SharedLabels>| side.as_ref().map_or([0; 16], |l| l.key.to_bytes());
        let mut bytes = [0; 49];
        let parts = [settings_key.to_bytes(), of(&self.client), of(&self.server)];
        if let Some((last, keys)) = bytes.split_last_mut() {
            keys.copy_from_slice(parts.as_flattened());
            *last = self.connection as u8;
        }
        KeyHasher::new().key(&bytes)
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND
}
