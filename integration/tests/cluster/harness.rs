//! A cluster with a receiver, and checks of what comes out of it.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::binaries::binary;
use spanmill_integration::remote_write_sink::Faults;
use spanmill_integration::{
    Clients, ClusterConfig, Counted, Network, Node, RemoteWriteSink, Sent, Target, eventually,
};

/// Requests between two events.
pub(crate) const BETWEEN: u64 = 100;

/// A cluster with a receiver.
pub(crate) struct Cluster {
    pub(crate) sink: RemoteWriteSink,
    pub(crate) config: ClusterConfig,
    pub(crate) distributors: Vec<Node>,
    pub(crate) generators: Vec<Node>,
}

impl Cluster {
    /// Two distributors, d1 and d2, and three generators, g1 to g3.
    pub(crate) async fn start(network: &mut Network) -> anyhow::Result<Self> {
        Self::start_with(network, "{}", &binary("spanmill")?).await
    }

    /// The same with more configuration, in YAML, and run by another program.
    pub(crate) async fn start_with(
        network: &mut Network,
        layer: &str,
        program: &Path,
    ) -> anyhow::Result<Self> {
        let hosts = network.add_hosts(["d1", "d2", "g1", "g2", "g3"])?;
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let [d1, d2, g1, ..] = &hosts;
        let config = ClusterConfig::seeded_by(&[d1, d2, g1]).with(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            sink.url()
        ))?;
        let config = config.with(layer)?;
        let (mut distributors, mut generators) = (Vec::new(), Vec::new());
        for host in hosts {
            let target = match host.name().starts_with('d') {
                true => Target::Distributor,
                false => Target::Generator,
            };
            let node = Node::start_by(program, host, target, &config).await?;
            match target {
                Target::Distributor => distributors.push(node),
                Target::Generator | Target::All => generators.push(node),
            }
        }
        let cluster = Self {
            sink,
            config,
            distributors,
            generators,
        };
        cluster.sees(3).await?;
        Ok(cluster)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.distributors.iter().map(Node::otlp_http).collect()
    }

    /// Waits until every distributor sees so many active generators with all their tokens.
    pub(crate) async fn sees(&self, generators: usize) -> anyhow::Result<()> {
        for node in &self.distributors {
            eventually("the ring to settle", || async {
                let ring = node.ring().await?;
                let members = ring["members"].as_array().cloned().unwrap_or_default();
                let full = members.iter().filter(|member| {
                    member["role"] == "generator"
                        && member["state"] == "active"
                        && member["tokens"] == 512
                });
                ensure!(full.count() == generators, "{ring:#}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Checks that all that was sent is counted once, and as many pairs as asked for.
    pub(crate) async fn is_exact(&self, sent: Sent, least_pairs: f64) -> anyhow::Result<()> {
        let counted = self
            .sink
            .eventually("all spans at the receiver", |received| {
                let counted = Counted::read(received, "");
                ensure!(counted.spans >= sent.spans, "{counted:?} of {sent:?}");
                Ok(counted)
            })
            .await?;
        ensure!(
            counted.spans == sent.spans && counted.resets == 0,
            "{counted:?} of {sent:?}"
        );
        let pairs = counted.pairs as f64 / sent.pairs as f64;
        ensure!(
            pairs >= least_pairs && counted.pairs <= sent.pairs,
            "{counted:?} of {sent:?}"
        );
        eprintln!("{counted:?} of {sent:?}");
        Ok(())
    }

    /// Checks that so many spans are counted, each once.
    pub(crate) async fn counts(&self, spans: u64) -> anyhow::Result<()> {
        let counted = self
            .sink
            .eventually("all spans at the receiver", |received| {
                let counted = Counted::read(received, "");
                ensure!(counted.spans >= spans, "{counted:?} of {spans}");
                Ok(counted)
            })
            .await?;
        ensure!(
            counted.spans == spans && counted.resets == 0,
            "{counted:?} of {spans}"
        );
        Ok(())
    }

    /// Checks that what is counted lies in a range, and has stopped to grow.
    pub(crate) async fn is_within(&self, sent: Sent, least: u64, most: u64) -> anyhow::Result<()> {
        let mut before = None;
        let counted = eventually("all spans at the receiver", || {
            let counted = Counted::read(&self.sink.received(), "");
            let is_whole = counted.spans >= least && before.replace(counted) == Some(counted);
            async move {
                // Two collections.
                tokio::time::sleep(Duration::from_secs(2)).await;
                ensure!(is_whole, "{counted:?} of {sent:?}, at least {least}");
                Ok(counted)
            }
        })
        .await?;
        eprintln!("{counted:?} of {sent:?}, from {least} to {most}");
        ensure!(
            counted.spans <= most && counted.resets == 0,
            "{counted:?} of {sent:?}"
        );
        Ok(())
    }

    /// Spans of which it is not known whether they were counted before.
    pub(crate) async fn possibly_duplicated(&self) -> anyhow::Result<u64> {
        let mut sum = 0.0;
        for node in &self.distributors {
            let metrics = node.metrics().await?;
            sum += metrics.sum("spanmill_distributor_spans_possibly_duplicated_total", &[]);
        }
        Ok(sum as u64)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for node in self.distributors.iter_mut().chain(&mut self.generators) {
            node.stop().await?;
        }
        Ok(())
    }
}

/// Runs a cluster in a network of its own, under load from before `work` until after it.
pub(crate) fn under_load(
    test: &str,
    least_pairs: f64,
    work: impl AsyncFnOnce(&mut Cluster, &mut Network, &Clients) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    Network::run(test, async |mut network| {
        let mut cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let both = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            work(&mut cluster, &mut network, clients).await?;
            clients.more(BETWEEN).await?;
            Ok((cluster, network))
        };
        let ((cluster, _network), sent) = Clients::during(urls, both).await?;
        cluster.is_exact(sent, least_pairs).await?;
        cluster.stop().await
    })
}
