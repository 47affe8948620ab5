//! Destinations that change while samples are pending.

use super::*;

fn to(urls: &[(&str, &str)]) -> TenantDestinations {
    let endpoints = urls.iter().map(|(name, url)| {
        let mut settings = endpoint_of_ones(url);
        settings["name"] = json!(name);
        serde_json::from_value(settings).unwrap()
    });
    TenantDestinations {
        endpoints: endpoints.collect(),
        headers: BTreeMap::new(),
    }
}

async fn down() -> (Receiver, String) {
    Receiver::ruled(|_| Some(answer_with(503, &[], ""))).await
}

#[tokio::test]
async fn changed_address_gets_what_waited_for_the_old_one() {
    for name in ["sink", ""] {
        let (_, old_url) = down().await;
        let (new, new_url) = Receiver::start([]).await;
        let fixture = start(vec![], false);
        let writer = fixture
            .remote_write
            .writer(&id("acme"), &to(&[(name, &old_url)]));
        write_one(&writer, 1.0);
        assert_eq!(fixture.remote_write.flush(Duration::from_secs(60)).await, 1);
        writer.set_destinations(&to(&[(name, &new_url)]));
        write_one(&writer, 2.0);
        fixture.flush().await;
        assert_eq!(new.values(), [1.0, 2.0], "{name:?}");
    }
}

#[tokio::test]
async fn new_destination_gets_what_is_collected_from_then_on() {
    let (first, first_url) = Receiver::start([]).await;
    let (second, second_url) = Receiver::start([]).await;
    let fixture = start(vec![], false);
    let tenant = id("acme");
    let writer = fixture
        .remote_write
        .writer(&tenant, &to(&[("a", &first_url)]));
    write_one(&writer, 1.0);
    writer.set_destinations(&to(&[("a", &first_url), ("b", &second_url)]));
    write_one(&writer, 2.0);
    fixture.flush().await;
    assert_eq!(first.values(), [1.0, 2.0]);
    assert_eq!(second.values(), [2.0]);
}

#[tokio::test]
async fn removed_destination_does_not_hold_the_others_and_its_samples_are_counted() {
    let (_, down_url) = down().await;
    let (up, up_url) = Receiver::start([]).await;
    let fixture = start(vec![], false);
    let both = to(&[("sink", &down_url), ("up", &up_url)]);
    let writer = fixture.remote_write.writer(&id("acme"), &both);
    for value in [1.0, 2.0] {
        write_one(&writer, value);
    }
    assert_eq!(fixture.remote_write.flush(Duration::from_secs(60)).await, 2);
    assert_eq!(up.values(), [1.0, 2.0]);
    assert_eq!(fixture.count("samples_pending"), 2);
    writer.set_destinations(&to(&[("up", &up_url)]));
    fixture.flush().await;
    writer.set_destinations(&to(&[]));
    write_one(&writer, 3.0);
    fixture.flush().await;
    assert_eq!(up.values(), [1.0, 2.0], "nobody is left to send to");
    writer.set_destinations(&to(&[("up", &up_url)]));
    write_one(&writer, 4.0);
    fixture.flush().await;
    assert_eq!(up.values(), [1.0, 2.0, 4.0], "nothing comes again");
}

/// An unnamed destination has the name of its host in metrics, whatever its path.
#[tokio::test]
async fn metrics_stay_when_a_queue_takes_the_place_of_another() {
    let (_, url) = down().await;
    let fixture = start(vec![], false);
    let tenant = id("acme");
    let writer = fixture.remote_write.writer(&tenant, &to(&[("", &url)]));
    write_one(&writer, 1.0);
    assert_eq!(fixture.remote_write.flush(Duration::from_secs(60)).await, 1);
    let other = format!("{url}/other");
    writer.set_destinations(&to(&[("", &other)]));
    assert_eq!(fixture.remote_write.flush(Duration::from_secs(60)).await, 1);
    let host = url.split('/').nth(2).unwrap();
    let pending = format!("samples_pending{{tenant=\"acme\",endpoint=\"{host}\"}}");
    assert_eq!(fixture.metric(&pending).as_deref(), Some("1"));
}

#[tokio::test]
async fn destination_that_cannot_be_used_after_a_restart_keeps_what_it_is_owed() {
    let (sink, sink_url) = down().await;
    let (other, other_url) = Receiver::start([]).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret").unwrap();
    let both = || {
        let mut both = to(&[("sink", &sink_url), ("other", &other_url)]);
        let mut endpoints = both.endpoints.to_vec();
        endpoints[0].bearer_token_file = token.path().to_str().unwrap().to_owned();
        both.endpoints = endpoints.into();
        both
    };
    let first = start(vec![], false);
    let writer = first.remote_write.writer(&id("acme"), &both());
    for value in [1.0, 2.0] {
        write_one(&writer, value);
    }
    assert_eq!(first.remote_write.flush(Duration::from_secs(60)).await, 2);
    drop(writer);
    let directory = first.stop().await;

    let wanted = both();
    std::fs::remove_file(token.path()).unwrap();
    let next = start_in(directory, Clock::system(), vec![], false);
    next.remote_write.resume(|_| wanted.clone());
    let writer = next.remote_write.writer(&id("acme"), &wanted);
    write_one(&writer, 3.0);
    next.flush().await;
    assert_eq!(other.values(), [1.0, 2.0, 3.0]);
    sink.set_rule(|_| None);
    sink.requests.lock().clear();
    std::fs::write(token.path(), "secret").unwrap();
    writer.set_destinations(&wanted);
    next.flush().await;
    assert_eq!(sink.values(), [1.0, 2.0, 3.0]);
}

#[tokio::test]
async fn destination_that_cannot_be_used_leaves_the_one_before() {
    let (receiver, url) = Receiver::start([]).await;
    let fixture = start(vec![], false);
    let good = to(&[("sink", &url)]);
    let writer = fixture.remote_write.writer(&id("acme"), &good);
    let mut endpoint = good.endpoints[0].clone();
    endpoint.bearer_token_file = "/does/not/exist".to_owned();
    writer.set_destinations(&TenantDestinations {
        endpoints: [endpoint].into(),
        ..good
    });
    write_one(&writer, 1.0);
    fixture.flush().await;
    assert_eq!(receiver.values(), [1.0]);
}
