//! Credentials, by what is shown of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::TenantId;

use super::access::Access;
use super::config::CredentialConfig;
use super::identity::PeerIdentity;
use super::metrics::AuthenticationMetrics;
use super::password::{Digest, KnownPassword, digest, token_digest};

/// All credentials of a moment.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// By the digest of the token: how long a look-up takes may tell of digests, of which
    /// nobody can make a token.
    by_token: HashMap<Digest, Arc<Access>>,
    by_username: HashMap<String, Arc<KnownPassword>>,
    by_alternative_name: HashMap<String, Arc<Access>>,
    by_common_name: HashMap<String, Arc<Access>>,
    by_name: BTreeMap<String, Arc<Access>>,
}

impl Credentials {
    /// Takes credentials that were checked. Passwords that were verified `before` need
    /// not be again.
    pub(super) fn new(
        configs: &[CredentialConfig],
        before: &Self,
        metrics: &AuthenticationMetrics,
    ) -> Self {
        let mut credentials = Self::default();
        for config in configs {
            let access = Arc::new(Access::new(config, metrics.requests_of(&config.name)));
            let named = Arc::clone(&access);
            credentials.by_name.insert(config.name.clone(), named);
            if let Some(digest) = token_digest(&config.bearer_hash) {
                credentials.by_token.insert(digest, access);
            } else if let Some(basic) = &config.basic {
                let known = KnownPassword::new(basic.password_hash.clone(), access);
                if let Some(earlier) = before.by_username.get(&basic.username) {
                    known.remember_from(earlier);
                }
                let name = basic.username.clone();
                credentials.by_username.insert(name, Arc::new(known));
            } else if let Some(certificate) = &config.client_certificate {
                let (names, name) = if certificate.san.is_empty() {
                    let name = &certificate.subject_common_name;
                    (&mut credentials.by_common_name, name)
                } else {
                    (&mut credentials.by_alternative_name, &certificate.san)
                };
                names.insert(name.clone(), access);
            }
        }
        credentials
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Names of these that others do not have.
    pub(super) fn names_not_in<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a str> {
        let names = self.by_name.keys().map(String::as_str);
        names.filter(|name| !others.by_name.contains_key(*name))
    }

    /// Those that name a tenant, in the order of their names.
    pub(super) fn naming(&self, tenant: &TenantId) -> impl Iterator<Item = &Access> {
        let all = self.by_name.values().map(Arc::as_ref);
        all.filter(|access| !access.is_for_all_tenants() && access.is_for(tenant))
    }

    pub(super) fn by_token(&self, token: &str) -> Option<Arc<Access>> {
        self.by_token.get(&digest(token)).cloned()
    }

    pub(super) fn by_username(&self, username: &str) -> Option<&Arc<KnownPassword>> {
        self.by_username.get(username)
    }

    pub(super) fn by_certificate(&self, peer: &PeerIdentity) -> Option<Arc<Access>> {
        let alternative = peer.alternative_names.iter();
        let common = peer.common_names.iter();
        alternative
            .filter_map(|name| self.by_alternative_name.get(name))
            .chain(common.filter_map(|name| self.by_common_name.get(name)))
            .next()
            .cloned()
    }
}
