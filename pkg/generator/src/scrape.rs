//! Generated series for a scraper, one tenant a scrape.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use lifecycle::TaskGroup;
use model::TenantId;
use overrides::HistogramMode;
use serde::Deserialize;
use serde_json::json;
use server::Tenancy;
use server::gzip::{GZIP, Gzip};
use tokio::sync::mpsc;

use crate::Generator;
use crate::exposition::{Exposition, Format, Negotiated, Protobuf, ScrapeLabels, Text};
use crate::instance::Instance;

/// Bytes that are sent at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait for a slow scraper; the walk waits behind them, not pushes.
const CHUNKS: usize = 4;

#[derive(Clone, Debug)]
struct Scrape {
    generator: Generator,
    tenancy: Tenancy,
    tasks: TaskGroup,
    address: SocketAddr,
    /// Where a tenant's series are scraped.
    path: Arc<str>,
}

/// The query of a scrape.
#[derive(Clone, Debug, Default, Deserialize)]
struct Parameters {
    tenant: Option<String>,
}

impl Generator {
    /// `GET /metrics/generated` and `/metrics/generated/targets`, as routes for
    /// the listener at `address`. `prefix` stands before both: empty, or a path
    /// such as `/tempo`.
    pub fn scrape_routes(
        &self,
        tenancy: Tenancy,
        tasks: &TaskGroup,
        address: SocketAddr,
        prefix: &str,
    ) -> axum::Router {
        let path = format!("{prefix}/metrics/generated");
        axum::Router::new()
            .route(&path, get(metrics))
            .route(&format!("{path}/targets"), get(targets))
            .with_state(Scrape {
                generator: self.clone(),
                tenancy,
                tasks: tasks.clone(),
                address,
                path: path.into(),
            })
    }
}

async fn metrics(
    State(scrape): State<Scrape>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let tenant = match scrape.tenant(&parameters, &headers) {
        Ok(tenant) => tenant,
        Err(problem) => return (StatusCode::UNAUTHORIZED, problem + "\n").into_response(),
    };
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let accept = accept.unwrap_or_default();
    let content_type = |negotiated: Negotiated| {
        let varies = HeaderValue::from_static("accept, accept-encoding");
        let content_type = HeaderValue::from_str(&negotiated.content_type());
        // Nothing of the request is in it.
        let content_type = content_type.unwrap_or(HeaderValue::from_static("text/plain"));
        [(CONTENT_TYPE, content_type), (VARY, varies)]
    };
    let Some(instance) = scrape.generator.instance(&tenant) else {
        // A tenant without spans yet is scraped as one without series.
        let negotiated = Negotiated::of(accept, false);
        let mut nothing = Text::new(negotiated.format, ScrapeLabels::default());
        nothing.end();
        return (content_type(negotiated), nothing.take()).into_response();
    };
    let histograms = instance.config().registry.generate_native_histograms;
    let negotiated = Negotiated::of(accept, histograms != HistogramMode::Classic);
    let content_type = content_type(negotiated);
    let (chunks, mut receiver) = mpsc::channel(CHUNKS);
    let gzip = server::gzip::is_accepted(&headers).then(Gzip::new);
    let encoding = gzip.is_some().then_some([(CONTENT_ENCODING, GZIP)]);
    scrape.tasks.spawn_thread("scrape", move || {
        let scrape_labels = ScrapeLabels {
            external_labels: instance.external_labels(),
            trace_id_label: instance.config().registry.trace_id_label_name.clone(),
            escaping: negotiated.escaping,
        };
        let chunks = Chunks { chunks, gzip };
        match negotiated.format {
            Format::Protobuf => write(&instance, Protobuf::new(scrape_labels), chunks),
            format => write(&instance, Text::new(format, scrape_labels), chunks),
        }
    });
    let body = futures_util::stream::poll_fn(move |context| match receiver.poll_recv(context) {
        Poll::Ready(chunk) => Poll::Ready(chunk.map(Ok::<Bytes, io::Error>)),
        Poll::Pending => Poll::Pending,
    });
    (content_type, encoding, Body::from_stream(body)).into_response()
}

impl Scrape {
    /// The tenant of the header, or of `?tenant=`; both must agree.
    fn tenant(&self, parameters: &Parameters, headers: &HeaderMap) -> Result<TenantId, String> {
        let Some(named) = parameters.tenant.as_deref() else {
            let tenant = self.tenancy.tenant(headers);
            return tenant.map_err(|error| format!("{error}, or ask with ?tenant="));
        };
        if !self.tenancy.multitenancy_enabled {
            return Ok(TenantId::single());
        }
        let named = TenantId::parse(named).map_err(|error| format!("?tenant=: {error}"))?;
        let has_header = headers.contains_key(server::tenancy::TENANT_HEADER);
        if has_header && self.tenancy.tenant(headers).ok().as_ref() != Some(&named) {
            return Err("X-Scope-OrgID and ?tenant= disagree".to_owned());
        }
        Ok(named)
    }
}

/// Writes all series of a tenant, chunk by chunk, until the scraper has gone.
fn write(instance: &Arc<Instance>, mut exposition: impl Exposition, mut chunks: Chunks) {
    let now_ms = instance.scraped();
    let registry = instance.registry();
    for family in registry.families(now_ms) {
        exposition.family(&family);
        let mut is_open = true;
        registry.walk(&family, now_ms, &mut exposition, |exposition| {
            is_open = exposition.len() < CHUNK || chunks.send(exposition.take());
            is_open
        });
        if !is_open {
            return;
        }
    }
    exposition.end();
    chunks.finish(exposition.take());
}

/// The way of an answer to the scraper.
struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    gzip: Option<Gzip>,
}

impl Chunks {
    /// Takes a piece; says whether the scraper is still there.
    fn send(&mut self, piece: Bytes) -> bool {
        let Some(gzip) = &mut self.gzip else {
            return self.chunk(piece);
        };
        gzip.push(&piece);
        if gzip.ready() < CHUNK {
            return !self.chunks.is_closed();
        }
        let ready = gzip.take();
        self.chunk(ready.into())
    }

    /// Sends the last piece.
    fn finish(mut self, piece: Bytes) {
        if self.send(piece)
            && let Some(gzip) = self.gzip.take()
        {
            self.chunk(gzip.finish().into());
        }
    }

    fn chunk(&self, chunk: Bytes) -> bool {
        self.chunks.blocking_send(chunk).is_ok()
    }
}

/// All tenants, in the form of Prometheus' `http_sd_configs`.
async fn targets(State(scrape): State<Scrape>, headers: HeaderMap) -> Json<serde_json::Value> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let address = host.map_or_else(|| scrape.address.to_string(), str::to_owned);
    let tenants = scrape.generator.tenants().into_iter().map(|tenant| {
        json!({
            "targets": [address],
            "labels": {
                "__metrics_path__": &*scrape.path,
                "__param_tenant": tenant.as_str(),
                "tenant": tenant.as_str(),
            },
        })
    });
    Json(tenants.collect())
}
