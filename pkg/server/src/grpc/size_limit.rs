//! The layer that holds gRPC requests to a size.

use std::task::{Context, Poll};

use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk, Ready, ready};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tonic::Status;
use tower::{Layer, Service};

use super::MessageBody;
use crate::budget::RequestMemory;
use crate::inflate::Encoding;

/// Holds the messages of gRPC requests to a size, before and after
/// decompression, and decompresses gzip and zstd.
///
/// tonic's own check answers `OUT_OF_RANGE`, which OTLP clients retry; this one
/// answers `RESOURCE_EXHAUSTED`. Requests that are not gRPC pass untouched.
///
/// The others have a [`RequestMemory`] among their extensions: once it has taken some, it
/// is raised before memory is used, and `UNAVAILABLE` is the answer where there is none.
#[derive(Clone, Copy, Debug)]
pub struct SizeLimitLayer {
    /// The longest message in bytes, as sent and as decompressed.
    pub max_message_bytes: usize,
}

/// The service that [`SizeLimitLayer`] makes.
#[derive(Clone, Debug)]
pub struct SizeLimit<S> {
    inner: S,
    max_message_bytes: usize,
}

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

impl<S> Layer<S> for SizeLimitLayer {
    type Service = SizeLimit<S>;

    fn layer(&self, inner: S) -> SizeLimit<S> {
        SizeLimit {
            inner,
            max_message_bytes: self.max_message_bytes,
        }
    }
}

impl<S, B, R> Service<Request<B>> for SizeLimit<S>
where
    S: Service<Request<MessageBody<B>>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<
        MapOk<S::Future, fn(Response<R>) -> Response<R>>,
        Ready<Result<Response<R>, S::Error>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if !is_grpc(request.headers()) {
            let unlimited = request.map(MessageBody::untouched);
            let same: fn(Response<R>) -> Response<R> = std::convert::identity;
            return Either::Left(self.inner.call(unlimited).map_ok(same));
        }
        let encoding = match message_encoding(request.headers_mut()) {
            Ok(encoding) => encoding,
            Err(status) => return Either::Right(ready(Ok(advertise(status.into_http())))),
        };
        let limit = self.max_message_bytes;
        let memory = RequestMemory::default();
        request.extensions_mut().insert(memory.clone());
        let limited = request.map(|body| MessageBody::new(body, encoding, limit, memory));
        Either::Left(self.inner.call(limited).map_ok(advertise))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The compression of the request's messages, which its headers no longer
/// name then.
fn message_encoding(headers: &mut HeaderMap) -> Result<Option<Encoding>, Status> {
    let Some(value) = headers.remove(GRPC_ENCODING) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok("identity") => Ok(None),
        Ok(name) if Encoding::named(name).is_some() => Ok(Encoding::named(name)),
        _ => Err(Status::unimplemented(format!(
            "grpc-encoding {value:?} is not one of identity, gzip, zstd"
        ))),
    }
}

/// Says which compressions the next request may use.
fn advertise<R>(mut response: Response<R>) -> Response<R> {
    response
        .headers_mut()
        .insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    response
}

#[cfg(test)]
mod tests;
