//! The TLS side of a client.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::config::TlsClientConfig;
use crate::error::StartError;

/// Makes the TLS settings of a client. Without `https` no certificate is
/// loaded.
///
/// # Errors
///
/// A file that cannot be read, or that does not hold what it should.
pub(crate) fn client_config(
    config: &TlsClientConfig,
    https: bool,
    http2: bool,
) -> Result<ClientConfig, StartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| StartError::Tls { source })?;
    let builder = if config.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else if https && !config.server_name.is_empty() {
        let roots = Arc::new(roots(config)?);
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| StartError::Tls {
                source: rustls::Error::General(error.to_string()),
            })?;
        let name =
            ServerName::try_from(config.server_name.clone()).map_err(|_| StartError::Invalid {
                key: "tls_config.server_name".to_owned(),
                problem: "is not a host name".to_owned(),
            })?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(WithName { inner, name }))
    } else if https {
        builder.with_root_certificates(roots(config)?)
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    let mut tls = match (config.cert_file.as_str(), config.key_file.as_str()) {
        ("", _) | (_, "") => builder.with_no_client_auth(),
        (certificate, key) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|source| StartError::Tls { source })?,
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        tls.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(tls)
}

/// Reads a file that a setting names.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

fn roots(config: &TlsClientConfig) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    let certificates = if config.ca_file.is_empty() {
        // Those that cannot be read are left out, as every client does.
        rustls_native_certs::load_native_certs().certs
    } else {
        certificates(&config.ca_file)?
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(StartError::NoAuthorities);
    }
    Ok(roots)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, StartError> {
    pem(path, |text| {
        let found: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(rustls::pki_types::pem::Error::NoItemsFound);
        }
        Ok(found)
    })
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, StartError> {
    pem(path, PrivateKeyDer::from_pem_slice)
}

/// Reads a file, and what it holds in PEM.
fn pem<T>(
    path: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, StartError> {
    let text = read(Path::new(path))?;
    parse(&text).map_err(|source| StartError::Pem {
        path: path.into(),
        source,
    })
}

/// Verifies a certificate against a configured name in place of the host's.
#[derive(Debug)]
struct WithName {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for WithName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

/// Accepts any certificate, for `insecure_skip_verify`.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
