//! Tenants of a cluster are seen as a whole, and deleted on all nodes by one request; on a
//! node that was away once it is back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::binaries::binary;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::remote_write_sink::Faults;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{ClusterConfig, Network, Node, RemoteWriteSink, Target, eventually};
use tokio::process::Command;

const CANARY: &str = "canary-7f3a";
const CALLS: &str = "traces_spanmetrics_calls_total";
/// Spans of one push: each generator gets some.
const SPANS: u64 = 60;

async fn start(network: &mut Network, sink: &RemoteWriteSink) -> anyhow::Result<[Node; 4]> {
    let hosts = network.add_hosts(["d1", "g1", "g2", "g3"])?;
    let config = ClusterConfig::seeded_by(&[&hosts[0], &hosts[1]])
        .with(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            sink.url()
        ))?
        .with("multitenancy_enabled: true")?
        .with("node_authentication: {token: token-of-the-cluster}")?
        .with("overrides: {user_configurable_overrides: {enabled: true}}")?;
    let mut nodes = Vec::new();
    for host in hosts {
        let target = match host.name() {
            "d1" => Target::Distributor,
            _ => Target::Generator,
        };
        nodes.push(Node::start(host, target, &config).await?);
    }
    sees(&nodes[0], 3).await?;
    Ok(nodes.try_into().unwrap())
}

/// Waits until a node sees so many generators with all their tokens.
async fn sees(node: &Node, generators: usize) -> anyhow::Result<()> {
    eventually("the ring to settle", || async {
        let ring = node.ring().await?;
        let members = ring["members"].as_array().cloned().unwrap_or_default();
        let full = members.iter().filter(|member| {
            member["role"] == "generator" && member["state"] == "active" && member["tokens"] == 512
        });
        ensure!(full.count() == generators, "{ring:#}");
        Ok(())
    })
    .await
}

/// Pushes spans of as many traces.
async fn push(node: &Node, tenant: &str, name: &str, first: u64) -> anyhow::Result<()> {
    for number in first..first + SPANS {
        let traces = Traces::of_service("shop").spans(name, 1, Duration::from_millis(5), number);
        let answer = post(&node.otlp_http(), &traces.request(), Some(tenant)).await?;
        answer.accepted()?;
    }
    Ok(())
}

async fn counted(sink: &RemoteWriteSink, tenant: &str, want: f64) -> anyhow::Result<()> {
    sink.eventually("all spans at the receiver", |received| {
        let sum = received.sum(tenant, CALLS, &[]);
        ensure!(sum == want, "{tenant}: {sum}");
        Ok(())
    })
    .await
}

async fn set_canary(node: &Node) -> anyhow::Result<()> {
    let settings = json!({"metrics_generator": {"processor": {"span_metrics": {
        "dimensions": [CANARY],
    }}}});
    let request = client()
        .patch(node.api("/api/overrides"))
        .header("X-Scope-OrgID", "acme");
    text_of(request.body(settings.to_string())).await.map(drop)
}

/// Files below a directory that have the canary in them or in their names.
fn canaries(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.extend(canaries(&path));
        } else if name.contains(CANARY) || has_canary(&fs::read(&path).unwrap()) {
            found.push(name);
        }
    }
    found
}

fn has_canary(bytes: &[u8]) -> bool {
    let mut windows = bytes.windows(CANARY.len());
    windows.any(|window| window == CANARY.as_bytes())
}

fn canaries_of(node: &Node) -> Vec<String> {
    canaries(&node.directory().join("data"))
}

/// Deletes a tenant by `spanmillctl`; gives what spanmill answers.
async fn delete(node: &Node, tenant: &str) -> anyhow::Result<Value> {
    let deleted = Command::new(binary("spanmillctl")?)
        .args(["tenant", "delete", tenant, "--yes", "--json", "--url"])
        .arg(node.admin(""))
        .output()
        .await?;
    let problem = String::from_utf8_lossy(&deleted.stderr);
    ensure!(deleted.status.success(), "{problem}");
    Ok(serde_json::from_slice(&deleted.stdout)?)
}

async fn ended(sink: &RemoteWriteSink, tenant: &str) -> anyhow::Result<()> {
    sink.eventually("the end of all series", |received| {
        let goes_on = received
            .all_series(tenant)
            .find(|series| !series.has_ended());
        ensure!(goes_on.is_none(), "{goes_on:?}");
        Ok(())
    })
    .await
}

async fn page(node: &Node, path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(
        &text_of(client().get(node.admin(path))).await?,
    )?)
}

#[test]
fn pages_on_tenants_are_of_the_whole_cluster() -> anyhow::Result<()> {
    let test = "pages_on_tenants_are_of_the_whole_cluster";
    Network::run(test, async |mut network| {
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let [mut d1, mut g1, mut g2, mut g3] = start(&mut network, &sink).await?;
        push(&d1, "acme", "pay", 1).await?;
        push(&d1, "acme", "pay", 1_000).await?;
        push(&d1, "globex", "pay", 1).await?;

        // The same whoever is asked, and the sum of what each has.
        let whole = page(&d1, "/api/v1/tenants/acme").await?;
        ensure!(whole["spans"]["total"] == 120, "{whole:#}");
        let mut series = 0;
        for node in [&g1, &g2, &g3] {
            let own = page(node, "/api/v1/tenants/acme?scope=node").await?;
            let (spans, own) = (&own["spans"]["total"], &own["series"]["active"]);
            ensure!(spans.as_u64() < Some(120), "{spans} of a node");
            series += own.as_u64().unwrap();
            let seen = page(node, "/api/v1/tenants/acme").await?;
            ensure!(seen["series"] == whole["series"], "{seen:#} {whole:#}");
        }
        ensure!(
            whole["series"]["active"] == series && series > 0,
            "{series} {whole:#}"
        );
        let nodes: Vec<_> = whole["nodes"].as_array().unwrap().iter().collect();
        let names: Vec<_> = nodes.iter().map(|node| node["node"].as_str()).collect();
        ensure!(names == [Some("g1"), Some("g2"), Some("g3")], "{whole:#}");

        let list = page(&g1, "/api/v1/tenants?sort=name&limit=1").await?;
        ensure!(
            list["total"] == 2 && list["missing"] == json!([]),
            "{list:#}"
        );
        ensure!(list["tenants"][0]["spans"]["total"] == 120, "{list:#}");
        let after = list["next"].as_str().unwrap();
        let next = page(
            &g2,
            &format!("/api/v1/tenants?sort=name&limit=1&after={after}"),
        )
        .await?;
        ensure!(next["tenants"][0]["tenant"] == "globex", "{next:#}");
        let made_of = page(&d1, "/api/v1/tenants/acme/cardinality?drop=span_name").await?;
        ensure!(
            made_of["nodes"] == 3 && made_of["series"] == series,
            "{made_of:#}"
        );
        ensure!(made_of["drop"]["series"] == series, "{made_of:#}");

        // Who does not answer is named.
        g3.kill().await?;
        sees(&d1, 2).await?;
        let shown = Command::new(binary("spanmillctl")?)
            .args(["tenant", "acme", "--url", &d1.admin("")])
            .output()
            .await?;
        let shown = String::from_utf8(shown.stdout)?;
        ensure!(shown.contains("without g3: it is silent"), "{shown}");
        let ring = text_of(client().get(d1.api("/ring"))).await?;
        for text in [
            "4 members: 3 active, 1 dead.",
            "<th scope=\"row\">g3",
            ">dead</span>",
        ] {
            ensure!(ring.contains(text), "{text} is not in {ring}");
        }
        for node in [&mut d1, &mut g1, &mut g2] {
            node.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn processor_is_tried_on_all_nodes_whoever_is_asked() -> anyhow::Result<()> {
    let test = "processor_is_tried_on_all_nodes_whoever_is_asked";
    Network::run(test, async |mut network| {
        let [d1, g1, g2] = network.add_hosts(["d1", "g1", "g2"])?;
        let config = ClusterConfig::seeded_by(&[&d1, &g1])
            .with("multitenancy_enabled: true")?
            .with(
                "overrides: {defaults: {metrics_generator: {processors: [span-metrics-count]}}}",
            )?;
        let mut d1 = Node::start(d1, Target::Distributor, &config).await?;
        let mut g1 = Node::start(g1, Target::Generator, &config).await?;
        let mut g2 = Node::start(g2, Target::Generator, &config).await?;
        sees(&d1, 2).await?;
        push(&d1, "acme", "pay", 1).await?;

        // What follows from the series that there are is the sum of what each has.
        let known = "/api/v1/tenants/acme/cardinality?enable=span-metrics-size";
        let mut sum = 0;
        for node in [&g1, &g2] {
            let own = page(node, &format!("{known}&scope=node")).await?;
            let label_sets = own["enable"]["label_sets"].as_u64().unwrap();
            ensure!(label_sets > 0, "{own:#}");
            sum += label_sets;
        }
        for node in [&d1, &g1] {
            let whole = page(node, known).await?;
            let enable = &whole["enable"];
            ensure!(
                enable["known"] == true && enable["label_sets"] == sum,
                "{whole:#}"
            );
            ensure!(whole["missing"] == json!([]), "{whole:#}");
        }
        // What does not is tried; who does not take part is named.
        let tried = "/api/v1/tenants/acme/cardinality?enable=host-info&for=20ms";
        let whole = page(&d1, tried).await?;
        let trial = &whole["enable"]["trial"];
        ensure!(trial["seconds"] == 0.02 && trial["spans"] == 0, "{whole:#}");
        ensure!(whole["missing"] == json!([]), "{whole:#}");
        g2.kill().await?;
        sees(&d1, 1).await?;
        let whole = page(&d1, tried).await?;
        ensure!(whole["missing"][0]["node"] == "g2", "{whole:#}");
        d1.stop().await?;
        g1.stop().await.map(drop)
    })
}

#[test]
fn distributor_forgets_tenants_that_send_nothing() -> anyhow::Result<()> {
    let test = "distributor_forgets_tenants_that_send_nothing";
    Network::run(test, async |mut network| {
        let [d1, g1] = network.add_hosts(["d1", "g1"])?;
        let config = ClusterConfig::seeded_by(&[&d1, &g1])
            .with("multitenancy_enabled: true")?
            .with("metrics_generator: {retire_idle_tenants_after: 1s}")?;
        let mut d1 = Node::start(d1, Target::Distributor, &config).await?;
        let mut g1 = Node::start(g1, Target::Generator, &config).await?;
        sees(&d1, 1).await?;
        push(&d1, "acme", "pay", 1).await?;
        eventually("the distributor to forget the tenant", || async {
            let metrics = text_of(client().get(d1.api("/metrics"))).await?;
            ensure!(
                metrics.contains("spanmill_distributor_pushes_total"),
                "{metrics}"
            );
            ensure!(!metrics.contains("tenant=\"acme\""), "it is still there");
            Ok(())
        })
        .await?;
        d1.stop().await?;
        g1.stop().await.map(drop)
    })
}

#[test]
fn tenant_is_deleted_on_all_nodes_by_one_request() -> anyhow::Result<()> {
    let test = "tenant_is_deleted_on_all_nodes_by_one_request";
    Network::run(test, async |mut network| {
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let mut nodes = start(&mut network, &sink).await?;
        let [d1, generators @ ..] = &nodes;
        for node in generators {
            set_canary(node).await?;
        }
        push(d1, "acme", CANARY, 1).await?;
        push(d1, "globex", "pay", 1).await?;
        counted(&sink, "acme", 60.0).await?;
        counted(&sink, "globex", 60.0).await?;
        for node in generators {
            let found = canaries_of(node).len();
            ensure!(
                found >= 2,
                "{found} files with the canary, in spool and settings"
            );
        }

        // Of a node that makes no series itself.
        let answer = delete(d1, "acme").await?;
        ensure!(
            answer["nodes"] == json!(["d1", "g1", "g2", "g3"]),
            "{answer}"
        );
        ensure!(answer["left"] == json!([]), "{answer}");
        ensure!(answer["undelivered_samples"] == 0, "{answer}");
        for node in &nodes {
            if node.target() == Target::Generator {
                ensure!(canaries_of(node).is_empty(), "{:?}", canaries_of(node));
            }
            let metrics = text_of(client().get(node.api("/metrics"))).await?;
            let left: Vec<_> = metrics
                .lines()
                .filter(|line| line.contains("acme"))
                .collect();
            ensure!(left.is_empty(), "{left:?}");
        }
        ended(&sink, "acme").await?;

        // The neighbour goes on, and the tenant may begin anew.
        push(&nodes[0], "globex", "pay", 1_000).await?;
        push(&nodes[0], "acme", "again", 1_000).await?;
        counted(&sink, "globex", 120.0).await?;
        sink.eventually("the new spans at the receiver", |received| {
            let sum = received.sum("acme", CALLS, &[("span_name", "again")]);
            ensure!(sum == 60.0, "{sum}");
            Ok(())
        })
        .await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        sink.check_protocol()
    })
}

#[test]
fn node_that_was_away_deletes_when_it_is_back() -> anyhow::Result<()> {
    let test = "node_that_was_away_deletes_when_it_is_back";
    Network::run(test, async |mut network| {
        let sink = RemoteWriteSink::start_at(network.own_address(), Faults::new()).await?;
        let [mut d1, mut g1, mut g2, mut g3] = start(&mut network, &sink).await?;
        set_canary(&g3).await?;
        push(&d1, "acme", CANARY, 1).await?;
        push(&d1, "globex", "pay", 1).await?;
        counted(&sink, "acme", 60.0).await?;
        counted(&sink, "globex", 60.0).await?;
        // One with its series on disk, one as it was when it died.
        g2.stop().await?;
        g3.kill().await?;
        sees(&d1, 1).await?;

        let answer = delete(&g1, "acme").await?;
        ensure!(answer["nodes"] == json!(["d1", "g1"]), "{answer}");
        let left = answer["left"].as_array().unwrap();
        let what = |left: &Value| left["what"].as_str().unwrap().to_owned();
        ensure!(
            left.len() == 1 && what(&left[0]).contains("node g3"),
            "{answer}"
        );
        // It goes on at once, with other spans.
        push(&d1, "acme", "again", 1_000).await?;
        // The one who knows is not the one who was asked, and knows it after a start.
        g1.restart().await?;

        for node in [&mut g2, &mut g3] {
            node.begin()?;
            node.ready().await?;
            eventually("the deletion on the node that was away", || async {
                let found = canaries_of(node);
                ensure!(found.is_empty(), "{found:?}");
                Ok(())
            })
            .await?;
        }
        ended_but_again(&sink).await?;
        // What came after the deletion is not deleted by it.
        sink.eventually("the new spans at the receiver", |received| {
            let sum = received.sum("acme", CALLS, &[("span_name", "again")]);
            ensure!(sum == 60.0, "{sum}");
            Ok(())
        })
        .await?;
        for node in [&mut d1, &mut g1, &mut g2, &mut g3] {
            node.stop().await?;
        }
        sink.check_protocol()
    })
}

#[test]
fn distributor_that_was_away_deletes_what_its_own_store_has() -> anyhow::Result<()> {
    let test = "distributor_that_was_away_deletes_what_its_own_store_has";
    Network::run(test, async |mut network| {
        let [d1, g1] = network.add_hosts(["d1", "g1"])?;
        let config = ClusterConfig::seeded_by(&[&d1, &g1])
            .with("multitenancy_enabled: true")?
            .with("node_authentication: {token: token-of-the-cluster}")?
            .with("overrides: {user_configurable_overrides: {enabled: true}}")?;
        let mut d1 = Node::start(d1, Target::Distributor, &config).await?;
        let mut g1 = Node::start(g1, Target::Generator, &config).await?;
        sees(&d1, 1).await?;
        set_canary(&d1).await?;
        ensure!(canaries_of(&d1).len() == 1, "{:?}", canaries_of(&d1));
        d1.stop().await?;
        let answer = delete(&g1, "acme").await?;
        ensure!(answer["nodes"] == json!(["g1"]), "{answer}");

        d1.begin()?;
        d1.ready().await?;
        eventually("the deletion on the distributor", || async {
            let found = canaries_of(&d1);
            ensure!(found.is_empty(), "{found:?}");
            Ok(())
        })
        .await?;
        // What it sets from then on stays, also when the next process hears of the same, and
        // of another one with it.
        let directory = d1.directory().join("data/deleted");
        let noted = async |tenants| {
            eventually("that deletions are noted", || async {
                let noted = fs::read_dir(&directory)?.count();
                ensure!(noted == tenants, "{noted}");
                Ok(())
            })
            .await
        };
        noted(1).await?;
        set_canary(&d1).await?;
        d1.stop().await?;
        delete(&g1, "globex").await?;
        d1.begin()?;
        d1.ready().await?;
        noted(2).await?;
        ensure!(canaries_of(&d1).len() == 1, "{:?}", canaries_of(&d1));
        d1.stop().await?;
        g1.stop().await.map(drop)
    })
}

#[test]
fn without_node_authentication_no_node_deletes_because_another_one_has() -> anyhow::Result<()> {
    let test = "without_node_authentication_no_node_deletes_because_another_one_has";
    Network::run(test, async |mut network| {
        let [g1, g2] = network.add_hosts(["g1", "g2"])?;
        let config = ClusterConfig::seeded_by(&[&g1, &g2])
            .with("multitenancy_enabled: true")?
            .with("overrides: {user_configurable_overrides: {enabled: true}}")?;
        let mut g1 = Node::start(g1, Target::Generator, &config).await?;
        let mut g2 = Node::start(g2, Target::Generator, &config).await?;
        sees(&g1, 2).await?;
        set_canary(&g2).await?;
        let answer = delete(&g1, "acme").await?;
        ensure!(answer["nodes"] == json!(["g1"]), "{answer}");
        let left = answer["left"].as_array().unwrap();
        ensure!(
            left.len() == 1 && left[0]["what"] == "what node g2 has of it",
            "{answer}"
        );
        let why = left[0]["why"].as_str().unwrap();
        ensure!(
            why.ends_with("delete the tenant on that node, too"),
            "{why}"
        );
        ensure!(canaries_of(&g2).len() == 1, "{:?}", canaries_of(&g2));
        // Nothing is kept for others who might ask.
        ensure!(!g1.directory().join("data/deleted").exists(), "it is kept");
        g2.restart().await?;
        let answer = delete(&g2, "acme").await?;
        ensure!(answer["nodes"] == json!(["g2"]), "{answer}");
        ensure!(canaries_of(&g2).is_empty(), "{:?}", canaries_of(&g2));
        g1.stop().await?;
        g2.stop().await.map(drop)
    })
}

/// All series of before the deletion have ended, but for those of the node that was killed:
/// nobody knows any more which they are.
async fn ended_but_again(sink: &RemoteWriteSink) -> anyhow::Result<()> {
    sink.eventually("the end of all series of before", |received| {
        let of_before = |instance| [("span_name", CANARY), ("spanmill_instance", instance)];
        let (g1, g2) = (of_before("g1"), of_before("g2"));
        let ended = [&g1, &g2].map(|labels| received.series("acme", CALLS, labels));
        let mut of_before = ended.into_iter().flatten();
        let goes_on = of_before.find(|series| !series.has_ended());
        ensure!(goes_on.is_none(), "{goes_on:?}");
        Ok(())
    })
    .await
}
