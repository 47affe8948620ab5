//! A generator that goes for good while its receiver is down.

use anyhow::{Context as _, ensure};
use reqwest::Method;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::remote_write_sink::Answer;
use spanmill_integration::{Clients, Network, Node};

use crate::harness::{BETWEEN, Cluster};

/// Asks whether the next stop of a node is for good, or says that it is or is not.
async fn prepare_downscale(node: &Node, method: Method) -> anyhow::Result<String> {
    let page = node.admin("/generator/prepare-downscale");
    let answer = text_of(client().request(method, page)).await?;
    Ok(answer.trim().to_owned())
}

impl Cluster {
    /// Series of a generator, and how many of them have ended.
    fn series_of(&self, generator: &str) -> (usize, usize) {
        let received = self.sink.received();
        let series = received.all_series("");
        let of_it: Vec<_> = series
            .filter(|series| {
                let instance = series.labels.get("spanmill_instance");
                instance.is_some_and(|instance| instance == generator)
            })
            .map(|series| series.has_ended())
            .collect();
        (of_it.len(), of_it.iter().filter(|ended| **ended).count())
    }

    /// Checks that no sample came twice, and each after those before it.
    fn came_once_and_in_order(&self) -> anyhow::Result<()> {
        let received = self.sink.received();
        for series in received.all_series("") {
            let mut times = series.points.windows(2);
            ensure!(
                times.all(|pair| matches!(pair, [(one, _), (next, _)] if one < next)),
                "{series:?}"
            );
        }
        Ok(())
    }
}

#[test]
fn generator_that_goes_for_good_hands_over_and_never_sends_it_again() -> anyhow::Result<()> {
    let test = "handover::generator_that_goes_for_good_hands_over_and_never_sends_it_again";
    Network::run(test, async |mut network| {
        let mut cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let goes = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            cluster.sink.always_answer(Some(Answer::status(503)?));
            clients.more(2 * BETWEEN).await?;
            let first = &mut cluster.generators[0];
            ensure!(prepare_downscale(first, Method::GET).await? == "unset");
            ensure!(prepare_downscale(first, Method::POST).await? == "set");
            let log = first.stop().await?;
            ensure!(log.contains("handed over to other generators"), "{log}");
            cluster.sees(2).await?;
            clients.more(BETWEEN).await?;
            cluster.sink.always_answer(None);
            clients.more(BETWEEN).await?;
            Ok(cluster)
        };
        let (mut cluster, sent) = Clients::during(urls.clone(), goes).await?;
        cluster.is_exact(sent, 0.9).await?;
        let (series, ended) = cluster.series_of("g1");
        ensure!(series > 0 && ended == series, "{ended} of {series} ended");

        cluster.generators[0].begin()?;
        cluster.generators[0].ready().await?;
        cluster.sees(3).await?;
        let again = async |clients: &Clients| clients.more(2 * BETWEEN).await;
        let ((), more) = Clients::during(urls, again).await?;
        cluster.is_exact(sent.and(more), 0.9).await?;
        let (series, ended) = cluster.series_of("g1");
        ensure!(series > 0 && ended < series, "{ended} of {series} ended");
        cluster.came_once_and_in_order()?;
        cluster.stop().await
    })
}

#[test]
fn generator_that_was_to_go_and_may_stay_goes_on_after_its_next_stop() -> anyhow::Result<()> {
    let test = "handover::generator_that_was_to_go_and_may_stay_goes_on_after_its_next_stop";
    Network::run(test, async |mut network| {
        let mut cluster = Cluster::start(&mut network).await?;
        let urls = cluster.urls();
        let stays = async |clients: &Clients| {
            clients.more(BETWEEN).await?;
            cluster.sink.always_answer(Some(Answer::status(503)?));
            clients.more(BETWEEN).await?;
            let first = &mut cluster.generators[0];
            ensure!(prepare_downscale(first, Method::POST).await? == "set");
            ensure!(prepare_downscale(first, Method::DELETE).await? == "unset");
            let log = first.stop().await?;
            ensure!(!log.contains("goes for good"), "{log}");
            first.begin()?;
            first.ready().await?;
            cluster.sees(3).await?;
            clients.more(BETWEEN).await?;
            cluster.sink.always_answer(None);
            clients.more(BETWEEN).await?;
            Ok(cluster)
        };
        let (cluster, sent) = Clients::during(urls, stays).await?;
        cluster.is_exact(sent, 0.99).await?;
        let (series, ended) = cluster.series_of("g1");
        ensure!(series > 0 && ended == 0, "{ended} of {series} ended");
        cluster.came_once_and_in_order()?;
        let node = cluster.generators.first().context("no generator")?;
        ensure!(prepare_downscale(node, Method::GET).await? == "unset");
        cluster.stop().await
    })
}
