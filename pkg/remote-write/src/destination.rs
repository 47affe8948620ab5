//! A receiver as it is configured, ready to be sent to; shared by the tenants that
//! have the same.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderMap;
use model::{Clock, TenantId};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use settings::Secret;
use telemetry::LogThrottle;

use crate::client::{Client, endpoint_headers};
use crate::config::EndpointConfig;
use crate::error::StartError;
use crate::gate::Gate;
use crate::headers;
use crate::metrics::RemoteWriteMetrics;
use crate::protocol::Negotiation;
use crate::relabel::Relabeller;

/// How often failures of a destination are logged; every one is counted.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A receiver, ready to be sent to.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) config: EndpointConfig,
    /// The `endpoint` label of metrics.
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) negotiation: Negotiation,
    pub(crate) relabeller: Arc<Relabeller>,
    /// How long requests take.
    pub(crate) durations: Histogram,
    /// Requests that had to be sent in 1.0 after all.
    pub(crate) fallbacks: Counter,
    pub(crate) failure_log: LogThrottle,
    pub(crate) refusal_log: LogThrottle,
    pub(crate) fallback_log: LogThrottle,
    /// Who may try it.
    pub(crate) gate: Gate,
    /// Whether the last attempt, of whichever tenant, got no answer.
    is_silent: AtomicBool,
    headers: HeaderMap,
    clock: Clock,
}

/// The destinations that are in use, each once.
#[derive(Debug)]
pub(crate) struct Destinations {
    metrics: RemoteWriteMetrics,
    clock: Clock,
    add_org_id_header: bool,
    known: Mutex<Known>,
}

/// Destinations by name and address.
type Known = HashMap<(String, String), Vec<Weak<Destination>>>;

impl Destination {
    fn new(
        config: &EndpointConfig,
        name: &str,
        clock: Clock,
        metrics: &RemoteWriteMetrics,
    ) -> Result<Self, StartError> {
        if let Some((key, problem)) = config.validate().into_iter().next() {
            return Err(StartError::Invalid { key, problem });
        }
        let relabeller =
            Relabeller::new(&config.write_relabel_configs).map_err(|(place, problem)| {
                StartError::Invalid {
                    key: format!("write_relabel_configs[{place}]"),
                    problem,
                }
            })?;
        Ok(Self {
            client: Client::new(config, clock.clone())?,
            headers: endpoint_headers(config)?,
            negotiation: Negotiation::new(config.protobuf_message, clock.clone()),
            relabeller: Arc::new(relabeller),
            durations: metrics.durations(name),
            fallbacks: metrics.fallbacks(name),
            failure_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            refusal_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            fallback_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            gate: Gate::new(
                config.queue_config.min_backoff,
                config.queue_config.max_backoff,
            ),
            is_silent: AtomicBool::new(false),
            name: name.to_owned(),
            config: config.clone(),
            clock,
        })
    }

    /// Notes whether an attempt got no answer.
    pub(crate) fn note_silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Whether the last attempt got no answer: then that of another tenant will
    /// probably get none, either.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Whether samples of a time are older than the destination is to get.
    pub(crate) fn is_too_old(&self, timestamp_ms: i64) -> bool {
        let limit = self.config.queue_config.sample_age_limit.as_millis();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        limit > 0 && timestamp_ms.saturating_add(limit) < self.clock.unix_millis()
    }
}

impl Destinations {
    /// None yet.
    pub(crate) fn new(metrics: RemoteWriteMetrics, clock: Clock, add_org_id_header: bool) -> Self {
        Self {
            metrics,
            clock,
            add_org_id_header,
            known: Mutex::default(),
        }
    }

    /// The destination of a configuration, which may be that of another tenant.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub(crate) fn get(
        &self,
        config: &EndpointConfig,
        name: &str,
    ) -> Result<Arc<Destination>, StartError> {
        let key = (name.to_owned(), config.url.expose().to_owned());
        let mut known = self.known.lock();
        let alike = match known.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Vec::new()),
        };
        alike.retain(|destination| destination.strong_count() > 0);
        let mut alive = alike.iter().filter_map(Weak::upgrade);
        if let Some(destination) = alive.find(|destination| destination.config == *config) {
            return Ok(destination);
        }
        let destination =
            Destination::new(config, name, self.clock.clone(), &self.metrics).map(Arc::new)?;
        alike.push(Arc::downgrade(&destination));
        Ok(destination)
    }

    /// The headers of a tenant's requests to a destination.
    pub(crate) fn headers(
        &self,
        tenant: &TenantId,
        destination: &Destination,
        own: &BTreeMap<String, Secret>,
    ) -> Arc<HeaderMap> {
        let mut merged = destination.headers.clone();
        for (header, problem) in headers::overlay(&mut merged, own) {
            tracing::warn!(%tenant, header, problem, "remote_write_headers has a header that is not sent");
        }
        if self.add_org_id_header {
            headers::add_org_id(&mut merged, tenant.as_str());
        }
        Arc::new(merged)
    }
}

/// The endpoints' names in metrics and logs, each once.
pub(crate) fn names(configs: &[EndpointConfig]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for config in configs {
        let base = if config.name.is_empty() {
            config.parsed_url().map_or_else(
                |_| "invalid".to_owned(),
                |url| match (url.host_str(), url.port_or_known_default()) {
                    (Some(host), Some(port)) => format!("{host}:{port}"),
                    _ => url.host_str().unwrap_or_default().to_owned(),
                },
            )
        } else {
            config.name.clone()
        };
        let mut name = base.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}
