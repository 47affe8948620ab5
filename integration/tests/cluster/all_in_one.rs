//! Nodes that take spans in and make series of them.

use anyhow::ensure;
use spanmill_integration::remote_write_sink::Faults;
use spanmill_integration::{
    Clients, ClusterConfig, Counted, Network, Node, RemoteWriteSink, Target, eventually,
};

use crate::harness::BETWEEN;

/// Waits until a node sees both with all their tokens.
async fn sees_both(node: &Node) -> anyhow::Result<()> {
    eventually("the ring to settle", || async {
        let ring = node.ring().await?;
        let members = ring["members"].as_array().cloned().unwrap_or_default();
        let full = members
            .iter()
            .filter(|member| member["state"] == "active" && member["tokens"] == 512);
        ensure!(full.count() == 2, "{ring:#}");
        Ok(())
    })
    .await
}

#[test]
fn nodes_that_are_all_count_exactly_and_do_not_connect_to_themselves() -> anyhow::Result<()> {
    let test = "all_in_one::nodes_that_are_all_count_exactly_and_do_not_connect_to_themselves";
    Network::run(test, async |mut network| {
        let hosts = network.add_hosts(["n1", "n2"])?;
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let config = ClusterConfig::seeded_by(&[&hosts[0], &hosts[1]]).with(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            sink.url()
        ))?;
        let mut nodes = Vec::new();
        for host in hosts {
            host.refuse_itself(9095)?;
            nodes.push(Node::start(host, Target::All, &config).await?);
        }
        for node in &nodes {
            sees_both(node).await?;
        }
        let urls = nodes.iter().map(Node::otlp_http).collect();
        let restart = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            for node in &nodes {
                let metrics = node.metrics().await?;
                for to in ["n1", "n2"] {
                    let of = |name: &str| {
                        let name = format!("spanmill_distributor_generator_{name}_total");
                        metrics.sum(&name, &[("generator", to)])
                    };
                    let (pushes, failures) = (of("pushes"), of("push_failures"));
                    ensure!(pushes > 0.0 && failures == 0.0, "{to}: {pushes} {failures}");
                }
            }
            // What is planned loses nothing, and is counted nowhere twice.
            nodes[0].restart().await?;
            sees_both(&nodes[1]).await?;
            clients.more(BETWEEN).await
        };
        let ((), sent) = Clients::during(urls, restart).await?;
        let counted = sink
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
        for node in &mut nodes {
            node.stop().await?;
        }
        sink.check_protocol()
    })
}
