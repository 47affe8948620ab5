//! A cluster on hosts of its own, under load: what is planned loses nothing and counts
//! nothing twice, and what is not costs a collection at most.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::remote_write_sink::Faults;
use spanmill_integration::{
    Clients, ClusterConfig, Counted, Network, Node, RemoteWriteSink, Sent, Target, eventually,
};

/// Requests between two events.
const BETWEEN: u64 = 100;

/// A cluster with a receiver.
struct Cluster {
    sink: RemoteWriteSink,
    config: ClusterConfig,
    distributors: Vec<Node>,
    generators: Vec<Node>,
}

impl Cluster {
    /// Two distributors, d1 and d2, and three generators, g1 to g3.
    async fn start(network: &mut Network) -> anyhow::Result<Self> {
        let hosts = network.add_hosts(["d1", "d2", "g1", "g2", "g3"])?;
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let [d1, d2, g1, ..] = &hosts;
        let config = ClusterConfig::seeded_by(&[d1, d2, g1]).with(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            sink.url()
        ))?;
        let (mut distributors, mut generators) = (Vec::new(), Vec::new());
        for host in hosts {
            let target = match host.name().starts_with('d') {
                true => Target::Distributor,
                false => Target::Generator,
            };
            let node = Node::start(host, target, &config).await?;
            match target {
                Target::Distributor => distributors.push(node),
                Target::Generator => generators.push(node),
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

    fn urls(&self) -> Vec<String> {
        self.distributors.iter().map(Node::otlp_http).collect()
    }

    /// Waits until every distributor sees so many active generators with all their tokens.
    async fn sees(&self, generators: usize) -> anyhow::Result<()> {
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
    async fn is_exact(&self, sent: Sent, least_pairs: f64) -> anyhow::Result<()> {
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

    /// Checks that what is counted lies in a range, and has stopped to grow.
    async fn is_within(&self, sent: Sent, least: u64, most: u64) -> anyhow::Result<()> {
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
    async fn possibly_duplicated(&self) -> anyhow::Result<u64> {
        let mut sum = 0.0;
        for node in &self.distributors {
            let metrics = node.metrics().await?;
            sum += metrics.sum("spanmill_distributor_spans_possibly_duplicated_total", &[]);
        }
        Ok(sum as u64)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        for node in self.distributors.iter_mut().chain(&mut self.generators) {
            node.stop().await?;
        }
        Ok(())
    }
}

/// Runs a cluster in a network of its own, under load from before `work` until after it.
fn under_load(
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

#[test]
fn rolling_restart_of_all_nodes_twice_loses_and_doubles_nothing() -> anyhow::Result<()> {
    under_load(
        "rolling_restart_of_all_nodes_twice_loses_and_doubles_nothing",
        0.995,
        async |cluster, _, clients| {
            for _ in 0..2 {
                for index in 0..3 {
                    cluster.generators[index].restart().await?;
                    cluster.sees(3).await?;
                    clients.more(BETWEEN).await?;
                }
                for index in 0..2 {
                    cluster.distributors[index].restart().await?;
                    clients.more(BETWEEN).await?;
                }
            }
            Ok(())
        },
    )
}

#[test]
fn growing_to_six_and_shrinking_to_two_loses_and_doubles_nothing() -> anyhow::Result<()> {
    under_load(
        "growing_to_six_and_shrinking_to_two_loses_and_doubles_nothing",
        0.99,
        async |cluster, network, clients| {
            for host in network.add_hosts(["g4", "g5", "g6"])? {
                let node = Node::start(host, Target::Generator, &cluster.config).await?;
                cluster.generators.push(node);
                clients.more(BETWEEN).await?;
            }
            cluster.sees(6).await?;
            while cluster.generators.len() > 2 {
                let mut node = cluster.generators.remove(0);
                node.stop().await?;
                clients.more(BETWEEN).await?;
            }
            cluster.sees(2).await
        },
    )
}

#[test]
fn killed_distributor_loses_and_doubles_nothing() -> anyhow::Result<()> {
    under_load(
        "killed_distributor_loses_and_doubles_nothing",
        1.0,
        async |cluster, _, clients| {
            for _ in 0..3 {
                cluster.distributors[0].kill().await?;
                clients.more(BETWEEN).await?;
                cluster.distributors[0].begin()?;
                cluster.distributors[0].ready().await?;
                clients.more(BETWEEN).await?;
            }
            Ok(())
        },
    )
}

#[test]
fn generator_that_refuses_is_passed_over() -> anyhow::Result<()> {
    under_load(
        "generator_that_refuses_is_passed_over",
        0.9,
        async |cluster, _, clients| {
            let host = cluster.generators[1].host().clone();
            host.refuse(9095)?;
            tokio::time::sleep(Duration::from_secs(10)).await;
            clients.more(BETWEEN).await?;
            host.accept()
        },
    )
}

#[test]
fn generator_without_gossip_is_left_alone_and_comes_back() -> anyhow::Result<()> {
    let test = "generator_without_gossip_is_left_alone_and_comes_back";
    Network::run(test, async |mut network| {
        let cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let cut = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            let ip = cluster.generators[2].host().address();
            network.drop("out", &format!("ip saddr {ip} udp dport 7946"))?;
            network.drop("in", &format!("ip daddr {ip} udp dport 7946"))?;
            cluster.sees(2).await?;
            clients.more(BETWEEN).await?;
            network.mend("out")?;
            network.mend("in")?;
            cluster.sees(3).await?;
            clients.more(BETWEEN).await?;
            Ok(cluster)
        };
        let (cluster, sent) = Clients::during(urls, cut).await?;
        // What was on its way when it was taken for dead went on to another.
        let unsure = cluster.possibly_duplicated().await?;
        cluster
            .is_within(sent, sent.spans, sent.spans + unsure)
            .await?;
        cluster.stop().await
    })
}

#[test]
fn generator_that_one_distributor_does_not_reach_counts_for_the_other() -> anyhow::Result<()> {
    under_load(
        "generator_that_one_distributor_does_not_reach_counts_for_the_other",
        0.95,
        async |cluster, network, clients| {
            let from = cluster.distributors[0].host().address();
            let to = cluster.generators[0].host().address();
            network.drop(
                "cut",
                &format!("ip saddr {from} ip daddr {to} tcp dport 9095"),
            )?;
            clients.more(BETWEEN).await?;
            network.mend("cut")
        },
    )
}

#[test]
fn generator_that_does_not_reach_the_receiver_delivers_later() -> anyhow::Result<()> {
    under_load(
        "generator_that_does_not_reach_the_receiver_delivers_later",
        1.0,
        async |cluster, network, clients| {
            let from = cluster.generators[0].host().address();
            let to = network.own_address();
            network.drop("cut", &format!("ip saddr {from} ip daddr {to}"))?;
            clients.more(4 * BETWEEN).await?;
            network.mend("cut")
        },
    )
}

#[test]
fn lossy_gossip_moves_nothing() -> anyhow::Result<()> {
    under_load(
        "lossy_gossip_moves_nothing",
        0.99,
        async |_, network, clients| {
            network.drop("lossy", "udp dport 7946 numgen random mod 100 < 30")?;
            tokio::time::sleep(Duration::from_secs(15)).await;
            clients.more(BETWEEN).await?;
            network.mend("lossy")
        },
    )
}

#[test]
fn frozen_generator_is_passed_over_and_forgets_what_is_no_longer_wanted() -> anyhow::Result<()> {
    let test = "frozen_generator_is_passed_over_and_forgets_what_is_no_longer_wanted";
    Network::run(test, async |mut network| {
        let cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let freeze = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            cluster.generators[1].signal("STOP").await?;
            cluster.sees(2).await?;
            tokio::time::sleep(Duration::from_secs(10)).await;
            clients.more(BETWEEN).await?;
            cluster.generators[1].signal("CONT").await?;
            cluster.sees(3).await?;
            clients.more(BETWEEN).await?;
            Ok(cluster)
        };
        let (cluster, sent) = Clients::during(urls, freeze).await?;
        // What it had applied and not answered when it froze went on to another.
        let unsure = cluster.possibly_duplicated().await?;
        cluster
            .is_within(sent, sent.spans, sent.spans + unsure)
            .await?;
        cluster.stop().await
    })
}

#[test]
fn killed_generator_costs_its_last_collection_at_most() -> anyhow::Result<()> {
    let test = "killed_generator_costs_its_last_collection_at_most";
    Network::run(test, async |mut network| {
        let mut cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let mut begin = None;
        let kill = async |clients: &Clients| {
            clients.more(4 * BETWEEN).await?;
            // What may be lost was accepted after the collection before this one.
            begin = Some(clients.accepted());
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.generators[1].kill().await?;
            let lost = clients.accepted() - begin.unwrap_or_default();
            clients.more(BETWEEN).await?;
            cluster.sees(2).await?;
            cluster.generators.remove(1);
            clients.more(4 * BETWEEN).await?;
            Ok((cluster, lost))
        };
        let ((cluster, requests), sent) = Clients::during(urls, kill).await?;
        let unsure = cluster.possibly_duplicated().await?;
        let least = sent.spans - requests * Sent::SPANS_OF_A_REQUEST;
        cluster.is_within(sent, least, sent.spans + unsure).await?;
        ensure!(sent.longest < Duration::from_secs(2), "{sent:?}");
        cluster.stop().await
    })
}
