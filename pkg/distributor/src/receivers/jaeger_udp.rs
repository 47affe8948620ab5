//! Jaeger's Thrift over UDP, as its agent takes it.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use model::{PushOutcome, PushSpans};
use server::{BodyError, Datagram, RequestMemory};

use super::{converted, not_converted, result_label};
use crate::Distributor;
use crate::conversion::{ThriftEncoding, jaeger};
use crate::error::ReceiveError;
use crate::metrics::Receiver;

impl<P: PushSpans> Distributor<P> {
    /// Takes one datagram. Nobody can be answered, so what is refused is counted
    /// only; with more than one tenant that is everything, since it names none.
    ///
    /// Not cancel-safe: its spans may have been applied all the same.
    pub async fn jaeger_datagram(&self, encoding: ThriftEncoding, datagram: Datagram) {
        let started = Instant::now();
        let result = self.receive_datagram(encoding, datagram).await;
        if let Err(error) = &result {
            tracing::debug!(error = %telemetry::error_chain(error), "push refused");
        }
        let receiver = match encoding {
            ThriftEncoding::Compact => Receiver::JaegerThriftCompact,
            ThriftEncoding::Binary => Receiver::JaegerThriftBinary,
        };
        self.metrics
            .push_answered(receiver, result_label(&result), started.elapsed());
    }

    async fn receive_datagram(
        &self,
        encoding: ThriftEncoding,
        datagram: Datagram,
    ) -> Result<PushOutcome, ReceiveError> {
        let tenant = self.tenancy.tenant(&HeaderMap::new())?;
        let datagram = match datagram {
            Datagram::Whole(bytes) => bytes,
            Datagram::TooLarge { limit } => return Err(BodyError::TooLarge { limit }.into()),
        };
        let memory = RequestMemory::default();
        self.hold(&tenant, datagram.len(), &memory)
            .map_err(BodyError::from)?;
        let convert = move |bytes: &[u8]| jaeger::datagram(encoding, bytes);
        let refused = not_converted("Jaeger Thrift");
        let request: Bytes = converted(datagram, &memory, convert, refused).await?;
        self.push(tenant, request, false).await
    }
}
