//! What outsiders send cannot forge lines of the log, or fill it.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::Spanmill;
use spanmill_integration::http::client;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};

/// A line of its own, for who does not escape; and colours.
const FORGED: &str = "x\n{\"level\":\"error\",\"msg\":\"forged\"}\r\u{1b}[31m\u{2028}";

/// Threats, S14.
#[tokio::test]
async fn names_and_headers_of_outsiders_stay_within_their_line() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "server": {"log_level": "debug", "log_format": "json"},
                "overrides": {"defaults": {"metrics_generator": {
                    "max_active_series": 1,
                    "trace_id_label_name": "trace",
                }}},
            })
            .to_string(),
        )
        .start()
        .await?;
    let long = "y".repeat(1 << 20);
    for name in [FORGED, &long] {
        let traces = Traces::of_service(name).spans(name, 2, Duration::from_millis(3), 1);
        let answer = post(&spanmill.otlp_http(), &traces.request(), None).await?;
        answer.accepted()?;
    }
    // Refusals quote what they refuse.
    for content_type in ["text/\u{e9}\tx", &"z".repeat(50_000)] {
        let request = client().post(spanmill.otlp_http()).body("x");
        let response = request.header("content-type", content_type).send().await?;
        ensure!(response.status() == 415, "{}", response.status());
    }
    let broken = format!("{{\"resourceSpans\": \"{}\"}}", FORGED.replace('\n', "\\n"));
    let request = client().post(spanmill.otlp_http()).body(broken);
    let request = request.header("content-type", "application/json");
    ensure!(request.send().await?.status() == 400, "taken");
    let ledger = spanmill.ledger().await?;
    ensure!(
        ledger.counted(SINGLE_TENANT, "span-metrics") == 4,
        "{ledger:?}"
    );
    let log = spanmill.stop().await?;
    // What comes before is the address list, for people.
    let lines: Vec<_> = log.lines().filter(|line| line.starts_with('{')).collect();
    ensure!(lines.len() > 5, "{log}");
    for line in lines {
        let read: Result<Value, _> = serde_json::from_str(line);
        ensure!(read.is_ok(), "no JSON: {line}");
        ensure!(!line.contains('\u{1b}'), "colours: {line}");
        ensure!(line.len() < 20_000, "{} bytes: {line}", line.len());
    }
    ensure!(
        !log.lines()
            .any(|line| line.contains("\"msg\":\"forged\"") && line.len() < 60),
        "{log}"
    );
    Ok(())
}

/// Threats, S14.
#[tokio::test]
async fn bad_requests_do_not_fill_the_log() -> anyhow::Result<()> {
    const REQUESTS: usize = 4_000;

    let hash = server::authentication::hash_token("right");
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "multitenancy_enabled": true,
                "authentication": {"credentials": [
                    {"name": "one", "bearer_hash": hash, "tenants": "*", "roles": ["write"]},
                ]},
            })
            .to_string(),
        )
        .start()
        .await?;
    let before = spanmill.log().lines().count();
    for number in 0..REQUESTS {
        let mut request = client().post(spanmill.otlp_http()).body("not protobuf");
        request = match number % 4 {
            0 => request,
            1 => request.bearer_auth("wrong"),
            2 => request.bearer_auth("right").header("x-scope-orgid", "../x"),
            _ => request
                .bearer_auth("right")
                .header("x-scope-orgid", "acme")
                .header("content-type", "application/x-protobuf"),
        };
        let status = request.send().await?.status();
        ensure!(status.is_client_error(), "{number}: {status}");
    }
    let log = spanmill.stop().await?;
    let lines = log.lines().count() - before;
    ensure!(lines < REQUESTS / 100, "{lines} lines: {log}");
    ensure!(log.contains("refused a request for who sends it"), "{log}");
    Ok(())
}
