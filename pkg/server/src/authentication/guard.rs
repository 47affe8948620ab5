//! The way into a listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Uri};
use model::TenantId;

use super::Authentication;
use super::access::{Access, Role};
use super::error::AccessError;
use super::identity::PeerIdentity;
use crate::tenancy::{TENANT_HEADER, Tenancy, TenantError};

/// What a request must come with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it tells only whether the process works.
    Nothing,
    /// A credential with the role, for the tenant that the request names by its header
    /// or by `?tenant=`.
    Tenant(Role),
    /// A credential with the role, for a tenant that the path names.
    Named(Role, String),
    /// A credential for all tenants, with one of the roles.
    AllTenants(&'static [Role]),
}

struct Guard<F> {
    authentication: Authentication,
    tenancy: Tenancy,
    needs: F,
}

impl Authentication {
    /// Lets to the routes, and to what answers for paths that are none of them, only
    /// requests that come with what `needs` says of their method and path.
    ///
    /// Where the credential is good for a single tenant and the request names none, that
    /// tenant is named for it. [`Access`] is in the extensions of what is let through,
    /// in an `Arc`.
    pub fn guard<F>(&self, router: Router, tenancy: Tenancy, needs: F) -> Router
    where
        F: Fn(&Method, &str) -> Needs + Send + Sync + 'static,
    {
        let guard = Arc::new(Guard {
            authentication: self.clone(),
            tenancy,
            needs,
        });
        router.layer(from_fn_with_state(guard, enter::<F>))
    }
}

async fn enter<F>(State(guard): State<Arc<Guard<F>>>, mut request: Request, next: Next) -> Response
where
    F: Fn(&Method, &str) -> Needs + Send + Sync + 'static,
{
    let needs = (guard.needs)(request.method(), request.uri().path());
    match guard.admit(needs, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let shared = &guard.authentication.0;
            shared.metrics.refused(&error);
            tracing::debug!(%error, "request refused");
            if let Some(suppressed) = shared.refusals.admit() {
                let reason = error.reason();
                tracing::warn!(reason, suppressed, "refused a request for who sends it");
            }
            error.response(request.headers())
        }
    }
}

impl<F> Guard<F> {
    async fn admit(&self, needs: Needs, request: &mut Request) -> Result<(), AccessError> {
        if needs == Needs::Nothing {
            return Ok(());
        }
        let peer = request.extensions().get::<Arc<PeerIdentity>>().cloned();
        let access = self
            .authentication
            .access(request.headers(), peer.as_deref());
        let access = access.await?;
        match needs {
            Needs::Nothing => {}
            Needs::Tenant(role) => {
                has(&access, role)?;
                let (uri, headers) = (request.uri(), request.headers());
                let tenant = match self.named_tenant(uri, headers)? {
                    Some(tenant) => tenant,
                    None => {
                        let only = access.only_tenant().ok_or(TenantError::Missing)?.clone();
                        let value = HeaderValue::from_str(only.as_str());
                        let value = value.map_err(|_| TenantError::NotText)?;
                        request.headers_mut().insert(TENANT_HEADER, value);
                        only
                    }
                };
                is_for(&access, &tenant)?;
            }
            Needs::Named(role, tenant) => {
                has(&access, role)?;
                let tenant = TenantId::parse(&tenant).map_err(TenantError::Invalid)?;
                is_for(&access, &tenant)?;
            }
            Needs::AllTenants(roles) => {
                if !access.is_for_all_tenants() {
                    return Err(AccessError::AllTenants);
                }
                if let (false, Some(role)) =
                    (roles.iter().any(|role| access.has(*role)), roles.first())
                {
                    return Err(AccessError::Role(*role));
                }
            }
        }
        request.extensions_mut().insert(access);
        Ok(())
    }

    /// The tenant that a request names: all that it says of it must agree.
    fn named_tenant(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<TenantId>, TenantError> {
        if !self.tenancy.multitenancy_enabled {
            return Ok(Some(TenantId::single()));
        }
        let mut named = match self.tenancy.tenant(headers) {
            Ok(tenant) => Some(tenant),
            Err(TenantError::Missing) if !headers.contains_key(TENANT_HEADER) => None,
            Err(error) => return Err(error),
        };
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            // Whoever reads the query cannot either, and answers so.
            return Ok(named);
        };
        for (_, value) in query.iter().filter(|(key, _)| key == "tenant") {
            let tenant = TenantId::parse(value).map_err(TenantError::Invalid)?;
            if named
                .replace(tenant.clone())
                .is_some_and(|other| other != tenant)
            {
                return Err(TenantError::Ambiguous);
            }
        }
        Ok(named)
    }
}

fn has(access: &Access, role: Role) -> Result<(), AccessError> {
    if access.has(role) {
        return Ok(());
    }
    Err(AccessError::Role(role))
}

fn is_for(access: &Access, tenant: &TenantId) -> Result<(), AccessError> {
    if access.is_for(tenant) {
        return Ok(());
    }
    Err(AccessError::Tenant)
}
