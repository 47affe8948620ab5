use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use lifecycle::{Shutdown, TaskGroup};
use model::Clock;
use ring::{Identity, MemberState, MemberlistConfig, RingMetrics, Role};
use tower::ServiceExt as _;

use super::*;

/// A node alone, active, with a zone that would be markup.
async fn node() -> Ring {
    let config = MemberlistConfig {
        bind_addr: vec!["127.0.0.1".to_owned()],
        bind_port: 0,
        ..MemberlistConfig::default()
    };
    let identity = Identity {
        id: "g-1".into(),
        incarnation: 7,
        role: Role::All,
        zone: "<z>".into(),
        address: ([127, 0, 0, 1], 9095).into(),
        token_seed: 1,
        version: "1.2.3".into(),
        cluster_seed: String::new(),
    };
    let ring = Ring::start(
        config.settings().unwrap(),
        identity,
        Clock::system(),
        RingMetrics::default(),
        &TaskGroup::new(),
        Shutdown::new(),
    )
    .await
    .unwrap();
    ring.set_state(MemberState::Active);
    let is_active = || {
        let members = ring.members();
        members.iter().any(|status| status.member.owns_tokens())
    };
    while !is_active() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ring
}

async fn ask(ring: &Ring, request: Request<Body>) -> (StatusCode, String) {
    let routes = routes(ring.clone()).merge(admin_routes(ring.clone()));
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn get(path: &str, accept: &str) -> Request<Body> {
    let request = Request::get(path).header(ACCEPT, accept);
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn ring_is_shown_as_json_and_as_a_page_in_which_nothing_is_markup() {
    let ring = node().await;
    for request in [
        get("/ring?format=json", "text/html"),
        get("/memberlist", "application/json"),
    ] {
        let (status, body) = ask(&ring, request).await;
        assert_eq!(status, StatusCode::OK);
        let answer: RingAnswer = serde_json::from_str(&body).unwrap();
        let want = MemberAnswer {
            id: "g-1".to_owned(),
            incarnation: 7,
            role: "all".to_owned(),
            state: "active".to_owned(),
            zone: "<z>".to_owned(),
            address: "127.0.0.1:9095".to_owned(),
            gossip_address: ring.gossip_address().to_string(),
            // It goes up in steps.
            tokens: answer.members[0].tokens,
            share: 1.0,
            load: 0.0,
            heartbeat_age_seconds: 0.0,
            version: "1.2.3".to_owned(),
            has_same_cluster_seed: true,
        };
        assert_eq!(answer.members, [want]);
        assert_eq!(
            (answer.live_distributors, answer.desired_generators),
            (1, 1)
        );
    }
    let (_, page) = ask(&ring, get("/ring", "text/html")).await;
    for text in [
        "1 members: 1 active.",
        "<td data-head=\"Zone\">&lt;z&gt;<td data-head=\"Share\" class=\"number\">100.00 %",
        "<span class=\"active\">active</span>",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let (status, _) = ask(&ring, get("/ring?format=yaml", "*/*")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn only_members_that_are_dead_can_be_forgotten_and_only_by_json() {
    let ring = node().await;
    let post = |content_type, id: &str| {
        let request = Request::post("/ring/forget").header(CONTENT_TYPE, content_type);
        let body = format!("{{\"id\": \"{id}\"}}");
        request.body(Body::from(body)).unwrap()
    };
    for (content_type, id, want) in [
        ("application/json", "nobody", StatusCode::NOT_FOUND),
        ("application/json", "g-1", StatusCode::CONFLICT),
        ("text/plain", "g-1", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let (status, _) = ask(&ring, post(content_type, id)).await;
        assert_eq!(status, want, "{id} as {content_type}");
    }
}
