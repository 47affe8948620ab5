//! The handle to remote write: starts it, gives writers, ends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use lifecycle::TaskGroup;
use model::{Clock, TenantId};
use parking_lot::Mutex;
use settings::Secret;
use tokio::time::timeout;

use crate::buffer::{Buffer, Limits, Registration};
use crate::client::{Client, endpoint_headers};
use crate::config::{EndpointConfig, RemoteWriteConfig};
use crate::encode::{Batch, Scratch};
use crate::error::StartError;
use crate::headers;
use crate::metrics::RemoteWriteMetrics;
use crate::protocol::{Negotiation, Protocol};
use crate::relabel::Relabeller;
use crate::sender::{Measures, Sender};
use crate::writer::{Encoding, TenantWriter};

/// Encodings whose memory is kept: one thread collects, and few rule sets
/// differ. Each may hold two requests of the largest size.
const MAX_KEPT_SCRATCH: usize = 2;

/// Sends the samples of all tenants to all endpoints.
///
/// Clones share everything. Sending ends with [`RemoteWrite::stop`], or when
/// the last clone and the last writer are dropped.
#[derive(Clone, Debug)]
pub struct RemoteWrite(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    buffer: Arc<Buffer>,
    endpoints: Vec<Endpoint>,
    encodings: Vec<Encoding>,
    add_org_id_header: bool,
    metrics: RemoteWriteMetrics,
    /// Memory for encoding that is not in use.
    scratch: Mutex<Vec<Scratch>>,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    headers: HeaderMap,
    negotiation: Arc<Negotiation>,
}

impl RemoteWrite {
    /// Starts a sender for each endpoint, on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// The first endpoint that cannot be used, and why.
    pub fn start(
        config: RemoteWriteConfig,
        metrics: RemoteWriteMetrics,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Result<Self, StartError> {
        let limits = Limits {
            per_tenant: config.max_buffer_bytes_per_tenant,
            total: config.max_buffer_bytes,
        };
        let buffer = Arc::new(Buffer::new(config.endpoints.len(), limits));
        let names = names(&config.endpoints);
        let mut endpoints = Vec::new();
        let mut encodings = Vec::new();
        let mut senders = Vec::new();
        for (index, (endpoint, name)) in config.endpoints.iter().zip(names).enumerate() {
            let prepared =
                prepare(endpoint, clock.clone()).map_err(|source| StartError::Endpoint {
                    index,
                    source: Box::new(source),
                })?;
            share_encoding(
                &mut encodings,
                &config.endpoints,
                index,
                prepared.relabeller,
            );
            senders.push(Sender::new(
                index,
                name.clone(),
                buffer.clone(),
                prepared.client,
                endpoint.queue_config.clone(),
                prepared.negotiation.clone(),
                Measures {
                    durations: metrics.durations(&name),
                    fallbacks: metrics.fallbacks(&name),
                },
            ));
            endpoints.push(Endpoint {
                name,
                headers: prepared.headers,
                negotiation: prepared.negotiation,
            });
        }
        for sender in senders {
            tasks.spawn("remote-write-sender", sender.run());
        }
        Ok(Self(Arc::new(Shared {
            buffer,
            endpoints,
            encodings,
            add_org_id_header: config.add_org_id_header,
            metrics,
            scratch: Mutex::default(),
        })))
    }

    /// A writer of a tenant's samples; keep exactly one per tenant.
    ///
    /// The headers go with every request of the tenant, over the endpoint's;
    /// those that the protocol sets itself are left out, with a warning.
    pub fn writer(&self, tenant: &TenantId, headers: &BTreeMap<String, Secret>) -> TenantWriter {
        let merged = self.merged_headers(tenant, headers);
        let shared = &self.0;
        shared.buffer.open(tenant, |endpoint| Registration {
            headers: merged.get(endpoint).cloned().unwrap_or_default(),
            metrics: shared.metrics.for_tenant(
                tenant,
                shared.endpoints.get(endpoint).map_or("", |e| &e.name),
            ),
        });
        // A tenant that was about to go has its old ones.
        shared.buffer.set_headers(tenant, merged);
        TenantWriter::new(self.clone(), tenant.clone())
    }

    /// Waits until every sample is delivered or dropped, at most for the
    /// deadline; returns how many, summed over the endpoints, still wait.
    /// Cancel-safe.
    pub async fn flush(&self, deadline: Duration) -> usize {
        let _ = timeout(deadline, self.0.buffer.empty()).await;
        usize::try_from(self.0.buffer.samples()).unwrap_or(usize::MAX)
    }

    /// Ends the senders; what still waits is not sent.
    ///
    /// Called after [`RemoteWrite::flush`], before the tasks are joined.
    pub fn stop(&self) {
        self.0.buffer.shut();
    }

    pub(crate) fn encodings(&self) -> &[Encoding] {
        &self.0.encodings
    }

    /// What an endpoint is spoken to in now.
    pub(crate) fn protocol(&self, endpoint: usize) -> Protocol {
        let endpoint = self.0.endpoints.get(endpoint);
        endpoint.map_or(Protocol::V1, |endpoint| endpoint.negotiation.protocol())
    }

    /// Memory for encoding: such as was used before, if there is.
    pub(crate) fn take_scratch(&self) -> Scratch {
        self.0.scratch.lock().pop().unwrap_or_default()
    }

    /// Keeps memory for the next encoding, if not enough is kept already.
    pub(crate) fn keep_scratch(&self, scratch: Scratch) {
        let mut kept = self.0.scratch.lock();
        if kept.len() < MAX_KEPT_SCRATCH {
            kept.push(scratch);
        }
    }

    pub(crate) fn push(&self, tenant: &TenantId, endpoint: usize, batch: &Batch) {
        self.0
            .buffer
            .push(tenant, endpoint, std::slice::from_ref(batch));
    }

    pub(crate) fn set_headers(&self, tenant: &TenantId, headers: &BTreeMap<String, Secret>) {
        let merged = self.merged_headers(tenant, headers);
        self.0.buffer.set_headers(tenant, merged);
    }

    pub(crate) fn close(&self, tenant: &TenantId) {
        self.0.buffer.close(tenant);
    }

    fn merged_headers(
        &self,
        tenant: &TenantId,
        own: &BTreeMap<String, Secret>,
    ) -> Vec<Arc<HeaderMap>> {
        self.0
            .endpoints
            .iter()
            .map(|endpoint| {
                let mut merged = endpoint.headers.clone();
                for (header, problem) in headers::overlay(&mut merged, own) {
                    tracing::warn!(%tenant, header, problem, "remote_write_headers has a header that is not sent");
                }
                if self.0.add_org_id_header {
                    headers::add_org_id(&mut merged, tenant.as_str());
                }
                Arc::new(merged)
            })
            .collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.buffer.shut();
    }
}

/// What an endpoint needs besides its settings.
struct Prepared {
    client: Client,
    headers: HeaderMap,
    negotiation: Arc<Negotiation>,
    relabeller: Relabeller,
}

fn prepare(config: &EndpointConfig, clock: Clock) -> Result<Prepared, StartError> {
    if let Some((key, problem)) = config.validate().into_iter().next() {
        return Err(StartError::Invalid { key, problem });
    }
    Ok(Prepared {
        client: Client::new(config, clock.clone())?,
        headers: endpoint_headers(config)?,
        negotiation: Arc::new(Negotiation::new(config.protobuf_message, clock)),
        relabeller: Relabeller::new(&config.write_relabel_configs).map_err(
            |(place, problem)| StartError::Invalid {
                key: format!("write_relabel_configs[{place}]"),
                problem,
            },
        )?,
    })
}

/// Adds an endpoint to the encoding of an earlier one with the same rules and
/// batch size, or gives it its own.
fn share_encoding(
    encodings: &mut Vec<Encoding>,
    configs: &[EndpointConfig],
    index: usize,
    relabeller: Relabeller,
) {
    let key = |config: &EndpointConfig| {
        (
            config.write_relabel_configs.clone(),
            config.queue_config.max_samples_per_send,
        )
    };
    let ours = configs.get(index).map(key);
    let same = encodings.iter_mut().find(|encoding| {
        let first = encoding.endpoints.first().and_then(|i| configs.get(*i));
        first.map(key) == ours
    });
    match same {
        Some(encoding) => encoding.endpoints.push(index),
        None => encodings.push(Encoding {
            relabeller,
            max_samples: ours.map_or(1, |(_, max_samples)| max_samples),
            endpoints: vec![index],
        }),
    }
}

/// The endpoints' names in metrics and logs, each once.
fn names(configs: &[EndpointConfig]) -> Vec<String> {
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

#[cfg(test)]
mod tests;
