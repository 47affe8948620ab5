//! TLS of listeners, with certificates that may change while it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::error_chain;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

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
    /// A file that cannot be read.
    #[error("{setting}: cannot read {}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not PEM, or lacks what it should hold.
    #[error("{setting}: {} does not hold {expected} in PEM", path.display())]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
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
pub struct Tls(Arc<Shared>);

struct Shared {
    config: TlsConfig,
    files: parking_lot::Mutex<Files>,
    current: ArcSwap<ServerConfig>,
}

/// The files as they were read last.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    roots: Option<Vec<u8>>,
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
        self.0.config == other.0.config
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
        let files = Files::read(config)?;
        let server = files.server_config(config)?;
        Ok(Self(Arc::new(Shared {
            config: config.clone(),
            files: files.into(),
            current: ArcSwap::from_pointee(server),
        })))
    }

    /// Reads the files again; says whether they had changed.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; then the certificate stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.0.config)?;
        let mut last = self.0.files.lock();
        if *last == files {
            return Ok(false);
        }
        let server = files.server_config(&self.0.config)?;
        self.0.current.store(Arc::new(server));
        *last = files;
        Ok(true)
    }

    /// Whether clients must show a certificate.
    pub fn asks_for_client_certificates(&self) -> bool {
        !self.0.config.client_ca_file.as_os_str().is_empty()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.current.load_full().into()
    }

    /// Looks for new files at the interval, until shutdown.
    pub(crate) fn reload_in_background(&self, shutdown: &Shutdown, tasks: &TaskGroup) {
        let interval = self.0.config.reload_interval;
        if interval.is_zero() {
            return;
        }
        let (tls, shutdown) = (self.clone(), shutdown.clone());
        tasks.spawn("tls-reload", async move {
            loop {
                tokio::select! {
                    () = sleep(interval) => {}
                    () = shutdown.requested() => return,
                }
                let file = tls.0.config.cert_file.display();
                match tls.reload() {
                    Ok(true) => tracing::info!(%file, "certificate reloaded"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(
                        %file,
                        error = %error_chain(&error),
                        "cannot reload certificate, keeping the old one"
                    ),
                }
            }
        });
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.config).finish()
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let has_roots = !config.client_ca_file.as_os_str().is_empty();
        Ok(Self {
            certificate: read("cert_file", &config.cert_file)?,
            key: read("key_file", &config.key_file)?,
            roots: has_roots
                .then(|| read("client_ca_file", &config.client_ca_file))
                .transpose()?,
        })
    }

    fn server_config(&self, config: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(config)?)
            .map_err(|_| TlsError::NoVersion)?;
        let builder = match &self.roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let path = &config.client_ca_file;
                let mut store = RootCertStore::empty();
                for root in certificates("client_ca_file", path, roots)? {
                    store.add(root).map_err(TlsError::Unusable)?;
                }
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(store.into(), provider)
                        .build()
                        .map_err(TlsError::UnusableRoots)?,
                )
            }
        };
        let chain = certificates("cert_file", &config.cert_file, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NotPem {
            setting: "key_file",
            path: config.key_file.clone(),
            expected: "a private key",
        })?;
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(TlsError::Unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    })
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NotPem {
            setting,
            path: path.to_owned(),
            expected: "a certificate",
        }),
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
