//! Answers by rule, and what only shows over several requests.

use std::time::{Duration, UNIX_EPOCH};

use super::{answered, calls, send, send_as, send_v2, series};
use crate::http::client;
use crate::patience::eventually;
use crate::remote_write_sink::{Answer, Faults, RemoteWriteSink, When};

fn status(status: u16) -> Answer {
    Answer::status(status).unwrap()
}

#[tokio::test]
async fn first_rule_that_is_met_answers() {
    let faults = Faults::new()
        .on(When::request(2), status(500))
        .on(
            When::any().tenant("noisy").times(2),
            status(429).retry_after("3"),
        )
        .on(When::any().holds("poison"), status(400).body("bad metric"))
        .on(When::any().over_series(2), status(413))
        .on(When::any().over_bytes(200), status(431))
        .on(When::from_request(9), status(503).retry_at(UNIX_EPOCH));
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let poison = |time| series(&[("__name__", "poison")], &[(time, 1.0)]);
    let up = |time| series(&[("__name__", "up")], &[(time, 1.0)]);
    let long: String = (0..300)
        .filter_map(|code| char::from_u32(200 + code))
        .collect();
    let mut statuses = Vec::new();
    for (tenant, request) in [
        ("acme", vec![calls(&[(1, 1.0)])]),
        ("acme", vec![calls(&[(2, 1.0)])]),
        ("noisy", vec![calls(&[(3, 1.0)])]),
        ("noisy", vec![calls(&[(4, 1.0)])]),
        ("noisy", vec![calls(&[(5, 1.0)])]),
        ("acme", vec![calls(&[(6, 1.0)]), poison(6)]),
        (
            "acme",
            vec![
                calls(&[(7, 1.0)]),
                up(7),
                series(&[("__name__", "x")], &[(7, 1.0)]),
            ],
        ),
        (
            "acme",
            vec![series(&[("__name__", "long"), ("l", &long)], &[(8, 1.0)])],
        ),
        ("acme", vec![calls(&[(9, 1.0)])]),
    ] {
        let answer = send_as(&sink, tenant, request).await;
        let after = answer.headers().get("retry-after");
        let after = after.map(|value| value.to_str().unwrap().to_owned());
        statuses.push((answer.status().as_u16(), after.unwrap_or_default()));
    }
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    let want = [204, 500, 429, 429, 204, 400, 413, 431, 503];
    let after = ["", "", "3", "3", "", "", "", "", date];
    assert_eq!(
        statuses,
        want.into_iter()
            .zip(after.map(String::from))
            .collect::<Vec<_>>()
    );
    // Of what was refused nothing is kept, not even what was good of it.
    assert_eq!(sink.received().sum("acme", "calls", &[]), 1.0);
    assert_eq!(sink.received().sum("acme", "poison", &[]), 0.0);
    sink.set_faults(Faults::new());
    assert_eq!(send(&sink, vec![calls(&[(10, 1.0)])]).await.status(), 204);
    sink.check_protocol().unwrap();
}

#[tokio::test]
async fn connection_can_be_cut_after_the_samples_are_kept() {
    let faults = Faults::new().on(When::request(1), status(204).cut());
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let request = || vec![calls(&[(1, 0.0), (2, 5.0)])];
    assert!(answered(&sink, request()).await.is_err());
    assert_eq!(sink.received().sum("acme", "calls", &[]), 5.0);
    // The sender cannot know, and sends it again.
    assert_eq!(answered(&sink, request()).await.unwrap().status(), 204);
    sink.check_protocol().unwrap();
    let received = sink.received();
    let points = received.all_series("acme").map(|series| &series.points);
    assert_eq!(points.collect::<Vec<_>>(), [&[(1, 0.0), (2, 5.0)]]);
}

#[tokio::test]
async fn held_request_is_answered_when_the_sink_lets_go() {
    let faults = Faults::new().on(When::request(1), status(204).held());
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let send = answered(&sink, vec![calls(&[(1, 5.0)])]);
    let let_go = async {
        sink.eventually("the request", |received| {
            anyhow::ensure!(received.requests.len() == 1);
            Ok(())
        })
        .await
        .unwrap();
        sink.let_go();
    };
    let (answer, ()) = tokio::join!(send, let_go);
    assert_eq!(answer.unwrap().status(), 204);
}

#[tokio::test]
async fn bodies_can_drip_and_have_no_end() {
    let faults = Faults::new()
        .on(When::request(1), status(500).endless())
        .on(
            When::request(2),
            status(500).dripping(Duration::from_millis(1)),
        );
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    for time in 1..=2 {
        let mut answer = send(&sink, vec![calls(&[(time, 1.0)])]).await;
        let mut bytes = 0;
        while bytes < 20 {
            bytes += answer.chunk().await.unwrap().unwrap().len();
        }
    }
}

#[tokio::test]
async fn redirect_leads_to_another_sink() {
    let other = RemoteWriteSink::start().await.unwrap();
    let faults = Faults::new().on(When::any(), Answer::redirect_to(&other.url()).unwrap());
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    assert_eq!(send(&sink, vec![calls(&[(1, 5.0)])]).await.status(), 204);
    assert_eq!(sink.received().requests[0].status, 307);
    assert_eq!(other.received().sum("acme", "calls", &[]), 5.0);
    assert_eq!(sink.received().sum("acme", "calls", &[]), 0.0);
}

#[tokio::test]
async fn counts_of_what_is_written_can_be_left_out_or_wrong() {
    let faults = Faults::new()
        .on(When::request(1), status(204).without_written())
        .on(When::request(2), status(400).written(7, 0, 0));
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let written = |answer: &reqwest::Response| {
        let header = answer
            .headers()
            .get("x-prometheus-remote-write-samples-written");
        header.map(|value| value.to_str().unwrap().to_owned())
    };
    let first = send_v2(&sink, super::calls_v2()).await;
    assert_eq!((first.status().as_u16(), written(&first)), (204, None));
    assert_eq!(sink.received().sum("", "calls", &[]), 5.0);
    let second = send_v2(&sink, super::calls_v2()).await;
    assert_eq!(written(&second), Some("7".to_owned()));
}

/// Smaller requests with a part of what was refused are no breach.
#[tokio::test]
async fn refused_request_must_not_come_again_as_a_whole() {
    let faults = Faults::new()
        .on(When::request(1), status(400))
        .on(When::request(2), status(429));
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let (a, b) = (
        calls(&[(1, 1.0)]),
        series(&[("__name__", "up")], &[(1, 1.0)]),
    );
    send(&sink, vec![a.clone(), b.clone()]).await;
    send(&sink, vec![a.clone()]).await;
    send(&sink, vec![a.clone()]).await;
    send(&sink, vec![b.clone()]).await;
    send_as(&sink, "other", vec![a.clone(), b.clone()]).await;
    sink.check_protocol().unwrap();
    let another = series(&[("__name__", "z")], &[(1, 1.0)]);
    send(&sink, vec![b, another, a]).await;
    assert_eq!(
        sink.received().violations,
        ["request 6: has all of request 1, which was answered 400 Bad Request"]
    );
}

#[tokio::test]
async fn request_in_1_0_after_415_is_no_breach() {
    let faults = Faults::new().on(When::request(1), status(415));
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    send_v2(&sink, super::calls_v2()).await;
    let web = series(&[("__name__", "calls"), ("service", "web")], &[(9, 5.0)]);
    send_as(&sink, "", vec![web]).await;
    sink.check_protocol().unwrap();
    send_v2(&sink, super::calls_v2()).await;
    assert_eq!(sink.received().violations.len(), 1);
}

#[tokio::test]
async fn requests_beside_each_other_must_not_share_a_series() {
    let faults = Faults::new().on(When::request(1), status(204).held());
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let first = answered(&sink, vec![calls(&[(1, 1.0)])]);
    let others = async {
        sink.eventually("the first", |received| {
            anyhow::ensure!(received.requests.len() == 1);
            Ok(())
        })
        .await
        .unwrap();
        send(&sink, vec![series(&[("__name__", "up")], &[(1, 1.0)])]).await;
        send_as(&sink, "other", vec![calls(&[(2, 1.0)])]).await;
        send(&sink, vec![calls(&[(2, 1.0)])]).await;
        sink.let_go();
    };
    let (answer, ()) = tokio::join!(first, others);
    assert_eq!(answer.unwrap().status(), 204);
    assert_eq!(
        sink.received().violations,
        ["request 1: request 4 came meanwhile with the same series"]
    );
}

#[tokio::test]
async fn request_that_its_sender_gave_up_may_come_again() {
    let faults = Faults::new().on(When::request(1), status(204).held());
    let sink = RemoteWriteSink::start_with(faults).await.unwrap();
    let impatient = answered(&sink, vec![calls(&[(1, 1.0)])]);
    let seen = sink.eventually("the first", |received| {
        anyhow::ensure!(received.requests.len() == 1);
        Ok(())
    });
    tokio::select! {
        _ = impatient => panic!("it is held"),
        seen = seen => seen.unwrap(),
    }
    assert_eq!(send(&sink, vec![calls(&[(1, 1.0)])]).await.status(), 204);
    eventually("the first to be gone", || async {
        anyhow::ensure!(sink.shared.under_way.is_empty());
        Ok(())
    })
    .await
    .unwrap();
    sink.let_go();
    sink.check_protocol().unwrap();
}

#[tokio::test]
async fn tenant_label_must_be_the_tenant() {
    let sink = RemoteWriteSink::start().await.unwrap();
    sink.check_tenant_label("tenant");
    let of = |tenant| {
        vec![series(
            &[("__name__", "m"), ("tenant", tenant)],
            &[(1, 1.0)],
        )]
    };
    send_as(&sink, "acme", of("acme")).await;
    sink.check_protocol().unwrap();
    send_as(&sink, "acme", of("other")).await;
    assert_eq!(
        sink.received().violations,
        ["request 2: tenant is \"other\" in a request of \"acme\""]
    );
}

#[tokio::test]
async fn tenant_must_not_stand_twice() {
    let sink = RemoteWriteSink::start().await.unwrap();
    let twice = client().post(sink.url()).header("x-scope-orgid", "a");
    twice.header("x-scope-orgid", "b").send().await.unwrap();
    let found = sink.received().violations.join("; ");
    assert!(found.contains("x-scope-orgid stands twice"), "{found}");
}

#[tokio::test]
async fn requests_that_no_receiver_takes_are_seen() {
    let sink = RemoteWriteSink::start().await.unwrap();
    let large = vec![0; (32 << 20) + 1];
    let compressed = snap::raw::Encoder::new().compress_vec(&large).unwrap();
    let post = |body: Vec<u8>| client().post(sink.url()).body(body).send();
    assert_eq!(post(compressed).await.unwrap().status(), 204);
    let found = sink.received().violations.join("; ");
    let wanted = "message has 33554433 bytes, over 33554432";
    assert!(found.contains(wanted), "{found}");
    // It may have closed the connection by then.
    drop(post(large).await);
    let found = sink.received().violations.join("; ");
    assert!(
        found.contains("a body of more than 33554432 bytes"),
        "{found}"
    );
}
