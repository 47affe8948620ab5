//! `spanmill.v1.Generator/TakeSamples`: samples of a generator that goes for good, which
//! this one delivers in its place.
//!
//! A call brings one chunk and is answered when it is on disk, or refused as a whole. The
//! answer has no fields; the refusal's code says whether another generator is to be asked.

mod giving;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use model::TenantId;
use remote_write::{ChunkError, TakeError};
use server::authentication::PeerIdentity;
use server::grpc::{calls, unary};
use server::{NodeAuthentication, Tenancy};
use telemetry::{LogThrottle, error_chain};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::Status;

pub use self::giving::HandedSamples;
pub use self::target::HandoverTarget;

use crate::Generator;
use crate::instance::destinations;

/// The path of the method.
pub const TAKE_SAMPLES: &str = "/spanmill.v1.Generator/TakeSamples";

/// Chunks that are taken at the same time, each of which holds a thread and a mebibyte
/// or two. Most of it is waiting for the disk.
const MAX_TAKING: usize = 16;

/// How often a refusal is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Generator {
    /// The gRPC method, as routes for the internal listener. They tell nodes from others
    /// themselves: whatever else guards that listener is to let their path through.
    pub fn handover_routes(
        &self,
        authentication: NodeAuthentication,
        max_message_bytes: usize,
    ) -> axum::Router {
        let service = TakeService {
            generator: self.clone(),
            shared: Arc::new(Shared {
                authentication,
                taking: Semaphore::new(MAX_TAKING),
                log: LogThrottle::new(LOG_INTERVAL),
            }),
        };
        calls([TAKE_SAMPLES], max_message_bytes, move |parts, body| {
            let service = service.clone();
            async move {
                // Before the body, so that strangers cost us little.
                match service.admit(&parts) {
                    Ok(()) => unary(body, |chunk| service.take(parts, chunk)).await,
                    Err(status) => status.into_http(),
                }
            }
        })
    }

    /// Takes a chunk over; returns how many samples of it were not here. Blocks.
    fn take_over(&self, tenant: &TenantId, chunk: &[u8]) -> Result<u64, TakeError> {
        let remote_write = self.remote_write().ok_or(TakeError::NoDestination)?;
        if self.all_tenants().is_leaving(tenant) {
            return Err(TakeError::NoDestination);
        }
        let wanted = destinations(&self.config_of(tenant));
        let taken = self.unless_stopped(|| remote_write.take_over(tenant, chunk, &wanted));
        Ok(taken.unwrap_or(Err(TakeError::Stopping))?.samples)
    }
}

#[derive(Clone, Debug)]
struct TakeService {
    generator: Generator,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    authentication: NodeAuthentication,
    taking: Semaphore,
    log: LogThrottle,
}

impl TakeService {
    /// Lets nodes of the cluster in.
    fn admit(&self, parts: &Parts) -> Result<(), Status> {
        let peer = parts.extensions.get::<Arc<PeerIdentity>>();
        let authentication = &self.shared.authentication;
        authentication
            .admit(&parts.headers, peer.map(|peer| &**peer))
            .map_err(|error| error.grpc_status())
    }

    async fn take(self, parts: Parts, chunk: Bytes) -> Result<Bytes, Status> {
        let Self { generator, shared } = self;
        // Nodes name the tenant also where clients do not.
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        let tenant = tenancy.tenant(&parts.headers);
        let tenant = tenant.map_err(|error| error.grpc_status())?;
        let Ok(_taking) = shared.taking.try_acquire() else {
            return Err(Status::aborted("other samples are being taken over"));
        };
        let whose = tenant.clone();
        // Goes on to its end if the caller has gone.
        let taken = spawn_blocking(move || generator.take_over(&whose, &chunk)).await;
        match taken.unwrap_or(Err(TakeError::Stopping)) {
            Ok(samples) => {
                tracing::debug!(%tenant, samples, "taken over from another generator");
                Ok(Bytes::new())
            }
            Err(error) => {
                if let Some(suppressed) = shared.log.admit() {
                    let error = error_chain(&error);
                    tracing::warn!(%tenant, %error, suppressed, "samples of another generator are not taken over");
                }
                Err(status(&error))
            }
        }
    }
}

fn status(error: &TakeError) -> Status {
    let message = error_chain(error).to_string();
    match error {
        TakeError::Chunk(ChunkError::Damaged { .. }) | TakeError::OtherTenant { .. } => {
            Status::invalid_argument(message)
        }
        TakeError::Chunk(ChunkError::Version { .. }) | TakeError::NoDestination => {
            Status::failed_precondition(message)
        }
        TakeError::Full { .. } | TakeError::Disk(_) => Status::resource_exhausted(message),
        TakeError::Stopping => Status::unavailable(message),
    }
}
