//! Who is not of the cluster.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use prost::Message as _;
use server::grpc::BytesCodec;
use spanmill_integration::binaries::binary;
use spanmill_integration::traces::Traces;
use spanmill_integration::{Clients, Network};
use tokio::task::spawn_blocking;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::harness::{BETWEEN, Cluster};

/// How long garbage comes, and how much of it each second.
const FLOOD: Duration = Duration::from_secs(10);
const DATAGRAMS_PER_SECOND: u64 = 100_000;
/// How many are sent between two looks at the clock.
const BURST: u64 = 50;

const GOSSIP_KEY: &str =
    "memberlist: {secret_keys: [AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=]}";
const NODE_TOKEN: &str = "node_authentication: {token: 0123456789abcdef}";

/// Sends garbage for as long as the flood lasts, of all kinds: short, long, and such as begins as gossip
/// does; gives how many datagrams.
fn flood(to: SocketAddr) -> anyhow::Result<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    let mut datagrams = [vec![0; 3], vec![0xa5; 200], vec![1; 400], vec![0; 1_400]];
    datagrams[3][..2].copy_from_slice(&[1, 1]);
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < FLOOD {
        let due = begin.elapsed().as_micros() as u64 * DATAGRAMS_PER_SECOND / 1_000_000;
        if sent > due {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        for datagram in datagrams.iter().cycle().take(BURST as usize) {
            // The kernel may say that there is no room; the next one may find some.
            let _ = socket.send(datagram);
        }
        sent += BURST;
    }
    Ok(sent)
}

#[test]
fn flood_of_garbage_at_the_gossip_port_moves_nothing() -> anyhow::Result<()> {
    let test = "strangers::flood_of_garbage_at_the_gossip_port_moves_nothing";
    Network::run(test, async |mut network| {
        let program = binary("spanmill")?;
        let cluster = Cluster::start_with(&mut network, GOSSIP_KEY, &program).await?;
        let urls = cluster.urls();
        let node = &cluster.generators[0];
        let to = (node.host().address(), 7946).into();
        let changes = async || -> anyhow::Result<f64> {
            let mut changes = 0.0;
            for node in cluster.distributors.iter().chain(&cluster.generators) {
                changes += node
                    .metrics()
                    .await?
                    .sum("spanmill_ring_changes_total", &[]);
            }
            Ok(changes)
        };
        let refused = async || -> anyhow::Result<f64> {
            let metrics = node.metrics().await?;
            Ok(metrics.sum("spanmill_ring_gossip_refused_total", &[]))
        };
        let attack = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            let (changes_before, cpu) = (changes().await?, node.cpu()?);
            let sent = spawn_blocking(move || flood(to)).await??;
            let (cpu, refused) = (node.cpu()? - cpu, refused().await?);
            eprintln!(
                "{sent} datagrams in {FLOOD:?}, of which {refused} were read, for {cpu:?} of CPU"
            );
            ensure!(refused > 0.0);
            let moved = changes().await? - changes_before;
            ensure!(moved == 0.0, "{moved} changes");
            clients.more(BETWEEN).await
        };
        let ((), sent) = Clients::during(urls, attack).await?;
        cluster.is_exact(sent, 0.99).await?;
        cluster.stop().await
    })
}

#[test]
fn generator_takes_nothing_of_who_shows_no_token() -> anyhow::Result<()> {
    let test = "strangers::generator_takes_nothing_of_who_shows_no_token";
    Network::run(test, async |mut network| {
        let program = binary("spanmill")?;
        let cluster = Cluster::start_with(&mut network, NODE_TOKEN, &program).await?;
        let address = format!("http://{}:9095", cluster.generators[0].host().address());
        let traces = Traces::of_service("shop").spans("pay", 7, Duration::from_millis(5), 1);
        let request = Bytes::from(traces.request().encode_to_vec());
        for method in ["Push", "TakeEdges", "TakeSamples"] {
            let path = format!("/spanmill.v1.Generator/{method}");
            for token in [None, Some("fedcba9876543210")] {
                let channel = Endpoint::from_shared(address.clone())?.connect().await?;
                let mut request = Request::new(request.clone());
                let metadata = request.metadata_mut();
                for (key, value) in [
                    ("x-scope-orgid", "single-tenant"),
                    ("spanmill-sender", "d9"),
                    ("spanmill-incarnation", "1"),
                    ("spanmill-sent-at", "1"),
                    ("spanmill-expires-in", "5000"),
                    ("spanmill-placement", "1"),
                ] {
                    metadata.insert(key, value.parse()?);
                }
                if let Some(token) = token {
                    metadata.insert("spanmill-node-token", token.parse()?);
                }
                let mut grpc = Grpc::new(channel);
                grpc.ready().await?;
                let path = PathAndQuery::try_from(path.clone())?;
                let answer = grpc.unary(request, path, BytesCodec).await;
                let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
                let is_refused = matches!(code, Code::Unauthenticated | Code::PermissionDenied);
                ensure!(is_refused, "{method} with {token:?}: {code:?}");
            }
        }
        // Those who show it are let in, and theirs is all that is counted.
        let some = async |clients: &Clients| clients.more(BETWEEN).await;
        let ((), sent) = Clients::during(cluster.urls(), some).await?;
        cluster.is_exact(sent, 1.0).await?;
        cluster.stop().await
    })
}
