use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn config(document: serde_json::Value) -> EndpointConfig {
    serde_json::from_value(document).unwrap()
}

fn authorization_of(document: serde_json::Value) -> Option<String> {
    endpoint_headers(&config(document))
        .unwrap()
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn every_way_to_authenticate_makes_its_header() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    // "u:p", "u:from-file" and "u:p@" in base64.
    for (settings, want) in [
        (json!({}), None),
        (
            json!({"basic_auth": {"username": "u", "password": "p"}}),
            Some("Basic dTpw"),
        ),
        (
            json!({"basic_auth": {"username": "u", "password_file": path}}),
            Some("Basic dTpmcm9tLWZpbGU="),
        ),
        (
            json!({"authorization": {"credentials": "c"}}),
            Some("Bearer c"),
        ),
        (
            json!({"authorization": {"type": "Token", "credentials_file": path}}),
            Some("Token from-file"),
        ),
        (json!({"bearer_token": "t"}), Some("Bearer t")),
        (json!({"bearer_token_file": path}), Some("Bearer from-file")),
        (json!({"url": "http://u:p%40@h/"}), Some("Basic dTpwQA==")),
    ] {
        let mut document = json!({"url": "http://h/"});
        document
            .as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        assert_eq!(authorization_of(document).as_deref(), want, "{settings}");
    }
}

#[test]
fn headers_may_have_several_values_and_be_in_files() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let header = json!({"values": ["a"], "secrets": ["b", "c"], "files": [file.path()]});
    let document = json!({"url": "http://h", "http_headers": {"X-A": header}});
    let headers = endpoint_headers(&config(document)).unwrap();
    let values: Vec<_> = headers.get_all("x-a").iter().collect();
    assert_eq!(values, ["a", "b", "c", "from-file"]);
}

#[test]
fn missing_secret_file_is_named() {
    let error = endpoint_headers(&config(
        json!({"url": "http://h", "bearer_token_file": "/nowhere/token"}),
    ))
    .unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/token");
}

#[test]
fn protocol_headers_are_those_of_the_specification() {
    let headers = endpoint_headers(&config(json!({"url": "http://h"}))).unwrap();
    let got: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        got,
        BTreeMap::from([
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("user-agent", "spanmill/0.1.0"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ])
    );
}

#[tokio::test]
async fn unreachable_receiver_is_a_failure_whose_text_has_no_url() {
    // Bound and dropped: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://user:canary@127.0.0.1:{port}/w?token=canary");
    let client = Client::new(&config(json!({ "url": url })), Clock::manual(0)).unwrap();
    let Attempt::Failed {
        problem,
        retry_after: None,
        cause: FailureCause::Silent,
    } = client
        .send(&HeaderMap::new(), Protocol::V1, Bytes::new())
        .await
    else {
        panic!("the attempt did not fail");
    };
    assert!(problem.contains("refused"), "{problem}");
    assert!(!problem.contains("canary"), "{problem}");
}

pub(super) mod tls {
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Serves one TLS connection with a certificate for `sink.example`, and
    /// answers its first request with 204. Gives the port and the authority.
    pub(in crate::client) async fn server() -> (u16, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["sink.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        lifecycle::TaskGroup::new().spawn("test-server", async move {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            stream.flush().await.unwrap();
        });
        (port, certificate.pem())
    }

    /// Sends one request with these TLS settings; `CA` names the authority's
    /// file.
    async fn send_with(tls_config: serde_json::Value) -> Attempt {
        let (port, authority) = server().await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority).unwrap();
        let path = file.path().to_str().unwrap();
        let tls_config = tls_config.to_string().replace("CA", path);
        let tls_config: serde_json::Value = serde_json::from_str(&tls_config).unwrap();
        let config = config(json!({
            "url": format!("https://127.0.0.1:{port}/"),
            "tls_config": tls_config,
        }));
        let client = Client::new(&config, Clock::manual(0)).unwrap();
        client
            .send(&HeaderMap::new(), Protocol::V1, Bytes::new())
            .await
    }

    #[tokio::test]
    async fn certificate_is_checked_by_authority_and_name() {
        for (settings, trusted) in [
            (
                json!({"ca_file": "CA", "server_name": "sink.example"}),
                true,
            ),
            (
                json!({"ca_file": "CA", "server_name": "other.example"}),
                false,
            ),
            (json!({"ca_file": "CA"}), false),
            (json!({"insecure_skip_verify": true}), true),
            // The server speaks 1.3 only.
            (
                json!({"insecure_skip_verify": true, "min_version": "TLS13"}),
                true,
            ),
            (
                json!({"insecure_skip_verify": true, "max_version": "TLS12"}),
                false,
            ),
        ] {
            let attempt = send_with(settings.clone()).await;
            assert_eq!(
                attempt == Attempt::Delivered(None),
                trusted,
                "{settings}: {attempt:?}"
            );
        }
    }

    #[test]
    fn files_without_what_they_should_hold_are_named() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["us.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (pem, key) = (
            file("c.pem", &certificate.pem()),
            file("k.pem", &key.serialize_pem()),
        );
        let empty = file("empty.pem", "nothing");
        for (ca_file, cert_file, key_file, named) in [
            (&pem, &pem, &key, ""),
            (&empty, &pem, &key, "empty.pem holds no usable PEM"),
            (&pem, &empty, &key, "empty.pem holds no usable PEM"),
            (&pem, &key, &key, "k.pem holds no usable PEM"),
            (&pem, &pem, &empty, "empty.pem holds no usable PEM"),
            (&pem, &pem, &pem, "c.pem holds no usable PEM"),
        ] {
            let config = config(json!({
                "url": "https://sink.example/",
                "tls_config": {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file},
            }));
            // The same within the settings.
            let read = |path: &String| std::fs::read_to_string(path).unwrap();
            let inline = super::config(json!({
                "url": "https://sink.example/",
                "tls_config": {"ca": read(ca_file), "cert": read(cert_file), "key": read(key_file)},
            }));
            let error = Client::new(&inline, Clock::manual(0)).err();
            assert_eq!(error.is_none(), named.is_empty(), "{error:?}");

            let error = Client::new(&config, Clock::manual(0)).err();
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.ends_with(named), "{text}");
            assert_eq!(text.is_empty(), named.is_empty(), "{text}");
        }
    }
}
