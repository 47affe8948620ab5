//! Settings that tenants change themselves, over HTTP: versions, limits of what they
//! may set, and that a change is in force for the next spans.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spanmill_integration::Spanmill;
use spanmill_integration::http::client;
use spanmill_integration::patience::eventually;
use spanmill_integration::ports::Port;
use spanmill_integration::python::Server;
use spanmill_integration::traces::{Traces, post, text_attribute};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CALLS: &str = "traces_spanmetrics_calls_total";

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    tag: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn tag(&self) -> &str {
        self.tag.as_deref().unwrap()
    }
}

/// Sends a request of a tenant.
async fn ask(
    spanmill: &Spanmill,
    tenant: &str,
    method: Method,
    query: &str,
    if_match: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let url = spanmill.api(&format!("/api/overrides{query}"));
    let mut request = client()
        .request(method, url)
        .header("X-Scope-OrgID", tenant);
    if let Some(if_match) = if_match {
        request = request.header("If-Match", if_match);
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let tag = response.headers().get("etag");
    Answer {
        status: response.status(),
        tag: tag.map(|tag| tag.to_str().unwrap().to_owned()),
        text: response.text().await.unwrap(),
    }
}

async fn get(spanmill: &Spanmill, tenant: &str, query: &str) -> Answer {
    ask(spanmill, tenant, Method::GET, query, None, None).await
}

async fn patch(spanmill: &Spanmill, tenant: &str, if_match: Option<&str>, body: Value) -> Answer {
    ask(spanmill, tenant, Method::PATCH, "", if_match, Some(&body)).await
}

/// One with the API, its other settings given.
async fn start(settings: Value) -> anyhow::Result<Spanmill> {
    let config = json!({
        "multitenancy_enabled": true,
        "overrides": {
            "defaults": {"metrics_generator": {"max_active_series": 1_000}},
            "user_configurable_overrides": settings,
        },
    });
    Spanmill::builder()
        .config(&config.to_string())
        .start()
        .await
}

fn interval(seconds: usize) -> Value {
    json!({"metrics_generator": {"collection_interval": format!("{seconds}s")}})
}

/// A store that is another program than spanmill.
fn s3(address: &str) -> Value {
    json!({
        "backend": "s3",
        "s3": {"bucket": "tenants", "prefix": "some/where", "endpoint": address,
               "region": "eu-west-1", "access_key": "key", "secret_key": "canary",
               "insecure": true},
    })
}

/// Sends a hundred patches at once that name the same version, over all processes in
/// turn, and checks that one of them wins, the others are told 412, and that what is
/// stored is the winner's. Gives the winner's version.
async fn race(processes: &[&Spanmill], tenant: &str, version: &str) -> anyhow::Result<String> {
    let patches = (0..100).map(|index| {
        let process = processes[index % processes.len()];
        patch(process, tenant, Some(version), interval(20 + index))
    });
    let answers = join_all(patches).await;
    let mut winners = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        match answer.status {
            StatusCode::OK => winners.push((index, answer)),
            status => ensure!(status == 412, "{answer:?}"),
        }
    }
    ensure!(winners.len() == 1, "{winners:?}");
    let (index, winner) = winners[0];
    for process in processes {
        let stored = get(process, tenant, "").await;
        ensure!(stored.json() == interval(20 + index), "{stored:?}");
        ensure!(stored.tag == winner.tag, "{stored:?}");
    }
    Ok(winner.tag().to_owned())
}

#[tokio::test]
async fn overrides_are_set_patched_shown_and_deleted_by_version() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    let none = get(&spanmill, "Team", "").await;
    assert_eq!(none.status, 404, "{none:?}");
    let merged = get(&spanmill, "Team", "?scope=merged").await;
    assert_eq!((merged.status, &merged.tag), (StatusCode::OK, &None));
    assert_eq!(
        merged.json()["metrics_generator"]["collection_interval"],
        "1s"
    );

    let document = interval(30);
    let post = async |if_match| {
        ask(
            &spanmill,
            "Team",
            Method::POST,
            "",
            if_match,
            Some(&document),
        )
        .await
    };
    assert_eq!(post(None).await.status, 428);
    assert_eq!(post(Some("\"abc\"")).await.status, 412);
    let first = post(Some("0")).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json(), document);
    assert_eq!(post(Some("\"0\"")).await.status, 412);
    let second = post(Some(first.tag())).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(second.tag, first.tag);

    let body =
        json!({"metrics_generator": {"collection_interval": null, "disable_collection": true}});
    assert_eq!(
        patch(&spanmill, "Team", Some(first.tag()), body.clone())
            .await
            .status,
        412
    );
    let third = patch(&spanmill, "Team", None, body).await;
    assert_eq!(third.status, 200, "{third:?}");
    assert_eq!(
        third.json(),
        json!({"metrics_generator": {"disable_collection": true}})
    );
    let stored = get(&spanmill, "Team", "?scope=api").await;
    assert_eq!((stored.json(), &stored.tag), (third.json(), &third.tag));
    let merged = get(&spanmill, "Team", "?scope=merged").await;
    assert_eq!(merged.tag, third.tag);
    let generator = &merged.json()["metrics_generator"];
    assert_eq!(generator["disable_collection"], true);
    assert_eq!(generator["max_active_series"], Value::Null);
    let explained = get(&spanmill, "Team", "?scope=explain").await.json();
    let settings = explained["settings"].as_array().unwrap();
    let of = |path: &str| {
        settings
            .iter()
            .find(|setting| setting["path"] == path)
            .unwrap()
    };
    assert_eq!(of("metrics_generator.disable_collection")["layer"], "api");
    assert_eq!(
        of("metrics_generator.processors")["layer"],
        "overrides.defaults"
    );
    assert_eq!(get(&spanmill, "Team", "?scope=all").await.status, 400);

    // Nobody else has them, whatever the file system thinks of case.
    assert_eq!(get(&spanmill, "team", "").await.status, 404);
    let delete = async |if_match| {
        ask(&spanmill, "Team", Method::DELETE, "", if_match, None)
            .await
            .status
    };
    assert_eq!(delete(None).await, 428);
    assert_eq!(delete(Some(second.tag())).await, 412);
    assert_eq!(delete(Some(third.tag())).await, 200);
    assert_eq!(delete(Some("*")).await, 412);
    assert_eq!(get(&spanmill, "Team", "").await.status, 404);
    for hostile in ["", "..", "a/b", "%2e%2e"] {
        assert_eq!(get(&spanmill, hostile, "").await.status, 401, "{hostile:?}");
    }

    let log = spanmill.stop().await?;
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a tenant has changed its overrides"))
        .collect();
    assert_eq!(told.len(), 4, "{log}");
    for part in [
        "tenant=Team",
        "127.0.0.1:",
        "PATCH",
        "disable_collection: unset -> true",
    ] {
        assert!(told[2].contains(part), "{part} in {}", told[2]);
    }
    let tag = third.tag().trim_matches('"');
    assert!(told[2].contains(tag) && told[3].contains(tag), "{log}");
    Ok(())
}

#[tokio::test]
async fn tenants_cannot_raise_their_limits_by_value_or_by_null() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    for (body, path) in [
        (
            json!({"metrics_generator": {"max_active_series": 0}}),
            "metrics_generator.max_active_series",
        ),
        (
            json!({"metrics_generator": {"max_active_series": null}}),
            "metrics_generator.max_active_series",
        ),
        (json!({"ingestion": null}), "ingestion"),
        (
            json!({"metrics_generator_max_active_series": 0}),
            "metrics_generator_max_active_series",
        ),
        (
            json!({"metrics_generator": {"remote_write": [{"url": "http://h"}]}}),
            "metrics_generator.remote_write",
        ),
        (
            json!({"metrics_generator": {"collection_interval": "1s"}}),
            "metrics_generator.collection_interval",
        ),
    ] {
        let refused = patch(&spanmill, "acme", None, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(
            refused.text.starts_with(&format!("{path}: ")),
            "{refused:?}"
        );
    }
    let everything = patch(&spanmill, "acme", None, json!({"metrics_generator": null})).await;
    assert_eq!(everything.status, 200, "{everything:?}");
    let page = spanmill.api("/status/overrides/acme?format=text");
    let page = client().get(page).send().await?.text().await?;
    let line = "metrics_generator.max_active_series: 1000  # overrides.defaults";
    assert!(page.contains(line), "{page}");
    spanmill.finish(&[]).await
}

#[tokio::test]
async fn a_change_is_in_force_for_the_next_spans_and_after_a_restart() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    let mut request = Traces::of_service("shop")
        .spans("pay", 3, Duration::from_millis(3), 1)
        .request();
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.attributes.push(text_attribute("region", "north"));
    }
    let body =
        json!({"metrics_generator": {"processor": {"span_metrics": {"dimensions": ["region"]}}}});
    let changed = patch(&spanmill, "acme", None, body.clone()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for tenant in ["acme", "globex"] {
        post(&spanmill.otlp_http(), &request, Some(tenant))
            .await?
            .accepted()?;
    }
    let north = &[("region", "north")];
    assert_eq!(spanmill.generated("acme").await?.sum(CALLS, north), 3.0);
    assert_eq!(spanmill.generated("globex").await?.sum(CALLS, north), 0.0);
    spanmill.ledger().await?;

    let (spanmill, _) = spanmill.restart().await?;
    let kept = get(&spanmill, "acme", "").await;
    assert_eq!((kept.json(), &kept.tag), (body, &changed.tag));
    let merged = get(&spanmill, "acme", "?scope=merged").await;
    assert_eq!(merged.tag, changed.tag);
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.attributes.truncate(0);
        span.attributes.push(text_attribute("region", "south"));
    }
    post(&spanmill.otlp_http(), &request, Some("acme"))
        .await?
        .accepted()?;
    let generated = spanmill.generated("acme").await?;
    assert_eq!(generated.sum(CALLS, &[("region", "south")]), 3.0);
    spanmill.finish(&[("acme", 3)]).await
}

#[tokio::test]
async fn of_a_hundred_patches_on_one_version_one_wins() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    let first = patch(&spanmill, "acme", None, interval(15)).await;
    let mut version = first.tag().to_owned();
    for _ in 0..5 {
        version = race(&[&spanmill], "acme", &version).await?;
    }
    spanmill.finish(&[]).await
}

#[tokio::test]
async fn of_a_hundred_patches_over_two_processes_one_wins() -> anyhow::Result<()> {
    let shared = tempfile::tempdir()?;
    let settings = json!({
        "enabled": true, "poll_interval": "1s", "client": {"local": {"path": shared.path()}}});
    let (one, two) = (start(settings.clone()).await?, start(settings).await?);
    let first = patch(&one, "acme", None, interval(15)).await;
    let mut version = first.tag().to_owned();
    for _ in 0..5 {
        version = race(&[&one, &two], "acme", &version).await?;
    }
    // Without a version each is applied, on what the others have made of it.
    let patches = (0..50).map(|index| {
        let dimensions = json!({"cost_attribution": {"dimensions": {index.to_string(): "a"}}});
        patch([&one, &two][index % 2], "acme", None, dimensions)
    });
    for answer in join_all(patches).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let stored = get(&two, "acme", "").await;
    let dimensions = &stored.json()["cost_attribution"]["dimensions"];
    assert_eq!(dimensions.as_object().unwrap().len(), 50);
    eventually("the last change to be in force in both", || async {
        for process in [&one, &two] {
            let merged = get(process, "acme", "?scope=merged").await;
            ensure!(merged.tag == stored.tag, "{merged:?}");
        }
        Ok(())
    })
    .await?;
    one.finish(&[]).await?;
    two.finish(&[]).await
}

#[tokio::test]
async fn in_s3_one_of_a_hundred_wins_and_an_outage_leaves_what_is_in_force() -> anyhow::Result<()> {
    let port = Port::reserve()?;
    let server = Server::start("serve_s3.py", &[&port.number().to_string(), "tenants"])?;
    let address = port.address().to_string();
    let bucket = format!("http://{address}/tenants");
    eventually("the store to answer", || async {
        let answer = client().get(&bucket).send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    })
    .await?;
    let settings = json!({"enabled": true, "poll_interval": "1s", "client": s3(&address)});
    let (one, two) = (start(settings.clone()).await?, start(settings).await?);
    let created = ask(
        &one,
        "acme",
        Method::POST,
        "",
        Some("0"),
        Some(&interval(15)),
    )
    .await;
    assert_eq!(created.status, 200, "{created:?}");
    let again = ask(
        &two,
        "acme",
        Method::POST,
        "",
        Some("0"),
        Some(&interval(15)),
    )
    .await;
    assert_eq!(again.status, 412, "{again:?}");
    let version = race(&[&one, &two], "acme", created.tag()).await?;
    let written = "PUT /tenants/some/where/overrides/acme/overrides.json ";
    assert!(server.log().contains(written), "{}", server.log());
    let in_force = async |process: &Spanmill| get(process, "acme", "?scope=merged").await;
    eventually("the winner to be in force in both", || async {
        for process in [&one, &two] {
            let merged = in_force(process).await;
            ensure!(merged.tag.as_ref() == Some(&version), "{merged:?}");
        }
        Ok(())
    })
    .await?;

    let shown = client().get(one.api("/status/config")).send().await?;
    let shown = shown.text().await?;
    assert!(shown.contains("bucket: tenants"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");

    drop(server);
    let refused = patch(&one, "acme", None, interval(20)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.text.contains(&address), "{refused:?}");
    assert_eq!(in_force(&one).await.tag, Some(version));
    let log = one.stop().await?;
    assert!(!log.contains("canary"), "{log}");
    two.finish(&[]).await
}

/// It answers 200 to everything, as a store that does not know the condition.
#[tokio::test]
async fn a_store_without_conditional_writes_ends_the_start() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let store = async {
        loop {
            let (mut connection, _) = listener.accept().await?;
            // The head may come in pieces; an answer to the first is as good.
            let _ = connection.read(&mut [0; 4_096]).await?;
            let answer = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nConnection: close\r\n\r\n";
            connection.write_all(answer.as_bytes()).await?;
        }
        #[allow(unreachable_code, reason = "it says what the errors are")]
        anyhow::Ok((None, String::new()))
    };
    let config = json!({"overrides": {"user_configurable_overrides": {
        "enabled": true, "client": s3(&address)}}});
    let ended = tokio::select! {
        ended = Spanmill::builder().config(&config.to_string()).run() => ended,
        failed = store => failed,
    };
    let (code, log) = ended?;
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("the object store writes whatever If-Match says"),
        "{log}"
    );
    Ok(())
}

/// A body without end in chunks, and one whose length says that it is too long.
#[tokio::test]
async fn a_store_that_fails_every_request_is_told_of_now_and_then() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    patch(&spanmill, "acme", None, interval(20)).await;
    // No directory can be where there is a file.
    let store = spanmill.directory().join("data/overrides");
    std::fs::remove_dir_all(&store)?;
    std::fs::write(&store, "")?;
    for index in 0..200 {
        let refused = patch(&spanmill, "acme", None, interval(20 + index)).await;
        ensure!(refused.status == 503, "{refused:?}");
    }
    let log = spanmill.stop().await?;
    let told = log.matches("cannot read or store what a tenant sets");
    // One in ten seconds.
    let told = told.count();
    ensure!((1..=20).contains(&told), "told {told} times of 200");
    Ok(())
}

#[tokio::test]
async fn long_bodies_are_refused_without_being_kept() -> anyhow::Result<()> {
    let spanmill = start(json!({"enabled": true})).await?;
    let before = resident_kib(&spanmill).await?;
    let head = "POST /api/overrides HTTP/1.1\r\nHost: h\r\nX-Scope-OrgID: acme\r\nIf-Match: 0\r\n";
    for (rest, chunk) in [
        ("Content-Length: 1073741824\r\n\r\n", vec![b' '; 65_536]),
        ("Transfer-Encoding: chunked\r\n\r\n", {
            let mut chunk = b"10000\r\n".to_vec();
            chunk.resize(chunk.len() + 65_536, b' ');
            chunk.extend(b"\r\n");
            chunk
        }),
    ] {
        let mut connection = tokio::net::TcpStream::connect(spanmill.api_address()).await?;
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(rest.as_bytes()).await?;
        let (mut reader, mut writer) = connection.split();
        let write = async {
            // 1 GiB, unless the other side closes.
            for _ in 0..16_384 {
                if writer.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 12];
        tokio::select! {
            read = reader.read_exact(&mut answer) => drop(read?),
            () = write => {}
        }
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    }
    let grown = resident_kib(&spanmill).await?.saturating_sub(before);
    ensure!(grown < 16 * 1024, "grown by {grown} KiB");
    spanmill.finish(&[]).await
}

/// The resident memory of the process.
async fn resident_kib(spanmill: &Spanmill) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", spanmill.pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
