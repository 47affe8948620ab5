//! A cluster of two versions: node by node to the next one, and back.

use std::path::PathBuf;

use spanmill_integration::binaries::binary;
use spanmill_integration::{Clients, Network};

use crate::harness::{BETWEEN, Cluster};

/// The program of an earlier version, to which an upgrade may be rolled back.
const PREVIOUS: &str = "SPANMILL_PREVIOUS_BIN";

#[test]
fn upgrade_node_by_node_and_back_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let test = "upgrade::upgrade_node_by_node_and_back_loses_and_doubles_nothing";
    let Some(previous) = std::env::var_os(PREVIOUS).map(PathBuf::from) else {
        eprintln!("SKIPPED: {PREVIOUS} names no earlier spanmill, so there is none to mix with");
        return Ok(());
    };
    Network::run(test, async |mut network| {
        let next = binary("spanmill")?;
        let mut cluster = Cluster::start_with(&mut network, "{}", &previous).await?;
        let urls = cluster.urls();
        let roll = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            for program in [&next, &previous] {
                for index in 0..3 {
                    let node = &mut cluster.generators[index];
                    node.set_program(program);
                    node.restart().await?;
                    cluster.sees(3).await?;
                    clients.more(BETWEEN).await?;
                }
                for index in 0..2 {
                    let node = &mut cluster.distributors[index];
                    node.set_program(program);
                    node.restart().await?;
                    cluster.sees(3).await?;
                    clients.more(BETWEEN).await?;
                }
            }
            Ok(cluster)
        };
        let (cluster, sent) = Clients::during(urls, roll).await?;
        cluster.is_exact(sent, 0.99).await?;
        cluster.stop().await
    })
}
