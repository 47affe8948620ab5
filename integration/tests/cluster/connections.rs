//! Clients that stay connected, behind something that only balances new connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use prost::Message as _;
use server::grpc::BytesCodec;
use spanmill_integration::binaries::binary;
use spanmill_integration::traces::Traces;
use spanmill_integration::{Network, Node, Target, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use crate::harness::Cluster;

const EXPORT: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// Clients, each with one connection.
const CLIENTS: u64 = 50;
/// Spans of a request.
const SPANS: u64 = 10;

/// A round-robin balancer of connections.
#[derive(Debug, Default)]
struct Balancer {
    /// Where connections go, and how many there are.
    targets: Mutex<Vec<(SocketAddr, Arc<AtomicU64>)>>,
    next: AtomicUsize,
}

impl Balancer {
    fn add(&self, node: &Node) -> Arc<AtomicU64> {
        let connections = Arc::<AtomicU64>::default();
        let address = (node.host().address(), 4317).into();
        let target = (address, Arc::clone(&connections));
        self.targets.lock().push(target);
        connections
    }

    /// Balances until it is dropped, and all connections with it.
    async fn balance(&self, listener: TcpListener) -> anyhow::Result<Infallible> {
        let mut connected = FuturesUnordered::new();
        loop {
            let (mut client, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                Some(()) = connected.next() => continue,
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (address, connections) = {
                let targets = self.targets.lock();
                targets[number % targets.len()].clone()
            };
            connected.push(async move {
                connections.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut server) = TcpStream::connect(address).await {
                    // One of them ends it; nobody asks which.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
                connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

/// Sends one request after the other over one connection, until it is over; gives how many.
async fn send(address: SocketAddr, client: u64, is_over: &AtomicBool) -> anyhow::Result<u64> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let mut grpc = Grpc::new(endpoint.connect_lazy());
    let mut requests = 0;
    while !is_over.load(Ordering::Relaxed) {
        let first_trace = ((client + 1) << 40) + requests * SPANS;
        let traces = Traces::of_service("front");
        let traces = traces.spans("pay", SPANS, Duration::from_millis(5), first_trace);
        let request = Bytes::from(traces.request().encode_to_vec());
        // As exporters do: the same bytes until they are taken.
        while grpc.ready().await.is_err() || {
            let request = Request::new(request.clone());
            grpc.unary(request, EXPORT, BytesCodec).await.is_err()
        } {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        requests += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(requests)
}

#[test]
fn new_distributor_gets_its_share_of_clients_that_stay_connected() -> anyhow::Result<()> {
    let test = "connections::new_distributor_gets_its_share_of_clients_that_stay_connected";
    Network::run(test, async |mut network| {
        // A twelfth of what config/cluster.yaml has.
        let aged = "distributor: {receivers: {otlp: {protocols: {grpc: {keepalive: \
                    {server_parameters: {max_connection_age: 5s, max_connection_age_grace: 1s}}}}}}}";
        let program = binary("spanmill")?;
        let mut cluster = Cluster::start_with(&mut network, aged, &program).await?;
        let balancer = Balancer::default();
        for node in &cluster.distributors {
            balancer.add(node);
        }
        let listener = TcpListener::bind((network.own_address(), 0)).await?;
        let address = listener.local_addr()?;
        let is_over = AtomicBool::new(false);
        let sending = join_all((0..CLIENTS).map(|client| send(address, client, &is_over)));
        let work = async {
            let work = async {
                eventually("all clients to be connected", || async {
                    let targets = balancer.targets.lock();
                    let connections = targets.iter().map(|(_, live)| live.load(Ordering::Relaxed));
                    let connections: u64 = connections.sum();
                    ensure!(connections >= CLIENTS, "{connections}");
                    Ok(())
                })
                .await?;
                let [host] = network.add_hosts(["d3"])?;
                let node = Node::start(host, Target::Distributor, &cluster.config).await?;
                let connections = balancer.add(&node);
                cluster.distributors.push(node);
                eventually("the new distributor to have its share", || async {
                    let share = connections.load(Ordering::Relaxed);
                    // Four fifths of a third.
                    ensure!(share * 15 >= CLIENTS * 4, "{share} of {CLIENTS}");
                    Ok(())
                })
                .await
            };
            let done = work.await;
            is_over.store(true, Ordering::Relaxed);
            done
        };
        let both = async { tokio::try_join!(work, async { Ok(sending.await) }) };
        let ((), requests) = tokio::select! {
            never = balancer.balance(listener) => match never? {},
            done = both => done?,
        };
        let requests: anyhow::Result<Vec<u64>> = requests.into_iter().collect();
        let spans = requests?.iter().sum::<u64>() * SPANS;
        cluster.counts(spans).await?;
        cluster.stop().await
    })
}
