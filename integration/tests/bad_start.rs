//! A start that cannot work ends with one message that says what to change.

use std::net::TcpListener;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::Spanmill;
use spanmill_integration::authority::Authority;
use spanmill_integration::ports::Port;
use spanmill_integration::spanmill::run_with_file;

#[tokio::test]
async fn port_in_use_is_named_with_its_setting() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let (code, log) = Spanmill::builder()
        .config(&format!("server: {{http_listen_port: {port}}}"))
        .run()
        .await?;
    ensure!(code == Some(1), "ended with {code:?}: {log}");
    for part in [&format!("127.0.0.1:{port}"), "http_listen_port", "in use"] {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    Ok(())
}

#[tokio::test]
async fn settings_with_one_address_must_have_the_same_tls() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let identity = authority.issue("localhost")?;
    let port = Port::reserve()?;
    let address = port.address().to_string();
    let tls = json!({ "cert_file": identity.certificate, "key_file": identity.key });
    let mut mutual = tls.clone();
    mutual["client_ca_file"] = json!(authority.certificate());
    let receiver = |tls: Value| json!({ "endpoint": address, "tls": tls });
    let protocols = json!({ "grpc": receiver(tls), "http": receiver(mutual) });
    let config = json!({ "distributor": { "receivers": { "otlp": { "protocols": protocols } } } });
    let builder = Spanmill::builder().config(&config.to_string());
    drop(port);
    let (code, log) = builder.run().await?;
    ensure!(code == Some(1), "ended with {code:?}: {log}");
    for part in [
        address.as_str(),
        "tls settings differ",
        "otlp.protocols.http",
    ] {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    Ok(())
}

/// What is wrong, the file, and what the message must hold.
const FILES: [(&str, &str, &[&str]); 4] = [
    (
        "unknown setting",
        "server:\n  http_listen_prot: 3200\n",
        &[
            "spanmill.yaml",
            "2",
            "server.http_listen_prot",
            "http_listen_port",
        ],
    ),
    (
        "wrong type",
        "server:\n  http_listen_port: many\n",
        &["spanmill.yaml", "2", "http_listen_port"],
    ),
    ("no YAML", "server: [\n", &["spanmill.yaml"]),
    (
        "receiver that is not offered",
        "distributor:\n  receivers:\n    kafka: {}\n",
        &["kafka"],
    ),
];

#[tokio::test]
async fn bad_configuration_is_told_with_file_line_and_key() -> anyhow::Result<()> {
    for (case, file, parts) in FILES {
        let (code, log) = run_with_file(file).await?;
        ensure!(code == Some(2), "{case}: ended with {code:?}: {log}");
        for part in parts {
            ensure!(log.contains(part), "{case}: {part:?} is not in {log}");
        }
    }
    Ok(())
}
