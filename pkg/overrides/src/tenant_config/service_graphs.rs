//! What service graphs make.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span_metrics::{FilterPolicy, exponential_buckets};

/// Settings of the service-graphs processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceGraphsConfig {
    /// How long half an edge waits for its other half. Default: 10s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub wait: Duration,
    /// Half edges that may wait at once; further spans are dropped and counted.
    /// One takes about 100 bytes. Default: 1,000,000 (Tempo: 10,000).
    pub max_items: u64,
    /// Accepted for compatibility: one timer expires all edges.
    pub workers: u64,
    /// Upper bounds of the latency histograms, in seconds. Default: 0.1 to
    /// 12.8, doubling.
    pub histogram_buckets: Vec<f64>,
    /// Attributes that become labels. Default: none.
    pub dimensions: Vec<String>,
    /// Whether a dimension becomes two labels, `client_` and `server_`.
    /// Default: false.
    pub enable_client_server_prefix: bool,
    /// Whether the time from producer to consumer has a histogram. Default: false.
    pub enable_messaging_system_latency_histogram: bool,
    /// Whether an edge to a virtual node says so in a label. Default: false.
    pub enable_virtual_node_label: bool,
    /// Span attributes that name the other side where it is not instrumented;
    /// the first that is there counts.
    pub peer_attributes: Vec<String>,
    /// Attributes that tell a database; the first that is there counts.
    pub database_name_attributes: Vec<String>,
    /// Attribute with the share of spans that was kept; empty for none.
    pub span_multiplier_key: String,
    /// Whether the sampling probability in `tracestate` counts: its threshold
    /// `ot=th:`, or else the older exponent `ot=p:`. Default: false.
    pub enable_tracestate_span_multiplier: bool,
    /// Which spans count. Default: all.
    pub filter_policies: Vec<FilterPolicy>,
    /// Whether 0 s is observed for a side that is not instrumented, as Tempo
    /// does. Default: false.
    pub observe_absent_side: bool,
    /// Whether unpaired and dropped spans have metrics. Default: false.
    pub enable_unpaired_metrics: bool,
    /// Whether an edge to a database waits for a server span. Default: false.
    pub database_wait_for_server: bool,
    /// Whether internal spans between a client and a server are bridged.
    /// Default: false.
    pub bridge_internal_spans: bool,
    /// Whether span links, the first 128 of a span, join producers and consumers.
    /// Default: false.
    pub use_span_links: bool,
}

impl Default for ServiceGraphsConfig {
    fn default() -> Self {
        let names = |names: [&str; 3]| names.map(str::to_owned).into();
        Self {
            wait: Duration::from_secs(10),
            max_items: 1_000_000,
            workers: 10,
            histogram_buckets: exponential_buckets(0.1, 8),
            dimensions: Vec::new(),
            enable_client_server_prefix: false,
            enable_messaging_system_latency_histogram: false,
            enable_virtual_node_label: false,
            peer_attributes: names(["peer.service", "db.name", "db.system"]),
            database_name_attributes: names(["db.namespace", "db.name", "db.system"]),
            span_multiplier_key: String::new(),
            enable_tracestate_span_multiplier: false,
            filter_policies: Vec::new(),
            observe_absent_side: false,
            enable_unpaired_metrics: false,
            database_wait_for_server: false,
            bridge_internal_spans: false,
            use_span_links: false,
        }
    }
}
