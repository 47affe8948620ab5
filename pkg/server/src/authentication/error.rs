//! Requests that are refused for who sends them.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tonic::Code;

use super::access::Role;
use crate::status::{Failure, MediaType};
use crate::tenancy::TenantError;

/// When to come again while too many passwords wait to be checked.
const RETRY_BUSY: Duration = Duration::from_secs(1);

/// A request that may not do what it asks for. But for [`AccessError::Busy`] it is never
/// worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It shows no credential.
    #[error("no credential: send the header Authorization")]
    NoCredential,
    /// Its `Authorization` is neither a token nor a username and a password.
    #[error("the header Authorization is not one of Bearer or Basic")]
    MalformedCredential,
    /// What it shows is not known.
    #[error("the credential is not known")]
    UnknownCredential,
    /// Too many passwords wait to be checked.
    #[error("too many passwords are being checked, try again")]
    Busy,
    /// Its credential lacks a role.
    #[error("the credential lacks the role {}", .0.name())]
    Role(Role),
    /// Its credential is not good for the tenant that it names.
    #[error("the credential is not good for this tenant")]
    Tenant,
    /// Its credential is not good for all tenants.
    #[error("the credential is not good for all tenants")]
    AllTenants,
    /// It does not name one tenant.
    #[error(transparent)]
    Unnamed(#[from] TenantError),
}

impl AccessError {
    /// The HTTP status that the client sees.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::NoCredential | Self::MalformedCredential | Self::UnknownCredential => {
                StatusCode::UNAUTHORIZED
            }
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Role(_) | Self::Tenant | Self::AllTenants => StatusCode::FORBIDDEN,
            Self::Unnamed(error) => error.http_status(),
        }
    }

    /// The `reason` label of the metric that counts it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::MalformedCredential => "malformed_credential",
            Self::UnknownCredential => "unknown_credential",
            Self::Busy => "busy",
            Self::Role(_) => "role",
            Self::Tenant => "tenant",
            Self::AllTenants => "all_tenants",
            Self::Unnamed(_) => "unnamed_tenant",
        }
    }

    fn failure(&self) -> Failure {
        let code = match self {
            Self::NoCredential
            | Self::MalformedCredential
            | Self::UnknownCredential
            | Self::Unnamed(_) => Code::Unauthenticated,
            Self::Busy => Code::Unavailable,
            Self::Role(_) | Self::Tenant | Self::AllTenants => Code::PermissionDenied,
        };
        let failure = Failure::new(code, self.to_string());
        match self {
            Self::Busy => failure.retry_after(RETRY_BUSY),
            Self::NoCredential
            | Self::MalformedCredential
            | Self::UnknownCredential
            | Self::Unnamed(_)
            | Self::Role(_)
            | Self::Tenant
            | Self::AllTenants => failure,
        }
    }

    /// The answer, in the form that the sender of a request with these headers reads.
    pub(super) fn response(&self, request: &HeaderMap) -> Response<Body> {
        let content_type = request.get(header::CONTENT_TYPE);
        let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let begins = |with: &str| {
            let start = content_type.get(..with.len()).unwrap_or_default();
            start.eq_ignore_ascii_case(with.as_bytes())
        };
        let failure = self.failure();
        if begins("application/grpc") {
            return failure.to_grpc().into_http();
        }
        let status = self.http_status();
        let media_types = [MediaType::Protobuf, MediaType::Json];
        let asked = media_types.into_iter().find(|one| begins(one.as_str()));
        let mut response = match asked {
            Some(media_type) => failure.to_http(status, media_type),
            None => (status, format!("{self}\n")).into_response(),
        };
        if status == StatusCode::UNAUTHORIZED {
            // What makes a browser ask for a password.
            let schemes = HeaderValue::from_static("Basic realm=\"spanmill\", Bearer");
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, schemes);
        }
        response
    }
}
