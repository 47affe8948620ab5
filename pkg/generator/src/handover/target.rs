//! Another generator, which is asked to take samples.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use model::TenantId;
use server::grpc::BytesCodec;
use server::tenancy::TENANT_HEADER;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::TAKE_SAMPLES;

/// How long one call may take: a chunk is a mebibyte, and a disk may be slow.
const CALL: Duration = Duration::from_secs(10);

/// How often a chunk is sent when nobody can tell whether it was taken.
const ATTEMPTS: u32 = 3;

/// The same while a generator has its hands full: ten seconds.
const BUSY_ATTEMPTS: u32 = 50;

/// How long to wait before it is sent again.
const PAUSE: Duration = Duration::from_millis(200);

/// Another generator, which may take samples over.
#[derive(Clone, Debug)]
pub struct HandoverTarget {
    name: Arc<str>,
    client: tonic::client::Grpc<Channel>,
    headers: HeaderMap,
    /// Whether it takes nothing of anybody.
    is_out: Arc<AtomicBool>,
}

impl HandoverTarget {
    /// A generator, as logs are to name it, behind a connection that may be opened by
    /// the first call. Every call has these headers: what proves that this is a node.
    pub fn new(name: &str, channel: Channel, headers: HeaderMap) -> Self {
        Self {
            name: name.into(),
            client: tonic::client::Grpc::new(channel),
            headers,
            is_out: Arc::default(),
        }
    }

    /// As logs name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is any use in asking.
    pub(super) fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
    }

    /// Hands a chunk over.
    ///
    /// Not cancel-safe: whether it was taken is unknown, and it may be handed over again.
    ///
    /// # Errors
    ///
    /// Why not. Then it was not taken, or nobody can tell after several attempts.
    pub(super) async fn give(&self, tenant: &TenantId, chunk: &Bytes) -> Result<(), Status> {
        let mut attempt = 0;
        loop {
            let status = match self.call(tenant, chunk).await {
                Ok(()) => return Ok(()),
                Err(status) => status,
            };
            attempt += 1;
            match judge(&status) {
                Verdict::Busy if attempt <= BUSY_ATTEMPTS => sleep(PAUSE).await,
                Verdict::Again if attempt <= ATTEMPTS => sleep(PAUSE).await,
                Verdict::Refused | Verdict::Busy => return Err(status),
                Verdict::Again | Verdict::Out => {
                    self.is_out.store(true, Ordering::Relaxed);
                    return Err(status);
                }
            }
        }
    }

    async fn call(&self, tenant: &TenantId, chunk: &Bytes) -> Result<(), Status> {
        let mut client = self.client.clone();
        let mut request = Request::new(chunk.clone());
        let headers = request.metadata_mut().as_mut();
        headers.extend(self.headers.clone());
        let tenant = HeaderValue::from_str(tenant.as_str());
        let tenant = tenant.map_err(|error| Status::invalid_argument(error.to_string()))?;
        headers.insert(TENANT_HEADER, tenant);
        let call = async {
            let ready = client.ready().await;
            ready.map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static(TAKE_SAMPLES);
            client.unary(request, path, BytesCodec).await.map(drop)
        };
        let answered = timeout(CALL, call).await;
        answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
    }
}

/// What a status means for the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The generator does not take it; maybe those of other tenants.
    Refused,
    /// The generator takes as much of others as it can at once.
    Busy,
    /// Nobody can tell; the generator knows what it has.
    Again,
    /// The generator takes nothing.
    Out,
}

fn judge(status: &Status) -> Verdict {
    if status.source().is_some() {
        // It comes from this side: nobody has answered.
        return Verdict::Again;
    }
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::OutOfRange => Verdict::Refused,
        Code::Unavailable
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::NotFound => Verdict::Out,
        Code::Aborted => Verdict::Busy,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::Internal
        | Code::DataLoss => Verdict::Again,
    }
}
