//! TLS to generators, with certificates that may change while it runs.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::config::GrpcClientConfig;

/// How often the files are looked at. As on our listeners.
const LOOK: Duration = Duration::from_secs(60);

/// TLS to generators that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
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
    /// The system has no roots of certificates.
    #[error("the system has no certificates to trust; name them in tls_ca_path")]
    NoRoots,
    /// Certificate, key or root that are not usable.
    #[error("certificate, key or root cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// TLS that is set up; clones share the certificate.
#[derive(Clone)]
pub(super) struct ClientTls(Arc<Shared>);

struct Shared {
    config: GrpcClientConfig,
    files: Mutex<Files>,
    current: ArcSwap<ClientConfig>,
}

/// The files as they were read last; `None` where none is named.
#[derive(Default, PartialEq, Eq)]
struct Files {
    roots: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl ClientTls {
    /// Reads the files; `None` if TLS is off.
    ///
    /// # Errors
    ///
    /// [`ClientTlsError`].
    pub(super) fn load(config: &GrpcClientConfig) -> Result<Option<Self>, ClientTlsError> {
        if !config.tls_enabled {
            return Ok(None);
        }
        let files = Files::read(config)?;
        let client = files.client_config(config)?;
        Ok(Some(Self(Arc::new(Shared {
            config: config.clone(),
            files: files.into(),
            current: ArcSwap::from_pointee(client),
        }))))
    }

    /// Reads the files again; says whether they had changed. Connections that are open keep
    /// what they began with.
    ///
    /// # Errors
    ///
    /// [`ClientTlsError`]; then everything stays as it was.
    pub(super) fn reload(&self) -> Result<bool, ClientTlsError> {
        let files = Files::read(&self.0.config)?;
        let mut last = self.0.files.lock();
        if *last == files {
            return Ok(false);
        }
        let client = files.client_config(&self.0.config)?;
        self.0.current.store(Arc::new(client));
        *last = files;
        Ok(true)
    }

    pub(super) fn connector(&self) -> TlsConnector {
        self.0.current.load_full().into()
    }

    /// The name that the certificate of a generator has to have.
    ///
    /// # Errors
    ///
    /// [`InvalidDnsNameError`] if the setting is no host name.
    pub(super) fn server_name(
        &self,
        address: IpAddr,
    ) -> Result<ServerName<'static>, InvalidDnsNameError> {
        let name = &self.0.config.tls_server_name;
        if name.is_empty() {
            return Ok(ServerName::from(address));
        }
        ServerName::try_from(name.clone())
    }

    /// Looks for new files until shutdown.
    pub(super) fn reload_in_background(&self, tasks: &TaskGroup, shutdown: &Shutdown) {
        let (tls, shutdown) = (self.clone(), shutdown.clone());
        tasks.spawn("generator-tls-reload", async move {
            loop {
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = shutdown.requested() => return,
                }
                match tls.reload() {
                    Ok(true) => tracing::info!("certificate for generators reloaded"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(
                        error = %telemetry::error_chain(&error),
                        "cannot reload the certificate for generators, keeping the old one"
                    ),
                }
            }
        });
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.0.config).finish()
    }
}

impl Files {
    fn read(config: &GrpcClientConfig) -> Result<Self, ClientTlsError> {
        Ok(Self {
            roots: read("tls_ca_path", &config.tls_ca_path)?,
            certificate: read("tls_cert_path", &config.tls_cert_path)?,
            key: read("tls_key_path", &config.tls_key_path)?,
        })
    }

    fn client_config(&self, config: &GrpcClientConfig) -> Result<ClientConfig, ClientTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientTlsError::Unusable)?
            .with_root_certificates(self.roots(config)?);
        let mut client = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls_cert_path", &config.tls_cert_path, certificate)?;
                let key =
                    PrivateKeyDer::from_pem_slice(key).map_err(|_| ClientTlsError::NotPem {
                        setting: "tls_key_path",
                        path: config.tls_key_path.clone(),
                        expected: "a private key",
                    })?;
                let with_certificate = builder.with_client_auth_cert(chain, key);
                with_certificate.map_err(ClientTlsError::Unusable)?
            }
            _ => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(client)
    }

    fn roots(&self, config: &GrpcClientConfig) -> Result<RootCertStore, ClientTlsError> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            Some(roots) => {
                for root in certificates("tls_ca_path", &config.tls_ca_path, roots)? {
                    store.add(root).map_err(ClientTlsError::Unusable)?;
                }
            }
            None => {
                let of_system = rustls_native_certs::load_native_certs().certs;
                store.add_parsable_certificates(of_system);
                if store.is_empty() {
                    return Err(ClientTlsError::NoRoots);
                }
            }
        }
        Ok(store)
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Option<Vec<u8>>, ClientTlsError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let read = std::fs::read(path).map_err(|source| ClientTlsError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    });
    read.map(Some)
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientTlsError::NotPem {
            setting,
            path: path.to_owned(),
            expected: "a certificate",
        }),
    }
}

#[cfg(test)]
mod tests;
