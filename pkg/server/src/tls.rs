//! TLS of listeners, with certificates that may change while it runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Shutdown, TaskGroup};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

pub use self::pem::{PemError, PemFile};
pub use self::reloaded::{OfFiles, Reloaded};

mod pem;
mod reloaded;

/// TLS of a listener. Keys as in the OpenTelemetry Collector, `configtls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsConfig {
    /// File with the server's certificate and those that lead to its root, in PEM.
    pub cert_file: PathBuf,
    /// File with its private key, in PEM.
    pub key_file: PathBuf,
    /// File with the roots of client certificates, in PEM. If set, clients must
    /// show a certificate. Default: empty, clients need none.
    pub client_ca_file: PathBuf,
    /// The oldest version spoken: `1.2` or `1.3`. Default: `1.2`.
    pub min_version: String,
    /// The newest version spoken: `1.2` or `1.3`. Default: empty, the newest known.
    pub max_version: String,
    /// How often the files are looked at for a new certificate. Connections that
    /// are open keep the old one. `0s` for never. Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub reload_interval: Duration,
}

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A version that is not offered.
    #[error("{setting}: {version:?} is not one of 1.2, 1.3")]
    Version {
        /// The setting that names it.
        setting: &'static str,
        /// The version.
        version: String,
    },
    /// The newest version is older than the oldest.
    #[error("min_version is above max_version")]
    NoVersion,
    /// Certificate and key that do not belong together, or are not usable.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// Roots of client certificates that are not usable.
    #[error("client_ca_file: roots cannot be used")]
    UnusableRoots(#[source] rustls::server::VerifierBuilderError),
}

/// TLS that is set up. Clones share the certificate.
#[derive(Clone)]
pub struct Tls(Arc<Reloaded<TlsConfig>>);

/// The files as they were read last.
#[derive(PartialEq, Eq)]
pub struct ServerFiles {
    certificate: PemFile,
    key: PemFile,
    roots: Option<PemFile>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            min_version: "1.2".to_owned(),
            max_version: String::new(),
            reload_interval: Duration::from_secs(60),
        }
    }
}

/// Whether the settings are the same.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.source() == other.0.source()
    }
}

impl Eq for Tls {}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`], which names the setting.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Reloaded::load(config.clone())?)))
    }

    /// Reads the files again; says whether they had changed.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; then the certificate stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.0.reload()
    }

    /// Whether clients must show a certificate.
    pub fn asks_for_client_certificates(&self) -> bool {
        !self.0.source().client_ca_file.as_os_str().is_empty()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.current().into()
    }

    /// Looks for new files at the interval, until shutdown.
    pub(crate) fn reload_in_background(&self, shutdown: &Shutdown, tasks: &TaskGroup) {
        let TlsConfig {
            reload_interval,
            cert_file,
            ..
        } = self.0.source();
        if !reload_interval.is_zero() {
            self.0
                .reload_in_background(*reload_interval, cert_file, tasks, shutdown);
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(self.0.source()).finish()
    }
}

impl OfFiles for TlsConfig {
    type Files = ServerFiles;
    type Made = ServerConfig;
    type Error = TlsError;

    fn read(&self) -> Result<ServerFiles, TlsError> {
        Ok(ServerFiles {
            certificate: PemFile::read("cert_file", &self.cert_file)?,
            key: PemFile::read("key_file", &self.key_file)?,
            roots: PemFile::read_if_set("client_ca_file", &self.client_ca_file)?,
        })
    }

    fn make(&self, files: &ServerFiles) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(self)?)
            .map_err(|_| TlsError::NoVersion)?;
        let builder = match &files.roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots.certificates()? {
                    store.add(root).map_err(TlsError::Unusable)?;
                }
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(store.into(), provider)
                        .build()
                        .map_err(TlsError::UnusableRoots)?,
                )
            }
        };
        let mut server = builder
            .with_single_cert(files.certificate.certificates()?, files.key.private_key()?)
            .map_err(TlsError::Unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

/// The versions between the oldest and the newest.
fn versions(config: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let known = [&rustls::version::TLS12, &rustls::version::TLS13];
    let position = |setting, version: &str, default| match version {
        "" => Ok(default),
        "1.2" => Ok(0),
        "1.3" => Ok(1),
        other => Err(TlsError::Version {
            setting,
            version: other.to_owned(),
        }),
    };
    let oldest = position("min_version", &config.min_version, 0)?;
    let newest = position("max_version", &config.max_version, 1)?;
    match known.get(oldest..=newest) {
        Some(versions) if !versions.is_empty() => Ok(versions.to_vec()),
        _ => Err(TlsError::NoVersion),
    }
}

#[cfg(test)]
mod tests;
