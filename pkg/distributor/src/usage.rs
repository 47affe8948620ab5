//! Cost attribution: received bytes and spans of each tenant, by attributes of its
//! choice, so that whoever pays for all of it can share the bill.
//!
//! What is attributed to a tenant's label sets adds up to the bytes that were received
//! from it, exactly.

mod labelling;
mod shares;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::{Clock, TenantId};
use otlp::{KeyValue, ResourceSpans, Span};
use overrides::Overrides;
use parking_lot::{Mutex, RwLock};
use server::gzip;

use self::labelling::{Labelling, Values};
use self::shares::{Content, Part, parts};
use crate::config::CostAttributionConfig;

/// Where the page is, as in Tempo.
const PATH: &str = "/usage_metrics";

const NOT_ENABLED: &str =
    "nothing is attributed here: distributor.usage.cost_attribution.enabled is false\n";

const CONTENT_TYPE_OF_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Tenants with label sets of their own; ids are free to choose unless something in
/// front checks them.
const MAX_TENANTS: usize = 20_000;

/// The `tenant` of those beyond [`MAX_TENANTS`]; no tenant id can be this.
const OTHER_TENANTS: &str = "<other>";

/// How often label sets are looked through for those that are stale.
const SWEEP: Duration = Duration::from_secs(60);

/// Attributes received bytes and spans. Cloning is cheap and shares what is counted.
///
/// Off, which is the default, it does nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct UsageTracker(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    config: CostAttributionConfig,
    overrides: Overrides,
    clock: Clock,
    max_tenants: usize,
    tenants: RwLock<HashMap<Arc<str>, Arc<Mutex<Table>>>>,
    /// When they were last swept, in nanoseconds since the Unix epoch.
    swept: Mutex<u64>,
}

/// One tenant's label sets.
#[derive(Debug, Default)]
struct Table {
    labelling: Labelling,
    values: Values,
    /// By labels in Prometheus' text format.
    rows: HashMap<Box<str>, Row>,
    max_rows: u64,
    /// The time of the push under way.
    now: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    bytes: u64,
    spans: u64,
    /// Of the last span, in nanoseconds since the Unix epoch.
    used: u64,
}

impl UsageTracker {
    /// One that attributes if the configuration says so, by what overrides say of each
    /// tenant.
    pub fn new(config: &CostAttributionConfig, overrides: Overrides, clock: Clock) -> Self {
        Self(config.enabled.then(|| {
            Arc::new(Shared {
                config: config.clone(),
                overrides,
                swept: Mutex::new(clock.unix_nanos()),
                clock,
                max_tenants: MAX_TENANTS,
                tenants: RwLock::default(),
            })
        }))
    }

    /// Attributes the bytes of a request whose frame is good.
    pub(crate) fn received(&self, tenant: &TenantId, request: &[u8]) {
        if let Some(shared) = &self.0 {
            shared.received(tenant, request);
        }
    }

    /// `/usage_metrics` for Prometheus; off, it says so.
    pub fn routes(&self) -> Router {
        Router::new()
            .route(PATH, get(page))
            .with_state(self.clone())
    }

    /// What was attributed, in Prometheus' text format 0.0.4; `None` if it is off.
    pub fn text(&self) -> Option<String> {
        Some(self.0.as_ref()?.text())
    }
}

impl Shared {
    fn received(&self, tenant: &TenantId, request: &[u8]) {
        let now = self.clock.unix_nanos();
        self.sweep_if_due(now);
        let config = self.overrides.for_tenant(tenant);
        let (table, is_other) = self.table(tenant);
        let mut table = table.lock();
        let none = BTreeMap::new();
        let config = &config.cost_attribution;
        table.max_rows = match config.max_cardinality {
            0 => self.config.max_cardinality,
            own => own,
        };
        table.now = now;
        let dimensions = if is_other { &none } else { &config.dimensions };
        if !table.labelling.is_of(dimensions) {
            table.labelling = Labelling::new(dimensions);
        }
        table.attribute(request);
    }

    /// A tenant's table, and whether it is that of all who are too many.
    fn table(&self, tenant: &TenantId) -> (Arc<Mutex<Table>>, bool) {
        if let Some(table) = self.tenants.read().get(tenant.as_str()) {
            return (Arc::clone(table), false);
        }
        let mut tenants = self.tenants.write();
        let is_full = tenants.len() >= self.max_tenants && !tenants.contains_key(tenant.as_str());
        let name = if is_full {
            OTHER_TENANTS
        } else {
            tenant.as_str()
        };
        let table = tenants.entry(Arc::from(name)).or_default();
        (Arc::clone(table), is_full)
    }

    fn sweep_if_due(&self, now: u64) {
        let Some(mut swept) = self.swept.try_lock() else {
            return;
        };
        if Duration::from_nanos(now.saturating_sub(*swept)) >= SWEEP {
            *swept = now;
            self.sweep(now);
        }
    }

    /// Forgets what is stale, and tenants that have nothing else.
    ///
    /// Whoever is under way holds a clone of a table, and no clone can be made while
    /// the map is locked, so nothing is added to a table that is gone.
    fn sweep(&self, now: u64) {
        let stale = u64::try_from(self.config.stale_duration.as_nanos()).unwrap_or(u64::MAX);
        let tables: Vec<_> = self.tenants.read().values().cloned().collect();
        for table in tables {
            let mut table = table.lock();
            table
                .rows
                .retain(|_, row| now.saturating_sub(row.used) < stale);
        }
        let is_in_use = |table: &mut Arc<Mutex<Table>>| {
            Arc::get_mut(table).is_none_or(|table| !table.get_mut().rows.is_empty())
        };
        self.tenants.write().retain(|_, table| is_in_use(table));
    }

    fn text(&self) -> String {
        self.sweep(self.clock.unix_nanos());
        let mut tenants: Vec<_> = {
            let tenants = self.tenants.read();
            let pairs = tenants.iter();
            pairs
                .map(|(name, table)| (Arc::clone(name), Arc::clone(table)))
                .collect()
        };
        tenants.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        // Tempo's name; and its counterpart, which Tempo has not.
        const BYTES: &str = "tempo_usage_tracker_bytes_received_total";
        const SPANS: &str = "spanmill_usage_tracker_spans_received_total";
        let mut bytes = format!(
            "# HELP {BYTES} Bytes of requests received, as decompressed protobuf\n\
             # TYPE {BYTES} counter\n"
        );
        let mut spans = format!("# HELP {SPANS} Spans received\n# TYPE {SPANS} counter\n");
        for (tenant, table) in tenants {
            let table = table.lock();
            let mut rows: Vec<_> = table.rows.iter().collect();
            rows.sort_unstable_by_key(|(labels, _)| *labels);
            for (labels, row) in rows {
                let own = format!("tenant=\"{tenant}\",tracker=\"cost-attribution\"");
                // Writing to a string does not fail.
                let _ = writeln!(bytes, "{BYTES}{{{labels}{own}}} {}", row.bytes);
                let _ = writeln!(spans, "{SPANS}{{{labels}{own}}} {}", row.spans);
            }
        }
        bytes + &spans
    }
}

impl Table {
    fn attribute(&mut self, request: &[u8]) {
        let whole = request.len() as u64;
        let content = Content::of_request(request);
        let mut shares = content.shares(whole);
        if content.spans == 0 {
            if whole > 0 {
                self.values.begin_resource(&self.labelling);
                self.add(whole, 0);
            }
            return;
        }
        for resource in parts(request, 1) {
            let content = Content::of_resource(resource.message);
            if content.spans == 0 {
                continue;
            }
            self.values.begin_resource(&self.labelling);
            let attributes = ResourceSpans::new(resource.message).attributes();
            for attribute in attributes.map_while(Result::ok) {
                self.values.resource_attribute(&self.labelling, attribute);
            }
            if !self.labelling.looks_at_spans() {
                self.add(resource.bytes + shares.take(content.spans), content.spans);
                continue;
            }
            let mut of_resource = content.shares(resource.bytes);
            for scope in parts(resource.message, 2) {
                let mut of_scope = Content::of_scope(scope.message).shares(scope.bytes);
                for span in parts(scope.message, 2) {
                    let above = of_scope.take(1) + of_resource.take(1) + shares.take(1);
                    self.span(span, above);
                }
            }
        }
    }

    /// Adds a span that has so many bytes of what is above it.
    fn span(&mut self, span: Part<'_>, above: u64) {
        self.values.begin_span(&self.labelling);
        let (labelling, values) = (&self.labelling, &mut self.values);
        // Where a span ends to be protobuf, what was read until there counts.
        let _ = Span::parse_with(span.message, |attribute| {
            values.span_attribute(labelling, KeyValue::parse(attribute)?);
            Ok(())
        });
        self.add(span.bytes + above, 1);
    }

    /// Adds to the label set of the values that were taken.
    fn add(&mut self, bytes: u64, spans: u64) {
        let labels = self.values.labels(&self.labelling);
        let is_full = self.rows.len() as u64 >= self.max_rows;
        let labels = match is_full && !self.rows.contains_key(labels) {
            true => self.labelling.overflow(),
            false => labels,
        };
        let row = match self.rows.get_mut(labels) {
            Some(row) => row,
            None => self.rows.entry(labels.into()).or_default(),
        };
        row.bytes += bytes;
        row.spans += spans;
        row.used = self.now;
    }
}

async fn page(State(usage): State<UsageTracker>, headers: HeaderMap) -> Response {
    if usage.0.is_none() {
        return (StatusCode::NOT_FOUND, NOT_ENABLED).into_response();
    }
    let write = move || usage.text().unwrap_or_default();
    gzip::text_page(&headers, CONTENT_TYPE_OF_TEXT, write).await
}

#[cfg(test)]
mod tests;
