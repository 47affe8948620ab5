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

/// One side of an edge: its half, and the labels it gives.
#[derive(Clone, Debug)]
pub(super) struct EdgeSide {
    pub(super) half: HalfEdge,
    pub(super) labels: SharedLabels,
}

/// Where the labels of an edge come from.
#[derive(Clone, Debug)]
pub(crate) struct EdgeLabels {
    pub(super) connection: Connection,
    pub(super) client: Option<SharedLabels>,
    pub(super) server: Option<SharedLabels>,
}

/// A complete edge.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) connection: Connection,
    pub(super) client: Option<EdgeSide>,
    pub(super) server: Option<EdgeSide>,
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

impl Edge {
    /// Of two halves that have met, the `later` one having arrived last.
    pub(super) fn paired(stored: EdgeSide, later: EdgeSide) -> (Self, HalfEdge) {
        let last = later.half;
        let (client, server) = match last.role {
            Role::Client => (later, stored),
            Role::Server | Role::Internal => (stored, later),
        };
        let connection = if client.half.is_database {
            Connection::Database
        } else if server.half.is_messaging {
            Connection::Messaging
        } else {
            Connection::Direct
        };
        let edge = Self {
            connection,
            client: Some(client),
            server: Some(server),
        };
        (edge, last)
    }

    /// Of a single half: an edge to a database or to a virtual node.
    pub(super) fn single(connection: Connection, side: EdgeSide) -> (Self, HalfEdge) {
        let last = side.half;
        let (client, server) = match last.role {
            Role::Client => (Some(side), None),
            Role::Server | Role::Internal => (None, Some(side)),
        };
        let edge = Self {
            connection,
            client,
            server,
        };
        (edge, last)
    }

    /// What it adds to which label set. The half that came last gives the
    /// weight and the time.
    pub(super) fn update(
        self,
        last: &HalfEdge,
        settings_key: LaneKey,
        observed: Observed,
    ) -> (Update, EdgeLabels) {
        let halves = [&self.client, &self.server].map(|side| side.as_ref().map(|side| side.half));
        let is_failed = halves.iter().flatten().any(|half| half.is_failed);
        let spans = halves.iter().flatten().filter(|half| !half.is_extra);
        let seconds = |half: Option<HalfEdge>| half.map(|half| seconds(half.duration_ns));
        let absent = if observed.absent_side { 0.0 } else { f64::NAN };
        let [client, server] = halves;
        let client_seconds = seconds(client).unwrap_or(absent);
        let server_seconds = match self.connection {
            // A database's time is its client's, unless it has a span of its own.
            Connection::Database if server.is_none() || !observed.database_server => client_seconds,
            Connection::VirtualServer if observed.absent_side && last.is_nameless_database => {
                client_seconds
            }
            _ => seconds(server).unwrap_or(absent),
        };
        let waited = match (self.connection, client, server) {
            (Connection::Messaging, Some(client), Some(server))
                if observed.messaging_latency && server.boundary_ns > client.boundary_ns =>
            {
                self::seconds(server.boundary_ns - client.boundary_ns)
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
        let labels = EdgeLabels {
            connection: self.connection,
            client: self.client.map(|side| side.labels),
            server: self.server.map(|side| side.labels),
        };
        let update = Update {
            key: labels.key(settings_key),
            weight: last.weight,
            spans: spans.count() as u8,
            values,
            order: last.source,
            trace_id: last.key.trace_id,
            timestamp_ms: last.end_ms(),
        };
        (update, labels)
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
