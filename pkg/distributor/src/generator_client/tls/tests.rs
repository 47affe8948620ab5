use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A root, on disk, and the certificates that it signs.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn issue(&self) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.directory.path().join("node.pem"), certificate.pem()).unwrap();
        std::fs::write(self.directory.path().join("node.key"), key.serialize_pem()).unwrap();
        (certificate.der().clone(), key)
    }

    fn config(&self) -> GrpcClientConfig {
        let path = |file| self.directory.path().join(file);
        GrpcClientConfig {
            tls_enabled: true,
            tls_ca_path: path("ca.pem"),
            tls_cert_path: path("node.pem"),
            tls_key_path: path("node.key"),
            ..GrpcClientConfig::default()
        }
    }

    /// The certificate that a client shows to a server of this authority.
    async fn shown_by(&self, client: &ClientTls) -> CertificateDer<'static> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let (ours, theirs) = duplex(1 << 16);
        let name = client.server_name("127.0.0.1".parse().unwrap()).unwrap();
        let connect = async {
            let mut stream = client.connector().connect(name, ours).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let accept = async {
            let acceptor = TlsAcceptor::from(Arc::new(server));
            let mut stream = acceptor.accept(theirs).await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap();
            shown[0].clone().into_owned()
        };
        let (_stream, shown) = tokio::join!(connect, accept);
        shown
    }
}

#[tokio::test]
async fn new_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let authority = Authority::new();
    let (first, _) = authority.issue();
    let config = authority.config();
    let tls = ClientTls::load(&config).unwrap().unwrap();
    assert_eq!(authority.shown_by(&tls).await, first);
    assert!(!tls.0.reload().unwrap());

    let (second, _) = authority.issue();
    assert_eq!(authority.shown_by(&tls).await, first);
    assert!(tls.0.reload().unwrap());
    assert_eq!(authority.shown_by(&tls).await, second);

    std::fs::write(&config.tls_key_path, "no key").unwrap();
    let error = tls.0.reload().unwrap_err();
    assert!(error.to_string().starts_with("tls_key_path: "), "{error}");
    assert_eq!(authority.shown_by(&tls).await, second);
}

#[test]
fn files_that_cannot_be_used_are_named_by_their_setting() {
    let authority = Authority::new();
    authority.issue();
    let good = authority.config();
    let nothing = authority.directory.path().join("nothing");
    let message = |config: GrpcClientConfig| ClientTls::load(&config).unwrap_err().to_string();
    let missing = GrpcClientConfig {
        tls_ca_path: nothing.clone(),
        ..good.clone()
    };
    assert_eq!(
        message(missing),
        format!("tls_ca_path: cannot read {}", nothing.display())
    );
    std::fs::write(&good.tls_cert_path, "no certificate").unwrap();
    assert!(message(good.clone()).starts_with("tls_cert_path: "));
    let off = GrpcClientConfig {
        tls_enabled: false,
        ..good
    };
    assert!(ClientTls::load(&off).unwrap().is_none());
}
