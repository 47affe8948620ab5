//! One endpoint: how a request is sent to it, and what its answer means.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::{PathAndQuery, Uri};
use model::TenantId;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceResponse;
use proto::rpc;
use server::grpc::BytesCodec;
use server::tenancy::TENANT_HEADER;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::ForwarderStartError;
use crate::config::ForwarderConfig;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The longest wait that an endpoint may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// How much of an endpoint's words is passed on.
const MAX_REASON_BYTES: usize = 256;

/// An endpoint. Cloning is cheap and shares the connection.
#[derive(Clone, Debug)]
pub(super) struct Target {
    client: tonic::client::Grpc<Channel>,
    timeout: Duration,
}

/// What an endpoint made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// It took all but some spans, which it refuses for good.
    Partial {
        refused: u64,
        reason: String,
    },
    /// The same request may be sent again.
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    /// No retry can help.
    Refused {
        reason: String,
    },
}

/// The URI of an endpoint; `None` if it is not one.
pub(crate) fn address(endpoint: &str, insecure: bool) -> Option<Uri> {
    let bare = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"))
        .unwrap_or(endpoint);
    let scheme = if insecure { "http" } else { "https" };
    let uri: Uri = format!("{scheme}://{bare}").parse().ok()?;
    let is_whole = uri.port_u16().is_some() && uri.path() == "/" && uri.query().is_none();
    let is_plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    (is_whole && is_plain).then_some(uri)
}

impl Target {
    /// Makes an endpoint of a forwarder ready, without connecting to it yet.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or used, or an address that is none.
    pub(super) fn new(
        config: &ForwarderConfig,
        endpoint: &str,
    ) -> Result<Self, ForwarderStartError> {
        let tls = &config.otlpgrpc.tls;
        let invalid = || ForwarderStartError::Address {
            endpoint: endpoint.to_owned(),
        };
        let failed = |source| ForwarderStartError::Tls {
            forwarder: config.name.clone(),
            source,
        };
        let uri = address(endpoint, tls.insecure).ok_or_else(invalid)?;
        let mut made = Endpoint::from(uri)
            .user_agent(concat!("spanmill/", env!("CARGO_PKG_VERSION")))
            .map_err(failed)?
            .connect_timeout(config.timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30));
        if !tls.insecure {
            let mut client = ClientTlsConfig::new();
            if tls.cert_file.as_os_str().is_empty() {
                client = client.with_native_roots();
            } else {
                let pem =
                    std::fs::read(&tls.cert_file).map_err(|source| ForwarderStartError::File {
                        path: tls.cert_file.clone(),
                        source,
                    })?;
                client = client.ca_certificate(Certificate::from_pem(pem));
            }
            made = made.tls_config(client).map_err(failed)?;
        }
        Ok(Self {
            client: tonic::client::Grpc::new(made.connect_lazy())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            timeout: config.timeout,
        })
    }

    /// Sends a request and waits for the answer, within the time that it has.
    ///
    /// Not cancel-safe: whether a dropped request was taken is unknown.
    pub(super) async fn send(&self, tenant: &TenantId, request: Bytes) -> Answer {
        match timeout(self.timeout, self.try_send(tenant, request)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Retry {
                after: None,
                reason: "no answer in time".to_owned(),
            },
        }
    }

    async fn try_send(&self, tenant: &TenantId, request: Bytes) -> Answer {
        let mut client = self.client.clone();
        if let Err(error) = client.ready().await {
            return Answer::Retry {
                after: None,
                reason: format!("not connected: {}", telemetry::error_chain(&error)),
            };
        }
        let mut request = tonic::Request::new(request);
        if let Ok(tenant) = HeaderValue::from_str(tenant.as_str()) {
            request
                .metadata_mut()
                .as_mut()
                .insert(TENANT_HEADER, tenant);
        }
        let path = PathAndQuery::from_static(EXPORT);
        match client.unary(request, path, BytesCodec).await {
            Ok(response) => answer(response.into_inner()),
            Err(status) => judge(&status),
        }
    }
}

/// What an answer of success says.
fn answer(message: Bytes) -> Answer {
    // An endpoint that answers something else has taken it all the same.
    let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    let refused = response.partial_success.unwrap_or_default();
    match u64::try_from(refused.rejected_spans) {
        Ok(spans @ 1..) => Answer::Partial {
            refused: spans,
            reason: shortened(&refused.error_message),
        },
        _ => Answer::Taken,
    }
}

/// What a status says.
///
/// More than OTLP's retryable codes are worth a retry here: what is wrong between us and
/// an endpoint, such as its certificate or our rights, is not wrong with the request, and
/// an operator can repair it. Source: OTLP specification, "OTLP/gRPC Response".
fn judge(status: &Status) -> Answer {
    let mut reason = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = status.source() {
        reason = format!("{reason}: {}", telemetry::error_chain(source));
    }
    let reason = shortened(&reason);
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            Answer::Refused { reason }
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Answer::Retry {
            after: retry_after(status),
            reason,
        },
    }
}

fn retry_after(status: &Status) -> Option<Duration> {
    let status = rpc::Status::decode(status.details()).ok()?;
    let mut details = status.details.iter();
    let info = details.find(|detail| detail.type_url == RETRY_INFO)?;
    let info = rpc::RetryInfo::decode(info.value.as_slice()).ok()?;
    let delay = Duration::try_from(info.retry_delay?).ok()?;
    Some(delay.min(MAX_RETRY_AFTER))
}

fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_REASON_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (endpoint, insecure, want) in [
            ("tempo:4317", true, Some("http://tempo:4317/")),
            ("https://tempo:4317", false, Some("https://tempo:4317/")),
            ("[::1]:4317", true, Some("http://[::1]:4317/")),
            ("tempo", true, None),
            ("a:b@tempo:4317", true, None),
            ("tempo:4317/x", true, None),
            ("", true, None),
        ] {
            let found = address(endpoint, insecure).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), want, "{endpoint}");
        }
    }

    #[test]
    fn only_what_is_wrong_with_a_request_is_final() {
        for (status, want) in [
            (Status::invalid_argument("x"), true),
            (Status::unauthenticated("x"), false),
            (Status::resource_exhausted("x"), false),
            (Status::internal("x"), false),
        ] {
            assert_eq!(
                matches!(judge(&status), Answer::Refused { .. }),
                want,
                "{status}"
            );
        }
        let delay = Duration::from_secs(7_000);
        let slow = server::status::retry_info(Status::unavailable("busy"), delay);
        let want = Answer::Retry {
            after: Some(MAX_RETRY_AFTER),
            reason: "Unavailable: busy".to_owned(),
        };
        assert_eq!(judge(&slow), want);
    }
}
