//! Edges between services: requests, failures and latencies.
//!
//! Source: tempo-2.10, sections 1.1 and 1.6, service-graph rules; differences
//! D6, D17, D18, D19, D21 and D22.

mod edge;
mod edge_store;
mod explain;
mod half_edge;
mod moving;
mod peer;
mod pending;
mod saving;
mod shard;
mod sides;
mod tables;

use std::collections::BTreeSet;

use model::LabelSetBuf;
use otlp::{AnyValue, Span};
use overrides::{Processor, TenantConfig};
use registry::{InvalidLabels, KeyHasher, LaneKey, Metric, MetricKind, Schema};

use self::edge::{Connection, EdgeLabels, Observed};
pub(crate) use self::edge_store::EdgeStore;
use self::edge_store::Rules;
pub(crate) use self::half_edge::HalfEdge;
use self::half_edge::{EdgeKey, Role};
pub(crate) use self::moving::{Arrived, Moved};
use self::peer::Peers;
pub(crate) use self::tables::EdgeTables;
use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::histograms::histogram;
use crate::ids::padded;
use crate::labelling::Labelling;
use crate::labels::{LabelLimits, LabelWriter, label_name};
use crate::multiplier::Multiplier;
use crate::raw_key::{key_of_settings, write_raw};
use crate::span_filter::SpanFilter;

/// What a side says of itself, among the dimensions: names that no dimension
/// can have, since a label's has no dot.
const SERVICE: &str = "service.name";
const PEER: &str = "peer.name";
const DATABASE: &str = "db.name";

/// Labels that a dimension may not take: its own gets `__` in front.
const INTRINSIC_LABELS: [&str; 4] = ["client", "server", "connection_type", "virtual_node"];

/// Links of a span that make edges: as many as SDKs let it have.
const MAX_LINKS: usize = 128;

/// The service-graphs processor of one tenant.
#[derive(Debug)]
pub(crate) struct ServiceGraphs {
    filter: SpanFilter,
    multiplier: Multiplier,
    service_name: KeyIndex,
    dimensions: Vec<Dimension>,
    peers: Peers,
    limits: LabelLimits,
    latency: MetricKind,
    has_prefix: bool,
    has_virtual_node_label: bool,
    use_span_links: bool,
    rules: Rules,
    hasher: KeyHasher,
    /// What the keys of sides begin with.
    sides_key: LaneKey,
}

/// An attribute that becomes a label.
#[derive(Clone, Debug)]
struct Dimension {
    key: KeyIndex,
    /// The label, and what it is with either prefix.
    label: String,
    client_label: String,
    server_label: String,
}

/// The part of a side that all spans of a resource share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResourceSide {
    key: LaneKey,
    has_service: bool,
}

/// What the processor makes of one span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It is half an edge.
    Half(HalfEdge),
    /// It is the same half of as many edges as it has links.
    Linked(HalfEdge),
    /// It bridges the halves of an edge.
    Bridge(HalfEdge),
    /// Its kind has no place in a graph.
    OtherKind,
    /// Its resource has no name.
    NoService,
}

impl ServiceGraphs {
    /// Compiles the settings; `None` if the tenant does not have the processor.
    pub(crate) fn new(config: &TenantConfig, wanted: &mut WantedKeys) -> Option<Self> {
        if !config.processors.contains(Processor::ServiceGraphs) {
            return None;
        }
        let settings = &config.service_graphs;
        let limits = LabelLimits::new(&config.registry);
        let label = |name: &str| label_name(name, &INTRINSIC_LABELS, limits);
        let dimensions: Vec<_> = settings
            .dimensions
            .iter()
            .map(|name| Dimension {
                key: wanted.want(name),
                label: label(name),
                client_label: label(&format!("client_{name}")),
                server_label: label(&format!("server_{name}")),
            })
            .collect();
        let peers = Peers::new(settings, wanted);
        let has_prefix = settings.enable_client_server_prefix;
        let has_virtual_node_label = settings.enable_virtual_node_label;
        let observed = Observed {
            absent_side: settings.observe_absent_side,
            messaging_latency: settings.enable_messaging_system_latency_histogram,
            database_server: settings.database_wait_for_server,
        };
        let sides_key = key_of_settings(&(&dimensions, &peers, limits));
        Some(Self {
            filter: SpanFilter::new(&settings.filter_policies, wanted),
            multiplier: Multiplier::new(
                &settings.span_multiplier_key,
                settings.enable_tracestate_span_multiplier,
                wanted,
            ),
            service_name: wanted.want("service.name"),
            rules: Rules {
                wait_ms: i64::try_from(settings.wait.as_millis()).unwrap_or(i64::MAX),
                max_items: i64::try_from(settings.max_items).unwrap_or(i64::MAX),
                bridge: settings.bridge_internal_spans,
                observed,
                count_lost: settings.enable_unpaired_metrics,
                settings_key: key_of_settings(&(
                    &dimensions,
                    has_prefix,
                    has_virtual_node_label,
                    observed,
                )),
            },
            dimensions,
            peers,
            limits,
            latency: histogram(config, &settings.histogram_buckets),
            has_prefix,
            has_virtual_node_label,
            use_span_links: settings.use_span_links,
            hasher: KeyHasher::new(),
            sides_key,
        })
    }

    /// The metrics of an edge, in the order of an update's values.
    pub(crate) fn schema(&self) -> Schema {
        let metric = |name: &str, help, unit, kind, sparse| Metric {
            name: format!("traces_service_graph_request_{name}"),
            help,
            unit,
            kind,
            sparse,
        };
        let histogram = || self.latency.clone();
        let messaging = self.rules.observed.messaging_latency.then(|| {
            let help = "Time from a producer to its consumer in seconds";
            metric(
                "messaging_system_seconds",
                help,
                "seconds",
                histogram(),
                true,
            )
        });
        let metrics = [
            metric(
                "total",
                "Requests between two services",
                "",
                MetricKind::Counter,
                false,
            ),
            metric(
                "failed_total",
                "Failed requests between two services",
                "",
                MetricKind::Counter,
                true,
            ),
            metric(
                "server_seconds",
                "Duration of requests in seconds, seen from the server",
                "seconds",
                histogram(),
                true,
            ),
            metric(
                "client_seconds",
                "Duration of requests in seconds, seen from the client",
                "seconds",
                histogram(),
                true,
            ),
        ];
        Schema::new(metrics.into_iter().chain(messaging)).limiting_labels()
    }

    /// Which labels there can be.
    pub(crate) fn labelling(&self) -> Labelling {
        let cut = |name: &str| self.limits.name(name).to_owned();
        let virtual_node = self.has_virtual_node_label.then(|| cut("virtual_node"));
        let mut possible: BTreeSet<String> = ["client", "server", "connection_type"]
            .map(cut)
            .into_iter()
            .chain(virtual_node)
            .collect();
        for dimension in &self.dimensions {
            if self.has_prefix {
                possible.insert(dimension.client_label.clone());
                possible.insert(dimension.server_label.clone());
            } else {
                possible.insert(dimension.label.clone());
            }
        }
        Labelling {
            possible: Some(possible),
            ..Labelling::default()
        }
    }

    /// The metrics of spans that make no edge, if they are on (D17).
    pub(crate) fn lost_schema(&self) -> Option<Schema> {
        let metric = |name: &str, help| Metric {
            name: format!("traces_service_graph_{name}"),
            help,
            unit: "",
            kind: MetricKind::Counter,
            sparse: true,
        };
        self.rules.count_lost.then(|| {
            Schema::new([
                metric("unpaired_spans_total", "Spans without a counterpart"),
                metric("dropped_spans_total", "Spans for which there was no room"),
            ])
        })
    }

    /// What the settings say of edges.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The part of a side that all spans of a resource share.
    pub(crate) fn resource_side(
        &self,
        values: Values<'_, '_>,
        scratch: &mut Vec<u8>,
    ) -> ResourceSide {
        let name = values.in_resource(self.service_name);
        scratch.clear();
        scratch.extend_from_slice(&self.sides_key.to_bytes());
        write_raw(name, scratch);
        for dimension in &self.dimensions {
            write_raw(values.in_resource(dimension.key), scratch);
        }
        ResourceSide {
            key: self.hasher.key(scratch),
            has_service: name.is_some_and(is_named),
        }
    }

    /// What a span is to the graph.
    #[inline]
    pub(crate) fn process(
        &self,
        span: &Span<'_>,
        values: Values<'_, '_>,
        resource: ResourceSide,
        scratch: &mut Vec<u8>,
        is_weight_invalid: &mut bool,
    ) -> Outcome {
        let (role, is_messaging) = match span.kind {
            2 => (Role::Server, false),
            3 => (Role::Client, false),
            4 => (Role::Client, true),
            5 => (Role::Server, true),
            1 if self.rules.bridge => (Role::Internal, false),
            _ => return Outcome::OtherKind,
        };
        let span_id = padded(span.span_id);
        let parent_span_id = padded(span.parent_span_id);
        let trace_id = padded(span.trace_id);
        let duration_ns = span
            .end_time_unix_nano
            .saturating_sub(span.start_time_unix_nano);
        let mut half = HalfEdge {
            key: EdgeKey { trace_id, span_id },
            role,
            parent_span_id,
            is_messaging,
            is_database: false,
            is_nameless_database: false,
            is_root: false,
            is_extra: false,
            is_failed: span.status_code == 2,
            is_sampled: span.is_sampled(),
            is_filtered: false,
            labels: LaneKey::default(),
            duration_ns,
            boundary_ns: span.end_time_unix_nano,
            weight: 1.0,
            source: 0,
        };
        if role == Role::Internal {
            return Outcome::Bridge(half);
        }
        if !resource.has_service {
            return Outcome::NoService;
        }
        let is_linked = self.use_span_links && span.kind == 5 && linked(*span).next().is_some();
        if role == Role::Server {
            half.key.span_id = parent_span_id;
            half.is_root = parent_span_id == [0; 8] && !is_linked;
            half.boundary_ns = span.end_time_unix_nano.saturating_sub(duration_ns);
        }
        half.is_filtered = !self.filter.admits(span, values);
        if !half.is_filtered {
            half.weight = self
                .multiplier
                .weight(span, values)
                .or_one(is_weight_invalid);
            self.write_side_key(values, resource, &mut half, scratch);
            half.labels = self.hasher.key(scratch);
        }
        if is_linked {
            Outcome::Linked(half)
        } else {
            Outcome::Half(half)
        }
    }

    #[inline]
    fn write_side_key(
        &self,
        values: Values<'_, '_>,
        resource: ResourceSide,
        half: &mut HalfEdge,
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        scratch.extend_from_slice(&resource.key.to_bytes());
        scratch.push(half.role as u8 | u8::from(half.is_root) << 2);
        for dimension in &self.dimensions {
            // What the resource has is in its key, and wins.
            if values.in_resource(dimension.key).is_none() {
                write_raw(values.in_span(dimension.key), scratch);
            }
        }
        if half.role == Role::Client || half.is_root {
            write_raw(self.peers.peer(values), scratch);
        }
        if half.role == Role::Client
            && let Some(database) = self.peers.database(values)
        {
            half.is_database = database.is_named();
            half.is_nameless_database = !half.is_database;
            database.write_key(scratch);
        }
    }

    /// The labels that a half gives to its edge.
    pub(crate) fn describe(
        &self,
        half: &HalfEdge,
        values: Values<'_, '_>,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        // The names are ours, or cut before.
        let limits = LabelLimits {
            name: 0,
            ..self.limits
        };
        let mut writer = LabelWriter::new(labels, limits);
        writer.value(SERVICE, values.in_resource(self.service_name))?;
        for dimension in &self.dimensions {
            writer.value(&dimension.label, values.dimension(dimension.key))?;
        }
        if half.role == Role::Client || half.is_root {
            writer.value(PEER, self.peers.peer(values))?;
        }
        if half.role == Role::Client
            && let Some(database) = self.peers.database(values)
        {
            database.write_label(DATABASE, &mut writer)?;
        }
        Ok(())
    }

    /// The labels of an edge.
    fn edge_labels(&self, edge: &EdgeLabels, labels: &mut LabelSetBuf) {
        let of = |side: &'_ Option<half_edge::SharedLabels>, name: &str| -> String {
            side.as_ref()
                .map_or_else(String::new, |side| side.get(name).to_owned())
        };
        let mut writer = LabelWriter::new(labels, self.limits);
        for dimension in &self.dimensions {
            let client = of(&edge.client, &dimension.label);
            let server = of(&edge.server, &dimension.label);
            if self.has_prefix {
                writer.text(&dimension.client_label, &client);
                writer.text(&dimension.server_label, &server);
            } else {
                writer.text(
                    &dimension.label,
                    if server.is_empty() { &client } else { &server },
                );
            }
        }
        let mut client = of(&edge.client, SERVICE);
        let mut server = of(&edge.server, SERVICE);
        match edge.connection {
            Connection::VirtualClient => {
                client = of(&edge.server, PEER);
                if client.is_empty() {
                    "user".clone_into(&mut client);
                }
            }
            Connection::VirtualServer => server = of(&edge.client, PEER),
            Connection::Database if server.is_empty() || !self.rules.observed.database_server => {
                server = of(&edge.client, DATABASE);
            }
            Connection::Database | Connection::Direct | Connection::Messaging => {}
        }
        writer.text("client", &client);
        writer.text("server", &server);
        writer.text("connection_type", edge.connection.label());
        if self.has_virtual_node_label {
            writer.text("virtual_node", edge.connection.virtual_node());
        }
    }

    /// The halves of a span for each of its links: messages that it consumed.
    pub(crate) fn linked_halves<'a>(
        &self,
        half: HalfEdge,
        span: &Span<'a>,
    ) -> impl Iterator<Item = HalfEdge> + use<'a> {
        linked(*span).enumerate().map(move |(index, key)| HalfEdge {
            key,
            is_extra: index > 0,
            // The flags are those of the span's own trace.
            is_sampled: false,
            ..half
        })
    }
}

/// The spans that a span has links to.
fn linked<'a>(span: Span<'a>) -> impl Iterator<Item = EdgeKey> + use<'a> {
    let links = span.links().map_while(Result::ok).take(MAX_LINKS);
    links.filter_map(|link| {
        let is_id = |id: &[u8], length| id.len() <= length && id.iter().any(|byte| *byte != 0);
        let is_valid = is_id(link.trace_id, 16) && is_id(link.span_id, 8);
        is_valid.then(|| EdgeKey {
            trace_id: padded(link.trace_id),
            span_id: padded(link.span_id),
        })
    })
}

/// Whether a value names something.
fn is_named(value: AnyValue<'_>) -> bool {
    !matches!(value, AnyValue::Empty | AnyValue::String([]))
}
