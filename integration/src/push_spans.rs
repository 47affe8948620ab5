//! Pushes to a generator over gRPC, as Tempo's distributors do.

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const PUSH_SPANS: PathAndQuery = PathAndQuery::from_static("/tempopb.MetricsGenerator/PushSpans");

/// A connection to a generator.
#[derive(Clone, Debug)]
pub struct PushSpans(Grpc<Channel>);

impl PushSpans {
    /// Connects to the internal gRPC address.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Pushes a request, byte for byte, for a tenant.
    ///
    /// # Errors
    ///
    /// Any answer but OK.
    pub async fn push(&mut self, tenant: &str, request: Vec<u8>) -> anyhow::Result<()> {
        self.0.ready().await.context("generator is not ready")?;
        let mut request = Request::new(Bytes::from(request));
        request
            .metadata_mut()
            .insert("x-scope-orgid", tenant.parse()?);
        self.0
            .unary(request, PUSH_SPANS, RawCodec)
            .await
            .with_context(|| format!("push for {tenant}"))?;
        Ok(())
    }
}

/// Messages as bytes: some recorded text is not UTF-8, which no generated
/// message can hold.
#[derive(Clone, Copy, Debug, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
