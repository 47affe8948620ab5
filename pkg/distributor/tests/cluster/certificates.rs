//! Nodes that know each other by certificates.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use server::{NodeAuthenticationConfig, ServeOptions, Tls, TlsConfig};
use spanmill_distributor::MetricsGeneratorClientConfig;
use tempfile::TempDir;

use crate::harness::{Cluster, Options, request};

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

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn issue(&self, file: &str, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// Listeners that ask for a certificate, and a client that shows one.
    fn options(&self, asked: &[&str]) -> (Options, Tls) {
        let tls = Tls::load(&TlsConfig {
            cert_file: self.path("generator.pem"),
            key_file: self.path("generator.key"),
            client_ca_file: self.path("ca.pem"),
            ..TlsConfig::default()
        });
        let tls = tls.unwrap();
        let mut client = MetricsGeneratorClientConfig::default();
        client.grpc_client_config.tls_enabled = true;
        client.grpc_client_config.tls_ca_path = self.path("ca.pem");
        client.grpc_client_config.tls_cert_path = self.path("distributor.pem");
        client.grpc_client_config.tls_key_path = self.path("distributor.key");
        assert_eq!(client.validate(), []);
        let options = Options {
            client,
            serve: ServeOptions {
                tls: Some(tls.clone()),
                ..ServeOptions::default()
            },
            asked: NodeAuthenticationConfig {
                certificate_names: asked.iter().map(|name| (*name).to_owned()).collect(),
                ..NodeAuthenticationConfig::default()
            },
            ..Options::default()
        };
        (options, tls)
    }
}

#[tokio::test]
async fn certificate_of_a_node_is_asked_for_and_let_in() {
    let authority = Authority::new();
    authority.issue("generator", &["127.0.0.1"]);
    authority.issue("distributor", &["node.cluster"]);
    let (options, _) = authority.options(&["node.cluster"]);
    let cluster = Cluster::with(2, options);
    cluster.push(&request(0..100)).await.unwrap();
    assert_eq!(cluster.counted(), cluster.owned(0..100, 0));

    // One that the same root has signed, for something else.
    let (options, _) = authority.options(&["another.cluster"]);
    let cluster = Cluster::with(2, options);
    cluster.push(&request(0..100)).await.unwrap_err();
    assert_eq!(cluster.counted(), [0, 0]);
    assert!(cluster.nodes[0].refused("not_a_node") > 0);
}

#[tokio::test]
async fn generator_with_a_strangers_certificate_gets_no_span() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("generator", &["127.0.0.1"]);
    authority.issue("distributor", &["node.cluster"]);
    let (mut options, _) = authority.options(&["node.cluster"]);
    options.client.grpc_client_config.tls_ca_path = stranger.path("ca.pem");
    let cluster = Cluster::with(1, options);
    cluster.push(&request(0..100)).await.unwrap_err();
    // Nor does one whose certificate is for another name.
    let (mut options, _) = authority.options(&["node.cluster"]);
    options.client.grpc_client_config.tls_server_name = "elsewhere".to_owned();
    let named = Cluster::with(1, options);
    named.push(&request(0..100)).await.unwrap_err();
    for cluster in [cluster, named] {
        assert_eq!(cluster.nodes[0].generator.tenants(), []);
        assert_eq!(cluster.ledger(), (300, 0, 300));
        assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
    }
}
