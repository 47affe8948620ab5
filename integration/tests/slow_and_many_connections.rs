//! Clients that hold connections, or open and reset streams without end, take nothing
//! from the others.
//!
//! The tools are Debian's `slowhttptest` and `nghttp2-client`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use spanmill_integration::binaries::libraries;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::Traces;
use spanmill_integration::{Load, Spanmill};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Spans of one request; `Load` sends about a hundred of these a second, and more.
const SPANS: u64 = 10;

/// The most memory that a spanmill under attack may have.
const MEMORY: u64 = 512 << 20;

fn tool(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
}

/// What a tool prints.
async fn run(variable: &str, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let tool = tool(variable, name);
    let output = Command::new(&tool)
        .args(arguments)
        .env("LD_LIBRARY_PATH", libraries(&tool))
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", tool.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text + &String::from_utf8_lossy(&output.stderr))
}

async fn spanmill() -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config(
            "{distributor: {receivers: {otlp: {protocols: {http: {
               read_header_timeout: 2s, read_timeout: 2s, write_timeout: 2s}}}}}}",
        )
        .start()
        .await
}

fn traces(number: u64) -> Traces {
    Traces::of_service("shop").spans("pay", SPANS, Duration::from_millis(3), number * SPANS)
}

/// Does something while spans come in; then all of these were counted, and the memory
/// is bounded.
async fn beside_load(
    attack: impl AsyncFnOnce(&Spanmill) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let spanmill = spanmill().await?;
    let url = spanmill.otlp_http();
    let attack = async |load: &Load| {
        load.more(20).await?;
        attack(&spanmill).await?;
        load.more(20).await
    };
    let request = |number| traces(number).request();
    let ((), requests) = Load::during(&url, None, request, attack).await?;
    let memory = spanmill.resident_bytes()?;
    ensure!(memory < MEMORY, "{memory} bytes of memory");
    spanmill.finish(&[(SINGLE_TENANT, requests * SPANS)]).await
}

/// Threats, S11. Slow requests are to end long before their time, as all of the
/// connections were closed.
#[tokio::test]
async fn slow_clients_are_closed_while_spans_come_in() -> anyhow::Result<()> {
    beside_load(async |spanmill| {
        let url = spanmill.otlp_http();
        let slow = async |kind: &[&str], want: &str| {
            let common = ["-c", "1000", "-r", "1000", "-i", "1", "-p", "5", "-u", &url];
            let arguments = [kind, &common].concat();
            let report = run("SPANMILL_SLOWHTTPTEST", "slowhttptest", &arguments).await?;
            // It is coloured, and told every five seconds.
            let last = report
                .rsplit("service available:")
                .next()
                .unwrap_or_default();
            ensure!(last.contains(want), "{kind:?}: {report}");
            anyhow::Ok(())
        };
        let closed = "No open connections left";
        tokio::try_join!(
            slow(&["-H", "-l", "60"], closed),
            slow(&["-B", "-s", "100000", "-l", "60"], closed),
            // These have their answers in buffers of the system, and so do not see that
            // they were closed.
            slow(
                &[
                    "-X", "-w", "1", "-y", "2", "-n", "1", "-z", "1", "-k", "3", "-l", "8"
                ],
                "YES",
            ),
        )?;
        Ok(())
    })
    .await
}

/// Threats, S11.
#[tokio::test]
async fn many_streams_at_once_are_answered_while_spans_come_in() -> anyhow::Result<()> {
    beside_load(async |spanmill| {
        let address = spanmill.otlp_grpc();
        let arguments = ["-n", "20000", "-c", "10", "-m", "1000", &address];
        let report = run("SPANMILL_H2LOAD", "h2load", &arguments).await?;
        let want = "20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout";
        ensure!(report.contains(want), "{report}");
        Ok(())
    })
    .await
}

/// Threats, S11, and CVE-2023-44487: each stream is reset as soon as it is opened.
#[tokio::test]
async fn client_that_resets_its_streams_is_cut_off_while_spans_come_in() -> anyhow::Result<()> {
    beside_load(async |spanmill| {
        for address in [spanmill.otlp_grpc(), spanmill.internal_grpc()] {
            let sent = reset_streams(address.trim_start_matches("http://")).await?;
            ensure!(sent < STREAMS, "{address} took {sent} resets");
        }
        Ok(())
    })
    .await
}

/// Streams that are opened and reset before it is said that nothing was done about it.
const STREAMS: u32 = 200_000;

/// Opens streams and resets them until the server ends the connection; gives how many.
async fn reset_streams(address: &str) -> anyhow::Result<u32> {
    // POST http /, of the static table of RFC 7541, and an authority.
    const HEADERS: &[u8] = &[0x83, 0x86, 0x84, 0x01, 0x01, b'x'];
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    let (mut incoming, mut outgoing) = TcpStream::connect(address).await?.into_split();
    let ended = async move {
        let mut ignored = [0; 4_096];
        while let Ok(1..) = incoming.read(&mut ignored).await {}
    };
    // The other half ends with it, if the server has not ended it.
    let reset = async move {
        outgoing
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await?;
        outgoing.write_all(SETTINGS).await?;
        let mut stream = 1_u32;
        for sent in (0..STREAMS).step_by(100) {
            let mut frames = Vec::new();
            for _ in 0..100 {
                frames.extend_from_slice(&[0, 0, HEADERS.len() as u8, 1, 4]);
                frames.extend_from_slice(&stream.to_be_bytes());
                frames.extend_from_slice(HEADERS);
                frames.extend_from_slice(&[0, 0, 4, 3, 0]);
                frames.extend_from_slice(&stream.to_be_bytes());
                // CANCEL.
                frames.extend_from_slice(&8_u32.to_be_bytes());
                stream += 2;
            }
            if outgoing.write_all(&frames).await.is_err() {
                return anyhow::Ok(sent);
            }
        }
        Ok(STREAMS)
    };
    let ((), sent) = tokio::join!(ended, reset);
    sent
}
