//! Forwarders: spans also sent on to OTLP endpoints, by the names that overrides have
//! for each tenant.
//!
//! One that is required comes before metrics: the client's OK means that its endpoints
//! have the spans, and what one of them does not take is refused, so that the client
//! sends it again; then only those get it that have not taken it. All others have queues
//! of their own, and never stand in the way.

mod error;
mod filter;
mod metrics;
mod ottl;
mod queue;
mod taken;
mod target;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use overrides::Overrides;
use parking_lot::Mutex;
use telemetry::LogThrottle;
use tokio::time::Instant;

use self::filter::{Filter, spans_of};
use self::metrics::{ForwardResult, OneForwarder};
use self::queue::{NotQueued, Queue, QueueLimits, Waiting};
use self::taken::{RequestKey, RequestKeys, Taken};
use self::target::{Answer, Target};
use crate::config::ForwarderConfig;

pub use self::error::{ForwardError, ForwarderStartError};
pub use self::metrics::ForwarderMetrics;
pub(crate) use self::ottl::{Condition, Context};
pub(crate) use self::target::address;

/// Requests that are on their way to an endpoint at once, each of another tenant.
const WORKERS: usize = 4;

/// When to try again where an endpoint does not say: this, and each time twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait where an endpoint does not say.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// When a client is to try again where a required endpoint does not say.
const CLIENT_RETRY: Duration = Duration::from_secs(1);

/// Time between two log lines about one endpoint.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Sends spans on. Cloning is cheap and shares queues and connections.
///
/// Without forwarders, which is the default, it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Forwarders(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    overrides: Overrides,
    by_name: HashMap<String, Arc<Forwarder>>,
    keys: RequestKeys,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Forwarder {
    name: String,
    is_required: bool,
    filter: Filter,
    max_elapsed_time: Duration,
    endpoints: Vec<Endpoint>,
    metrics: OneForwarder,
}

#[derive(Debug)]
struct Endpoint {
    /// As it is configured.
    name: String,
    /// Its bit in [`Taken`].
    bit: u64,
    target: Target,
    queue: Queue,
    log: LogThrottle,
}

impl Forwarders {
    /// Starts forwarders whose configuration is valid, and their tasks, which send what
    /// waits once each after shutdown, and end.
    ///
    /// # Errors
    ///
    /// What the first of them lacks.
    pub fn start(
        configs: &[ForwarderConfig],
        overrides: Overrides,
        metrics: &ForwarderMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, ForwarderStartError> {
        if configs.is_empty() {
            return Ok(Self::default());
        }
        let mut by_name = HashMap::new();
        let mut next_bit = 1_u64;
        for config in configs {
            let forwarder = Arc::new(Forwarder::new(config, metrics, &mut next_bit)?);
            by_name.insert(config.name.clone(), forwarder);
        }
        for forwarder in by_name.values().filter(|forwarder| !forwarder.is_required) {
            for index in 0..forwarder.endpoints.len() {
                for _ in 0..WORKERS {
                    let (forwarder, shutdown) = (Arc::clone(forwarder), shutdown.clone());
                    tasks.spawn("forwarder", async move {
                        forwarder.work(index, &shutdown).await;
                    });
                }
            }
        }
        Ok(Self(Some(Arc::new(Shared {
            overrides,
            by_name,
            keys: RequestKeys::new(),
            taken: Mutex::new(Taken::new(Instant::now())),
        }))))
    }

    /// Sends a request to the tenant's required forwarders; gives what they have to say
    /// to the client, which is empty unless they took a part only.
    ///
    /// Not cancel-safe: whether a request was taken that is dropped is unknown.
    ///
    /// # Errors
    ///
    /// [`ForwardError`], if one of them did not take it.
    pub(crate) async fn require(
        &self,
        tenant: &TenantId,
        request: &Bytes,
    ) -> Result<String, ForwardError> {
        let Some(shared) = &self.0 else {
            return Ok(String::new());
        };
        let required = shared.of(tenant, true);
        if required.is_empty() {
            return Ok(String::new());
        }
        let key = shared.keys.key(tenant, request);
        let taken_by = shared.taken.lock().by(key, Instant::now());
        let sends = required.iter().flat_map(|forwarder| {
            let request = forwarder.filtered(request);
            let endpoints = forwarder.endpoints.iter();
            endpoints.map(move |endpoint| {
                let request = request.clone();
                shared.send_once(forwarder, endpoint, tenant, request, (key, taken_by))
            })
        });
        let mut message = String::new();
        let mut refused = None;
        for answer in join_all(sends).await {
            match answer {
                Ok(said) if said.is_empty() => {}
                Ok(said) if message.is_empty() => message = said,
                Ok(said) => message = format!("{message}; {said}"),
                Err(error @ ForwardError::Unavailable { .. }) => return Err(error),
                Err(error @ ForwardError::Refused { .. }) => refused = Some(error),
            }
        }
        refused.map_or(Ok(message), Err)
    }

    /// Leaves a request to the tenant's other forwarders.
    pub(crate) fn offer(&self, tenant: &TenantId, request: &Bytes) {
        let Some(shared) = &self.0 else { return };
        for forwarder in shared.of(tenant, false) {
            for endpoint in &forwarder.endpoints {
                let length = i64::try_from(request.len()).unwrap_or(i64::MAX);
                let why = match endpoint.queue.push(tenant, request.clone()) {
                    Ok(()) => {
                        forwarder.metrics.queued_bytes.inc_by(length);
                        continue;
                    }
                    Err(NotQueued::Full) => ForwardResult::QueueFull,
                    Err(NotQueued::Stopped) => ForwardResult::Stopped,
                };
                forwarder.lost(endpoint, why, tenant, request, "");
            }
        }
    }
}

impl Shared {
    /// The tenant's forwarders, each once, in the order of overrides.
    fn of(&self, tenant: &TenantId, is_required: bool) -> Vec<&Arc<Forwarder>> {
        let config = self.overrides.for_tenant(tenant);
        let mut found: Vec<&Arc<Forwarder>> = Vec::new();
        for forwarder in config
            .forwarders
            .iter()
            .filter_map(|name| self.by_name.get(name))
        {
            let is_new = found.iter().all(|other| !Arc::ptr_eq(other, forwarder));
            if is_new && forwarder.is_required == is_required {
                found.push(forwarder);
            }
        }
        found
    }

    /// Sends a request to an endpoint, unless it has taken it already. Its key comes with
    /// the endpoints that have.
    async fn send_once(
        &self,
        forwarder: &Forwarder,
        endpoint: &Endpoint,
        tenant: &TenantId,
        request: Option<Bytes>,
        (key, taken_by): (RequestKey, u64),
    ) -> Result<String, ForwardError> {
        let metrics = &forwarder.metrics;
        let Some(request) = request else {
            metrics.ended(ForwardResult::Filtered);
            return Ok(String::new());
        };
        if taken_by & endpoint.bit != 0 {
            metrics.ended(ForwardResult::Repeated);
            return Ok(String::new());
        }
        let name = forwarder.name.clone();
        let answer = endpoint.target.send(tenant, request).await;
        if matches!(answer, Answer::Taken | Answer::Partial { .. }) {
            self.taken.lock().add(key, endpoint.bit, Instant::now());
        }
        match answer {
            Answer::Taken => {
                metrics.ended(ForwardResult::Taken);
                Ok(String::new())
            }
            Answer::Partial { refused, reason } => {
                metrics.lost(ForwardResult::Partial, refused);
                Ok(format!(
                    "forwarder {name} refused {refused} spans: {reason}"
                ))
            }
            Answer::Retry { after, reason } => {
                metrics.ended(ForwardResult::Unavailable);
                forwarder.warn(
                    endpoint,
                    tenant,
                    &reason,
                    "spans are refused until it takes them",
                );
                Err(ForwardError::Unavailable {
                    forwarder: name,
                    reason,
                    retry_after: after.unwrap_or(CLIENT_RETRY),
                })
            }
            Answer::Refused { reason } => {
                metrics.ended(ForwardResult::Refused);
                forwarder.warn(endpoint, tenant, &reason, "it refused a request");
                Err(ForwardError::Refused {
                    forwarder: name,
                    reason,
                })
            }
        }
    }
}

impl Forwarder {
    fn new(
        config: &ForwarderConfig,
        metrics: &ForwarderMetrics,
        next_bit: &mut u64,
    ) -> Result<Self, ForwarderStartError> {
        let conditions = |texts: &[String], context| {
            let parsed = texts.iter().map(|text| {
                Condition::parse(text, context).map_err(|_| ForwarderStartError::Condition {
                    forwarder: config.name.clone(),
                    condition: text.clone(),
                })
            });
            parsed.collect::<Result<Vec<_>, _>>()
        };
        let limits = QueueLimits {
            requests: config.queue_size,
            bytes: config.queue_bytes.as_usize(),
            total_bytes: config.total_queue_bytes.as_usize(),
        };
        let endpoints = config.otlpgrpc.endpoints.iter().map(|name| {
            let bit = *next_bit;
            *next_bit = next_bit.rotate_left(1);
            Ok(Endpoint {
                name: name.clone(),
                bit,
                target: Target::new(config, name)?,
                queue: Queue::new(limits),
                log: LogThrottle::new(LOG_INTERVAL),
            })
        });
        Ok(Self {
            name: config.name.clone(),
            is_required: config.required,
            filter: Filter {
                spans: conditions(&config.filter.traces.span, Context::Span)?,
                events: conditions(&config.filter.traces.spanevent, Context::SpanEvent)?,
            },
            max_elapsed_time: config.max_elapsed_time,
            endpoints: endpoints.collect::<Result<_, ForwarderStartError>>()?,
            metrics: metrics.of(&config.name),
        })
    }

    /// What of a request is to be sent, if anything.
    fn filtered(&self, request: &Bytes) -> Option<Bytes> {
        let filtered = self.filter.apply(request);
        self.metrics.filtered(filtered.dropped_spans);
        filtered.request
    }

    /// Sends what waits for an endpoint, until shutdown.
    async fn work(&self, endpoint: usize, shutdown: &Shutdown) {
        let Some(endpoint) = self.endpoints.get(endpoint) else {
            return;
        };
        while let Some((tenant, waiting)) = endpoint.queue.next(shutdown).await {
            let length = waiting.request.len();
            if let Some((waiting, after)) = self.deliver(endpoint, &tenant, waiting, shutdown).await
            {
                endpoint.queue.retry(tenant, waiting, after);
                continue;
            }
            endpoint.queue.done(&tenant, length);
            let length = i64::try_from(length).unwrap_or(i64::MAX);
            self.metrics.queued_bytes.dec_by(length);
        }
    }

    /// Sends a request; gives it back if it is to be tried again, and when.
    async fn deliver(
        &self,
        endpoint: &Endpoint,
        tenant: &TenantId,
        waiting: Waiting,
        shutdown: &Shutdown,
    ) -> Option<(Waiting, Duration)> {
        let filtered = self.filter.apply(&waiting.request);
        if waiting.failures == 0 {
            self.metrics.filtered(filtered.dropped_spans);
        }
        let Some(request) = filtered.request else {
            self.metrics.ended(ForwardResult::Filtered);
            return None;
        };
        match endpoint.target.send(tenant, request).await {
            Answer::Taken => self.metrics.ended(ForwardResult::Taken),
            Answer::Partial { refused, reason } => {
                self.metrics.lost(ForwardResult::Partial, refused);
                self.warn(endpoint, tenant, &reason, "it refused spans of a request");
            }
            Answer::Refused { reason } => {
                self.lost(
                    endpoint,
                    ForwardResult::Refused,
                    tenant,
                    &waiting.request,
                    &reason,
                );
            }
            Answer::Retry { reason, .. } if shutdown.is_triggered() => {
                self.lost(
                    endpoint,
                    ForwardResult::Stopped,
                    tenant,
                    &waiting.request,
                    &reason,
                );
            }
            Answer::Retry { after, reason } => {
                let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(waiting.failures));
                let after = after.unwrap_or(doubled.min(LAST_RETRY));
                if waiting.since.elapsed() + after > self.max_elapsed_time {
                    self.lost(
                        endpoint,
                        ForwardResult::Expired,
                        tenant,
                        &waiting.request,
                        &reason,
                    );
                    return None;
                }
                self.metrics.ended(ForwardResult::Unavailable);
                self.warn(endpoint, tenant, &reason, "spans wait until it takes them");
                return Some((waiting, after));
            }
        }
        None
    }

    /// Counts a request that an endpoint will not get.
    fn lost(
        &self,
        endpoint: &Endpoint,
        why: ForwardResult,
        tenant: &TenantId,
        request: &Bytes,
        reason: &str,
    ) {
        self.metrics.lost(why, spans_of(request));
        if let Some(suppressed) = endpoint.log.admit() {
            tracing::error!(
                forwarder = self.name,
                endpoint = endpoint.name,
                %tenant,
                result = <&'static str>::from(why),
                reason,
                suppressed,
                "spans are not forwarded"
            );
        }
    }

    fn warn(&self, endpoint: &Endpoint, tenant: &TenantId, reason: &str, then: &str) {
        if let Some(suppressed) = endpoint.log.admit() {
            tracing::warn!(
                forwarder = self.name,
                endpoint = endpoint.name,
                %tenant,
                reason,
                suppressed,
                "endpoint of a forwarder does not take everything: {then}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
