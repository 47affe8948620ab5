use std::net::SocketAddr;

use axum::routing::get;
use axum::{Extension, Router};
use http::Version;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::authentication::PeerIdentity;
use crate::{Listener, ServeOptions};

/// A root, and certificates that it signed, on disk.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            directory: TempDir::new().unwrap(),
            issuer,
        };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a certificate for localhost and its key.
    fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
    }

    fn config(&self) -> TlsConfig {
        TlsConfig {
            cert_file: self.path("server.pem"),
            key_file: self.path("server.key"),
            ..TlsConfig::default()
        }
    }

    fn client(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
    }
}

fn serve(tls: Tls) -> SocketAddr {
    serve_router(tls, Router::new().route("/", get(|| async { "hello" })))
}

fn serve_router(tls: Tls, router: Router) -> SocketAddr {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let address = listener.local_addr();
    let options = ServeOptions {
        tls: Some(tls),
        ..ServeOptions::default()
    };
    listener.serve(router, options, Shutdown::new(), &TaskGroup::new());
    address
}

/// Asks for `/` over the protocol that was agreed on; gives the version and the
/// server's certificate.
async fn ask(
    address: SocketAddr,
    mut client: ClientConfig,
    alpn: &[&[u8]],
) -> Result<(Version, CertificateDer<'static>), Box<dyn std::error::Error>> {
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(client))
        .connect("localhost".try_into()?, socket)
        .await?;
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
    let request = http::Request::get("http://localhost/").body(Empty::<bytes::Bytes>::new())?;
    let response = if session.alpn_protocol() == Some(b"h2") {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await?;
        TaskGroup::new().spawn("client", async {
            let _ = connection.await;
        });
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        TaskGroup::new().spawn("client", async {
            let _ = connection.await;
        });
        sender.send_request(request).await?
    };
    let version = response.version();
    let body = response.into_body().collect().await?.to_bytes();
    assert_eq!(body, "hello");
    Ok((version, certificate))
}

#[tokio::test]
async fn protocol_follows_alpn_and_is_found_out_without() {
    let authority = Authority::new();
    authority.issue("server");
    let address = serve(Tls::load(&authority.config()).unwrap());
    for (alpn, version) in [
        (
            &[b"h2".as_slice(), b"http/1.1"] as &[&[u8]],
            Version::HTTP_2,
        ),
        (&[b"http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let client = authority.client().with_no_client_auth();
        let (spoken, _) = ask(address, client, alpn).await.unwrap();
        assert_eq!(spoken, version);
    }
}

#[tokio::test]
async fn new_certificate_is_served_after_reload_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let (first, _) = authority.issue("server");
    let tls = Tls::load(&authority.config()).unwrap();
    let address = serve(tls.clone());
    let served = async || {
        let client = authority.client().with_no_client_auth();
        ask(address, client, &[]).await.unwrap().1
    };
    assert_eq!(served().await, first);
    assert!(!tls.reload().unwrap());

    let (second, _) = authority.issue("server");
    assert!(tls.reload().unwrap());
    assert_eq!(served().await, second);

    std::fs::write(authority.path("server.pem"), "half a file").unwrap();
    let error = tls.reload().unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::Pem(PemError::NotPem {
                setting: "cert_file",
                ..
            })
        ),
        "{error}"
    );
    assert_eq!(served().await, second);
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_each_interval() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = Tls::load(&authority.config()).unwrap();
    let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
    tls.reload_in_background(&shutdown, &tasks);
    let before = tls.0.current();
    authority.issue("server");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(!Arc::ptr_eq(&before, &tls.0.current()));
    shutdown.trigger();
    assert!(tasks.join(Duration::from_secs(5)).await.is_empty());
}

#[tokio::test]
async fn client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let authority = Authority::new();
    authority.issue("server");
    let (certificate, key) = authority.issue("client");
    let config = TlsConfig {
        client_ca_file: authority.path("ca.pem"),
        ..authority.config()
    };
    let tls = Tls::load(&config).unwrap();
    assert!(tls.asks_for_client_certificates());
    let address = serve(tls);
    let with = authority
        .client()
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    assert!(ask(address, with, &[]).await.is_ok());
    let without = authority.client().with_no_client_auth();
    assert!(ask(address, without, &[]).await.is_err());
}

#[tokio::test]
async fn requests_know_the_names_in_the_certificate_of_their_client() {
    let authority = Authority::new();
    authority.issue("server");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
    let id = "spiffe://mesh/agent";
    params
        .subject_alt_names
        .push(rcgen::SanType::URI(id.try_into().unwrap()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "agent");
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let config = TlsConfig {
        client_ca_file: authority.path("ca.pem"),
        ..authority.config()
    };
    let handler = |Extension(peer): Extension<Arc<PeerIdentity>>| async move {
        let names = (
            peer.alternative_names.as_slice(),
            peer.common_names.as_slice(),
        );
        let want = (["agent.example", "spiffe://mesh/agent"], ["agent"]);
        if names.0 == want.0 && names.1 == want.1 {
            "hello".to_owned()
        } else {
            format!("{peer:?}")
        }
    };
    let router = Router::new().route("/", get(handler));
    let address = serve_router(Tls::load(&config).unwrap(), router);
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let client = authority.client();
        let client = client.with_client_auth_cert(vec![certificate.der().clone()], key);
        ask(address, client.unwrap(), &[alpn]).await.unwrap();
    }
}

#[test]
fn problems_name_the_setting() {
    let authority = Authority::new();
    authority.issue("server");
    let good = authority.config();
    let with = |change: &dyn Fn(&mut TlsConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Tls::load(&config).unwrap_err().to_string()
    };
    assert_eq!(
        with(&|config| config.cert_file = "/nowhere/x.pem".into()),
        "cert_file: cannot read /nowhere/x.pem"
    );
    assert!(
        with(&|config| config.key_file = config.cert_file.clone())
            .ends_with("does not hold a private key in PEM")
    );
    assert_eq!(
        with(&|config| config.min_version = "1.1".into()),
        "min_version: \"1.1\" is not one of 1.2, 1.3"
    );
    assert_eq!(
        with(&|config| {
            config.min_version = "1.3".into();
            config.max_version = "1.2".into();
        }),
        "min_version is above max_version"
    );
}
