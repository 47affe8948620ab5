//! Who a request is from, by credentials: which tenants it may name, and what it may do.
//!
//! Without credentials in the settings there is none of this, and the tenant's header is
//! believed.

mod access;
pub mod config;
mod credentials;
mod error;
mod file;
mod guard;
pub(crate) mod identity;
mod metrics;
mod password;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use settings::Problems;
use telemetry::LogThrottle;

pub use self::access::{Access, Allowed, Role};
pub use self::config::{
    AuthenticationConfig, BasicConfig, ClientCertificateConfig, CredentialConfig,
};
pub use self::error::AccessError;
pub use self::guard::Needs;
pub use self::identity::PeerIdentity;
pub use self::metrics::AuthenticationMetrics;
pub use self::password::{HashError, hash_password, hash_token, new_token};

use self::credentials::Credentials;
use self::file::CredentialsFile;
use self::password::Gate;

/// How often refusals are told of in the log, at most.
const TELL_OF_REFUSALS: Duration = Duration::from_secs(10);

/// The credentials in force. Cloning is cheap and shares them.
#[derive(Clone, Debug)]
pub struct Authentication(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Credentials>,
    gate: Gate,
    metrics: AuthenticationMetrics,
    refusals: LogThrottle,
}

/// A header `Authorization`, taken apart.
enum Presented {
    Token(String),
    Password { username: String, password: String },
}

impl Authentication {
    /// Takes the credentials of the settings and of the file that they name, and looks
    /// at the file each second until shutdown. `None` where there are neither, and so no
    /// authentication.
    ///
    /// A file that becomes unusable later changes nothing: its last good state holds,
    /// `spanmill_authentication_reload_failed` is 1, and a warning names the line.
    ///
    /// # Errors
    ///
    /// Every problem of the file, which must be good at the start.
    pub fn start(
        config: &AuthenticationConfig,
        metrics: AuthenticationMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, Problems> {
        if !config.is_on() {
            return Ok(None);
        }
        let mut file = CredentialsFile::new(config);
        let credentials = file.read()?.unwrap_or_default();
        let authentication = Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(Credentials::default()),
            gate: Gate::new(),
            metrics,
            refusals: LogThrottle::new(TELL_OF_REFUSALS),
        }));
        authentication.put(&credentials);
        if file.is_named() {
            let (authentication, shutdown) = (authentication.clone(), shutdown.clone());
            tasks.spawn_thread("credentials-reload", move || {
                while !shutdown.wait_blocking(file::LOOK) {
                    authentication.look(&mut file);
                }
            });
        }
        Ok(Some(authentication))
    }

    /// Checks the settings and the file that they name, as a start would.
    ///
    /// # Errors
    ///
    /// Every problem of the file.
    pub fn check(config: &AuthenticationConfig) -> Result<(), Problems> {
        CredentialsFile::new(config).read().map(drop)
    }

    /// The names of credentials that name a tenant, in order, and whether each is for that
    /// tenant only. Those for all tenants are not among them.
    pub fn credentials_of(&self, tenant: &TenantId) -> Vec<(String, bool)> {
        let current = self.0.current.load();
        let of_tenant = current.naming(tenant).map(|access| {
            let is_its_own = access.only_tenant().is_some();
            (access.name().to_owned(), is_its_own)
        });
        of_tenant.collect()
    }

    fn look(&self, file: &mut CredentialsFile) {
        match file.read() {
            Ok(None) => {}
            Ok(Some(credentials)) => {
                self.put(&credentials);
                tracing::info!(credentials = credentials.len(), "credentials reloaded");
            }
            Err(problems) => {
                self.0.metrics.reload_failed();
                tracing::warn!(
                    %problems,
                    "cannot use the credentials file, keeping its last good state"
                );
            }
        }
    }

    fn put(&self, credentials: &[CredentialConfig]) {
        let before = self.0.current.load();
        let now = Credentials::new(credentials, &before, &self.0.metrics);
        for gone in before.names_not_in(&now) {
            self.0.metrics.gone(gone);
        }
        self.0.metrics.reloaded(now.len());
        self.0.current.store(Arc::new(now));
    }

    /// What the sender of a request may do, by its `Authorization`, or else by the
    /// certificate of its connection.
    ///
    /// Cancel-safe.
    async fn access(
        &self,
        headers: &HeaderMap,
        peer: Option<&PeerIdentity>,
    ) -> Result<Arc<Access>, AccessError> {
        let current = self.0.current.load_full();
        let access = match presented(headers)? {
            Some(Presented::Token(token)) => current.by_token(&token),
            Some(Presented::Password { username, password }) => {
                match current.by_username(&username) {
                    None => None,
                    Some(known) => self
                        .0
                        .gate
                        .admits(known, password)
                        .await?
                        .then(|| known.access()),
                }
            }
            None => match peer {
                Some(peer) => current.by_certificate(peer),
                None => return Err(AccessError::NoCredential),
            },
        };
        let access = access.ok_or(AccessError::UnknownCredential)?;
        access.count();
        Ok(access)
    }
}

/// The credential of a request's headers, if it has one. As with the tenant, a header
/// that comes twice with different values is refused.
fn presented(headers: &HeaderMap) -> Result<Option<Presented>, AccessError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != value) {
        return Err(AccessError::MalformedCredential);
    }
    let parsed = value.to_str().ok().and_then(|value| {
        let (scheme, rest) = value.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Presented::Token(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (username, password) = pair.split_once(':')?;
        Some(Presented::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    });
    parsed.map(Some).ok_or(AccessError::MalformedCredential)
}

#[cfg(test)]
mod tests;
