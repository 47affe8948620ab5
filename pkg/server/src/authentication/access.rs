//! What a credential gives.

use std::collections::BTreeSet;

use model::TenantId;
use prometheus_client::metrics::counter::Counter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::CredentialConfig;

/// What a credential may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To push spans.
    Write,
    /// To scrape series, and to see the settings of its tenants.
    Read,
    /// To change the settings of its tenants; for all tenants also everything on the
    /// admin listener.
    Admin,
}

/// Which tenants a credential is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Every tenant that there is or may come.
    All,
    /// These.
    Only(BTreeSet<TenantId>),
}

/// What a credential gives. It is in the extensions of each request that came with one.
#[derive(Debug)]
pub struct Access {
    name: String,
    tenants: Allowed,
    roles: Vec<Role>,
    requests: Counter,
}

impl Role {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl Access {
    /// What a credential that was checked gives; `requests` counts its uses.
    pub(super) fn new(config: &CredentialConfig, requests: Counter) -> Self {
        let tenants = if config.is_for_all_tenants() {
            Allowed::All
        } else {
            let parsed = config.tenants.iter();
            Allowed::Only(parsed.filter_map(|id| TenantId::parse(id).ok()).collect())
        };
        Self {
            name: config.name.clone(),
            tenants,
            roles: config.roles.clone(),
            requests,
        }
    }

    /// The name of the credential, for logs; it is no secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may be used for this.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether it is good for every tenant.
    pub fn is_for_all_tenants(&self) -> bool {
        self.tenants == Allowed::All
    }

    /// Whether it is good for a tenant.
    pub fn is_for(&self, tenant: &TenantId) -> bool {
        match &self.tenants {
            Allowed::All => true,
            Allowed::Only(tenants) => tenants.contains(tenant),
        }
    }

    /// The tenant, if it is good for just one.
    pub(super) fn only_tenant(&self) -> Option<&TenantId> {
        match &self.tenants {
            Allowed::Only(tenants) if tenants.len() == 1 => tenants.first(),
            Allowed::All | Allowed::Only(_) => None,
        }
    }

    pub(super) fn count(&self) {
        self.requests.inc();
    }
}
