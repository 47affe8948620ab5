//! A cluster on hosts of its own, under load: what is planned loses nothing and counts
//! nothing twice, and what is not costs a collection at most.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod all_in_one;
mod connections;
mod handover;
mod harness;
mod strangers;
mod upgrade;

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::{Clients, Network, Node, Sent, Target};

use crate::harness::{BETWEEN, Cluster, under_load};

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
            tokio::time::sleep(Duration::from_secs(60)).await;
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
