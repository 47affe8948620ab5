//! Who a request is from.

use http::{HeaderMap, StatusCode};
use model::{InvalidTenantId, TenantId};

/// The header, and gRPC metadata key, that selects the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// How requests name their tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenancy {
    /// Whether requests name one, in `X-Scope-OrgID`. If not, all are from
    /// [`TenantId::single`] and the header is ignored, as in Tempo.
    pub multitenancy_enabled: bool,
}

/// A request without a usable tenant. It is never worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The header is missing or empty.
    #[error("no tenant: send the header X-Scope-OrgID")]
    Missing,
    /// The header comes more than once, with different values.
    #[error("X-Scope-OrgID names more than one tenant")]
    Ambiguous,
    /// The header is not text.
    #[error("X-Scope-OrgID is not printable ASCII")]
    NotText,
    /// The header is not a tenant id.
    #[error("X-Scope-OrgID: {0}")]
    Invalid(#[source] InvalidTenantId),
}

impl Tenancy {
    /// The tenant of a request.
    ///
    /// # Errors
    ///
    /// [`TenantError`], if the header is needed and does not name one tenant.
    pub fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, TenantError> {
        if !self.multitenancy_enabled {
            return Ok(TenantId::single());
        }
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let value = values.next().ok_or(TenantError::Missing)?;
        if values.any(|other| other != value) {
            return Err(TenantError::Ambiguous);
        }
        if value.is_empty() {
            return Err(TenantError::Missing);
        }
        let id = value.to_str().map_err(|_| TenantError::NotText)?;
        TenantId::parse(id).map_err(TenantError::Invalid)
    }
}

impl TenantError {
    /// The HTTP status that the client sees.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Ambiguous | Self::NotText | Self::Invalid(_) => {
                StatusCode::UNAUTHORIZED
            }
        }
    }

    /// The gRPC status that the client sees: `UNAUTHENTICATED`, which no OTLP
    /// client retries.
    pub fn grpc_status(&self) -> tonic::Status {
        match self {
            Self::Missing | Self::Ambiguous | Self::NotText | Self::Invalid(_) => {
                tonic::Status::unauthenticated(self.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(values: &[&[u8]]) -> Result<String, TenantError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("X-Scope-OrgID", HeaderValue::from_bytes(value).unwrap());
        }
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        tenancy.tenant(&headers).map(|tenant| tenant.to_string())
    }

    #[test]
    fn header_selects_the_tenant_only_when_multi_tenant() {
        assert_eq!(ask(&[b"acme"]), Ok("acme".to_owned()));
        assert_eq!(ask(&[b"acme", b"acme"]), Ok("acme".to_owned()));
        let mut headers = HeaderMap::new();
        headers.insert("x-scope-orgid", HeaderValue::from_static("../x"));
        assert_eq!(Tenancy::default().tenant(&headers), Ok(TenantId::single()));
    }

    #[test]
    fn unusable_headers_are_unauthenticated() {
        for (values, want) in [
            (&[] as &[&[u8]], TenantError::Missing),
            (&[b""], TenantError::Missing),
            (&[b"a", b"b"], TenantError::Ambiguous),
            (&[b"team", b"Team"], TenantError::Ambiguous),
            (&[b"\xff"], TenantError::NotText),
            (
                &[b"a,b"],
                TenantError::Invalid(InvalidTenantId::Character { character: ',' }),
            ),
            (
                &[b"a|b"],
                TenantError::Invalid(InvalidTenantId::Character { character: '|' }),
            ),
            (&[b".."], TenantError::Invalid(InvalidTenantId::DotOrDotDot)),
        ] {
            let error = ask(values).unwrap_err();
            assert_eq!(error, want);
            assert_eq!(error.http_status(), StatusCode::UNAUTHORIZED);
            assert_eq!(error.grpc_status().code(), tonic::Code::Unauthenticated);
        }
    }
}
