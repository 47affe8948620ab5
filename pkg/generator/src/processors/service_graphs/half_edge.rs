//! What one span says of an edge.

use std::sync::Arc;

use model::LabelSet;
use registry::{KeyHasher, LaneKey};

/// Where the halves of an edge meet: the trace, and the span id of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EdgeKey {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

/// The hash of a trace id under the process's secret, to hash its spans with.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceHash(u64, u64);

impl TraceHash {
    pub(super) fn of(trace_id: [u8; 16], hasher: KeyHasher) -> Self {
        let hash = u128::from_ne_bytes(hasher.key(&trace_id).to_bytes());
        Self(hash as u64, (hash >> 64) as u64)
    }

    /// The shard of the trace, of so many.
    pub(super) fn shard(self, shards: usize) -> usize {
        self.0 as usize % shards
    }

    /// The hash of a span of the trace. Both factors are secret, so nobody can
    /// choose span ids that collide.
    #[inline]
    pub(super) fn with(self, span_id: [u8; 8]) -> u64 {
        let span = u64::from_ne_bytes(span_id);
        let product = u128::from(self.0 ^ span) * u128::from(self.1 | 1);
        product as u64 ^ (product >> 64) as u64
    }
}

/// What a span is to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It called: a client or a producer.
    Client,
    /// It was called: a server or a consumer.
    Server,
    /// It lies between the two: an internal span, which bridges them (D19).
    Internal,
}

/// One span's half of an edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfEdge {
    pub(crate) key: EdgeKey,
    pub(crate) role: Role,
    /// The parent of an internal span.
    pub(crate) parent_span_id: [u8; 8],
    /// A producer or a consumer.
    pub(crate) is_messaging: bool,
    /// A client that names a database.
    pub(crate) is_database: bool,
    /// A client whose database has no name: not known to be one, but for the
    /// latency of its absent side.
    pub(crate) is_nameless_database: bool,
    /// A server without parent: nobody can complete it (D22).
    pub(crate) is_root: bool,
    /// A further half of a span that the ledger has already.
    pub(crate) is_extra: bool,
    pub(crate) is_failed: bool,
    /// Whether somebody keeps the trace.
    pub(crate) is_sampled: bool,
    /// A filter policy refused the span: its counterpart goes with it.
    pub(crate) is_filtered: bool,
    /// Names the labels that the span gives, by their raw values.
    pub(crate) labels: LaneKey,
    pub(crate) duration_ns: u64,
    /// When a client ends or a server starts, in nanoseconds since the Unix
    /// epoch: between the two a message waits.
    pub(crate) boundary_ns: u64,
    /// How many spans it stands for.
    pub(crate) weight: f64,
    /// The span among those of its push, to read its labels from.
    pub(crate) source: u32,
}

impl HalfEdge {
    /// Spans of the ledger that it stands for.
    pub(super) fn spans(&self) -> u64 {
        u64::from(!self.is_extra)
    }

    pub(super) fn end_ms(&self) -> i64 {
        let after = match self.role {
            Role::Server => self.duration_ns,
            Role::Client | Role::Internal => 0,
        };
        (self.boundary_ns.saturating_add(after) / 1_000_000) as i64
    }
}

/// The labels that spans of one kind give to edges, held once for all of them.
#[derive(Debug)]
pub(crate) struct SideLabels {
    pub(super) key: LaneKey,
    text: Box<[u8]>,
}

/// The labels of one side of an edge.
pub(super) type SharedLabels = Arc<SideLabels>;

impl SideLabels {
    pub(super) fn new(key: LaneKey, labels: LabelSet<'_>) -> Self {
        Self {
            key,
            text: labels.as_bytes().into(),
        }
    }

    /// The value of one of them; empty if it has none.
    pub(super) fn get(&self, name: &str) -> &str {
        LabelSet::from_canonical(&self.text)
            .get(name)
            .unwrap_or_default()
    }

    /// All of them, canonically.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.text.len()
    }
}
