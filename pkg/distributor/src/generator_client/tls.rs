//! TLS to generators, with certificates that may change while it runs.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Shutdown, TaskGroup};
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use server::tls::{OfFiles, PemError, PemFile, Reloaded};
use tokio_rustls::TlsConnector;

use super::config::GrpcClientConfig;

/// How often the files are looked at. As on our listeners.
const LOOK: Duration = Duration::from_secs(60);

/// TLS to generators that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file that cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The system has no roots of certificates.
    #[error("the system has no certificates to trust; name them in tls_ca_path")]
    NoRoots,
    /// Certificate, key or root that are not usable.
    #[error("certificate, key or root cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// TLS that is set up; clones share the certificate.
#[derive(Clone)]
pub(super) struct ClientTls(Arc<Reloaded<GrpcClientConfig>>);

/// The files as they were read last; `None` where none is named.
#[derive(PartialEq, Eq)]
pub struct ClientFiles {
    roots: Option<PemFile>,
    certificate: Option<PemFile>,
    key: Option<PemFile>,
}

impl ClientTls {
    /// Reads the files; `None` if TLS is off.
    ///
    /// # Errors
    ///
    /// [`ClientTlsError`].
    pub(super) fn load(config: &GrpcClientConfig) -> Result<Option<Self>, ClientTlsError> {
        let load = || Reloaded::load(config.clone());
        let loaded = config.tls_enabled.then(load).transpose()?;
        Ok(loaded.map(|loaded| Self(Arc::new(loaded))))
    }

    pub(super) fn connector(&self) -> TlsConnector {
        self.0.current().into()
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
        let name = &self.0.source().tls_server_name;
        if name.is_empty() {
            return Ok(ServerName::from(address));
        }
        ServerName::try_from(name.clone())
    }

    /// Looks for new files until shutdown. Connections that are open keep what they began
    /// with.
    pub(super) fn reload_in_background(&self, tasks: &TaskGroup, shutdown: &Shutdown) {
        let file = &self.0.source().tls_cert_path;
        self.0.reload_in_background(LOOK, file, tasks, shutdown);
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(self.0.source()).finish()
    }
}

impl OfFiles for GrpcClientConfig {
    type Files = ClientFiles;
    type Made = ClientConfig;
    type Error = ClientTlsError;

    fn read(&self) -> Result<ClientFiles, ClientTlsError> {
        Ok(ClientFiles {
            roots: PemFile::read_if_set("tls_ca_path", &self.tls_ca_path)?,
            certificate: PemFile::read_if_set("tls_cert_path", &self.tls_cert_path)?,
            key: PemFile::read_if_set("tls_key_path", &self.tls_key_path)?,
        })
    }

    fn make(&self, files: &ClientFiles) -> Result<ClientConfig, ClientTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientTlsError::Unusable)?
            .with_root_certificates(roots(files.roots.as_ref())?);
        let mut client = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
                .map_err(ClientTlsError::Unusable)?,
            _ => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(client)
    }
}

/// Those in the file, or else the system's.
fn roots(file: Option<&PemFile>) -> Result<RootCertStore, ClientTlsError> {
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => {
            for root in file.certificates()? {
                store.add(root).map_err(ClientTlsError::Unusable)?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(ClientTlsError::NoRoots);
            }
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
