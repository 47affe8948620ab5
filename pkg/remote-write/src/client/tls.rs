//! The TLS side of a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::config::{TlsClientConfig, TlsVersion};
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
    let versions: Vec<_> = [
        (TlsVersion::Tls13, &rustls::version::TLS13),
        (TlsVersion::Tls12, &rustls::version::TLS12),
    ]
    .into_iter()
    .filter_map(|(version, supported)| config.speaks(version).then_some(supported))
    .collect();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
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
    let certificate = given("tls_config.cert", &config.cert, &config.cert_file)?;
    let key = given("tls_config.key", config.key.expose(), &config.key_file)?;
    let mut tls = match (certificate, key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(&certificate)?, private_key(&key)?)
            .map_err(|source| StartError::Tls { source })?,
        _ => builder.with_no_client_auth(),
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
    let certificates = match given("tls_config.ca", &config.ca, &config.ca_file)? {
        // Those that cannot be read are left out, as every client does.
        None => rustls_native_certs::load_native_certs().certs,
        Some(authorities) => certificates(&authorities)?,
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(StartError::NoAuthorities);
    }
    Ok(roots)
}

/// Text in PEM, and where it is from.
struct Pem {
    path: PathBuf,
    text: Vec<u8>,
}

/// What a setting holds, or the file beside it; `None` where neither is set.
fn given(key: &str, inline: &str, file: &str) -> Result<Option<Pem>, StartError> {
    let (path, text) = match (inline, file) {
        ("", "") => return Ok(None),
        ("", file) => (PathBuf::from(file), read(Path::new(file))?),
        (inline, _) => (PathBuf::from(key), inline.as_bytes().to_vec()),
    };
    Ok(Some(Pem { path, text }))
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, StartError> {
    pem.parse(|text| {
        let found: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(rustls::pki_types::pem::Error::NoItemsFound);
        }
        Ok(found)
    })
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, StartError> {
    pem.parse(PrivateKeyDer::from_pem_slice)
}

impl Pem {
    fn parse<T>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
    ) -> Result<T, StartError> {
        parse(&self.text).map_err(|source| StartError::Pem {
            path: self.path.clone(),
            source,
        })
    }
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
