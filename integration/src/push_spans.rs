//! Pushes to a generator over gRPC, as Tempo's distributors do.

use anyhow::Context as _;
use bytes::Bytes;
use server::grpc::BytesCodec;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

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

    /// Pushes a request, byte for byte, for a tenant: some recorded text is not
    /// UTF-8, which no generated message can hold.
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
            .unary(request, PUSH_SPANS, BytesCodec)
            .await
            .with_context(|| format!("push for {tenant}"))?;
        Ok(())
    }
}
