//! What the spool does not keep, and what many tenants cost.

use super::*;

#[tokio::test]
async fn over_the_bound_the_oldest_go_and_every_sample_is_accounted_for() {
    let (receiver, url) = Receiver::ruled(|_| Some(answer_with(503, &[], ""))).await;
    let mut fixture = start(vec![], false);
    let directory = tempfile::tempdir().unwrap();
    let config = RemoteWriteConfig {
        endpoints: vec![],
        add_org_id_header: false,
        spool: SpoolConfig {
            max_bytes_per_tenant: 1 << 20,
            ..spool(&directory)
        },
    };
    let mut registry = telemetry::new_metrics_registry();
    let metrics = RemoteWriteMetrics::register(&mut registry);
    fixture.remote_write =
        RemoteWrite::start(config, metrics, Clock::system(), &fixture.tasks).unwrap();
    fixture.registry = registry;
    let mut settings = endpoint(&url);
    settings["queue_config"]["max_shards"] = json!(3);
    fixture.destinations.endpoints = [serde_json::from_value(settings).unwrap()].into();
    let writer = fixture.writer("acme");
    let (collections, series) = (300_u64, 500_u64);
    let mut labels = LabelSetBuf::new();
    for collection in 0..collections {
        let mut append = writer.append(&[], "traceID");
        for number in 0..series {
            labels.clear();
            labels.push("n", &format!("{number:0100}"));
            append.label_set(labels.finish());
            let m = Series {
                name: "m",
                le: None,
            };
            append.series(
                m,
                &[point((collection * 1_000 + number) as f64 + 0.5)],
                None,
            );
        }
        append.commit();
        if collection % 50 == 0 {
            // Attempts are made, and fail, in between.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let dropped = fixture.count("samples_dropped_total spool_full");
    let spooled = collections * series;
    assert!(dropped > spooled / 4, "{dropped}");
    receiver.set_rule(|_| None);
    receiver.requests.lock().clear();
    fixture.flush().await;
    let sent = fixture.count("samples_sent_total");
    assert_eq!(
        sent + fixture.count("samples_dropped_total spool_full"),
        spooled
    );
    let got: usize = receiver
        .requests
        .lock()
        .iter()
        .map(|(_, r)| r.timeseries.len())
        .sum();
    assert_eq!(got as u64, sent);
    let total = fixture.metric("samples_spooled_total{tenant=\"acme\"}");
    assert_eq!(total, Some(spooled.to_string()));
    drop(writer);
}

#[tokio::test]
async fn samples_that_are_older_than_the_limit_are_not_sent() {
    let (receiver, url) = Receiver::start([]).await;
    let mut settings = endpoint_of_ones(&url);
    settings["queue_config"]["sample_age_limit"] = json!("1m");
    let now = (point(1_000_000.0).timestamp_ms as u64) * 1_000_000;
    let fixture = start_at(Clock::manual(now), vec![settings], false);
    let writer = fixture.writer("acme");
    for value in [1.0, 939_999.0, 940_001.0] {
        write_one(&writer, value);
    }
    fixture.flush().await;
    assert_eq!(receiver.values(), [940_001.0]);
    assert_eq!(fixture.count("samples_dropped_total too_old"), 2);
    drop(writer);
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn ten_thousand_tenants_hold_no_files_and_no_tasks() {
    let (receiver, url) = Receiver::ruled(|_| Some(answer_with(503, &[], ""))).await;
    let fixture = start(vec![endpoint(&url)], true);
    let before = open_files();
    let writers: Vec<_> = (0..10_000)
        .map(|number| fixture.writer(&format!("tenant-{number}")))
        .collect();
    for writer in &writers {
        write_one(writer, 1.0);
    }
    // Connections to the receiver are bounded, whatever the tenants.
    assert!(
        open_files() < before + 600,
        "{} before, {} now",
        before,
        open_files()
    );
    assert_eq!(fixture.tasks.running(), 1);
    receiver.set_rule(|_| None);
    fixture.flush().await;
    let tenants: std::collections::HashSet<_> = receiver
        .requests
        .lock()
        .iter()
        .map(|(headers, _)| headers["x-scope-orgid"].clone())
        .collect();
    assert_eq!(tenants.len(), 10_000);
    drop(writers);
}

/// From when the earliest span came to when the receiver has said that it has them.
#[tokio::test]
async fn time_from_a_push_to_its_delivery_is_counted() {
    let (_, url) = Receiver::start([]).await;
    let now_ms = point(0.0).timestamp_ms;
    let clock = Clock::manual(now_ms as u64 * 1_000_000);
    let fixture = start_at(clock, vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    let mut append = writer.append(&[], "traceID");
    append.pushed_since(now_ms - 4_000);
    append.label_set(model::LabelSet::EMPTY);
    let calls = Series {
        name: "calls",
        le: None,
    };
    append.series(calls, &[point(1.0)], None);
    append.commit();
    fixture.flush().await;
    assert_eq!(fixture.count("push_to_delivery_seconds_count"), 1);
    let by = "{tenant=\"acme\",endpoint=\"sink\"}";
    let sum = fixture.metric(&format!("push_to_delivery_seconds_sum{by}"));
    assert_eq!(sum.as_deref(), Some("4.0"));
}
