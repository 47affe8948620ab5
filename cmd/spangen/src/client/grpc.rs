//! OTLP/gRPC, with requests written straight into tonic's buffer.

use std::error::Error as _;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use server::grpc::BytesCodec;
use tonic::codec::{BufferSettings, Codec, CompressionEncoding, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

use super::{Answer, Payload, RpcStatus, TENANT_HEADER, accepted, chain};

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    inner: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
}

/// Which procedure takes the spans; the messages are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// OTLP.
    Export,
    /// Tempo's push from distributor to generator.
    PushSpans,
}

impl Method {
    fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Export => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::PushSpans => "/tempopb.MetricsGenerator/PushSpans",
        })
    }
}

impl Grpc {
    /// A connection that is opened by the first request.
    pub(crate) fn new(endpoint: &str, method: Method, gzip: bool) -> anyhow::Result<Self> {
        const WINDOW: u32 = 4 << 20;
        const FRAME: u32 = 1 << 20;
        let channel = Endpoint::from_shared(endpoint.to_owned())?
            .user_agent(concat!("spangen/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(std::time::Duration::from_secs(5))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME)
            .tcp_nodelay(true)
            .connect_lazy();
        let mut inner = tonic::client::Grpc::new(channel);
        if gzip {
            inner = inner.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self {
            inner,
            path: method.path(),
        })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Answer {
        let mut inner = self.inner.clone();
        if let Err(problem) = inner.ready().await {
            return Answer::Retry {
                after: None,
                reason: format!("not connected: {}", chain(&problem)),
            };
        }
        let mut request = tonic::Request::new(payload.clone());
        if let Some(tenant) = &payload.tenant {
            let metadata = request.metadata_mut().as_mut();
            metadata.insert(TENANT_HEADER, tenant.clone());
        }
        let codec = TemplateCodec(payload.template.length());
        match inner.unary(request, self.path.clone(), codec).await {
            Ok(response) => accepted(response.into_inner()),
            Err(status) => judge(&status),
        }
    }
}

/// What a status means for the request. Source: OTLP specification, "OTLP/gRPC
/// Response", the table of retryable codes.
pub(super) fn judge(status: &Status) -> Answer {
    if let Some(source) = status.source() {
        // tonic made this status itself; no server did.
        let mut cause = Some(source);
        while let Some(error) = cause {
            if error.is::<ConnectError>() {
                return Answer::Retry {
                    after: None,
                    reason: format!("not connected: {}", chain(source)),
                };
            }
            cause = error.source();
        }
        return Answer::Unknown {
            reason: format!("connection broke: {}", chain(source)),
        };
    }
    let details = RpcStatus::decode(status.details()).unwrap_or_default();
    let after = details.retry_delay();
    let reason = format!("{:?}: {}", status.code(), status.message());
    let retryable = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    };
    if retryable {
        Answer::Retry { after, reason }
    } else {
        Answer::Refused { reason }
    }
}

/// Writes a payload of a known length; hands answers on as bytes.
struct TemplateCodec(usize);

struct TemplateEncoder(usize);

impl Codec for TemplateCodec {
    type Encode = Payload;
    type Decode = Bytes;
    type Encoder = TemplateEncoder;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> Self::Encoder {
        TemplateEncoder(self.0)
    }

    fn decoder(&mut self) -> Self::Decoder {
        BytesCodec
    }
}

impl Encoder for TemplateEncoder {
    type Item = Payload;
    type Error = Status;

    fn encode(&mut self, payload: Payload, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        payload.template.write(&payload.stamp, out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        /// A gRPC message's prefix: a flag and a length.
        const PREFIX: usize = 5;
        let size = self.0 + PREFIX;
        BufferSettings::new(size, size)
    }
}
