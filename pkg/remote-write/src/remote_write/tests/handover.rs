//! What a node that goes has not delivered is delivered by another.

use model::{Metadata, MetricType};

use super::*;
use crate::handover::ChunkError;

/// A node with tenants that all send to the same endpoints.
fn node(endpoints: &[serde_json::Value]) -> Fixture {
    start(endpoints.to_vec(), false)
}

fn node_in(directory: tempfile::TempDir, endpoints: &[serde_json::Value]) -> Fixture {
    let next = start_in(directory, Clock::system(), endpoints.to_vec(), false);
    let destinations = next.destinations.clone();
    next.remote_write.resume(|_| destinations.clone());
    next
}

fn down(_: &pb::WriteRequest) -> Option<Response> {
    Some(answer_with(503, &[], "down"))
}

impl Fixture {
    /// Nothing more is delivered.
    async fn fail(&self, pending: u64) {
        let left = self.remote_write.flush(Duration::from_secs(60)).await;
        assert_eq!(left, pending);
        self.remote_write.settle().await;
    }

    /// The receivers are back: everything arrives, however often it failed before.
    async fn recover(&self) {
        while self.remote_write.flush(Duration::from_secs(60)).await > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn take(&self, tenant: &str, chunk: &HandedChunk) -> Result<u64, TakeError> {
        let taken = self
            .remote_write
            .take_over(&id(tenant), &chunk.bytes, &self.destinations)?;
        Ok(taken.samples)
    }

    /// Hands over all that a tenant has; returns how many chunks these were.
    fn give_all(&self, tenant: &str, to: &Self) -> usize {
        let handover = self.remote_write.hand_over(&id(tenant), "a").unwrap();
        let Some(mut handover) = handover else {
            return 0;
        };
        let mut chunks = 0;
        while let Some(chunk) = handover.next_chunk().unwrap() {
            assert_eq!(to.take(tenant, &chunk).unwrap(), chunk.samples);
            handover.taken();
            chunks += 1;
        }
        assert_eq!(handover.left(), 0);
        chunks
    }
}

/// The equation of a spool's counters, for the endpoint `sink`.
fn assert_balanced(fixture: &Fixture) {
    let spooled = fixture.metric("samples_spooled_total{tenant=\"acme\"}");
    let spooled: u64 = spooled.map_or(0, |value| value.parse().unwrap());
    let reasons = [
        "delivered_elsewhere",
        "damaged",
        "bad_request",
        "spool_full",
    ];
    let dropped = reasons.map(|reason| fixture.count(&format!("samples_dropped_total {reason}")));
    let pending = fixture.remote_write.unsent_samples(&id("acme"));
    let sum = fixture.count("samples_sent_total")
        + fixture.count("samples_handed_over_total")
        + dropped.iter().sum::<u64>()
        + pending;
    assert_eq!(sum, spooled);
}

#[tokio::test]
async fn what_is_handed_over_arrives_once_in_order_beside_the_targets_own() {
    let (receiver, url) = Receiver::ruled(down).await;
    let (source, target) = (node(&[endpoint(&url)]), node(&[endpoint(&url)]));
    let writer = source.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    source.fail(3).await;
    assert_eq!(source.remote_write.undelivered_tenants(), [id("acme")]);
    assert_eq!(source.give_all("acme", &target), 1);
    assert_balanced(&source);
    assert_eq!(source.count("samples_handed_over_total"), 3);
    assert_eq!(source.remote_write.undelivered_tenants(), []);
    // Of each the first to take it over has a count; the source has nothing to send.
    let of_acme = |name: &str| target.metric(&format!("{name}{{tenant=\"acme\"}}"));
    for name in [
        "samples_taken_over_total",
        "samples_collected_total",
        "samples_spooled_total",
    ] {
        assert_eq!(of_acme(name).as_deref(), Some("3"), "{name}");
    }
    // The target collects the tenant as well from now on.
    let own = target.writer("acme");
    let mut append = own.append(&[("instance".to_owned(), "b".to_owned())], "traceID");
    let mut labels = LabelSetBuf::new();
    labels.push("service", "web");
    append.label_set(labels.finish());
    let calls = Series {
        name: "calls",
        le: None,
    };
    append.series(calls, &[point(4.0)], None);
    append.commit();
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    let mut got: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (series, values) in receiver.series().concat() {
        got.entry(series).or_default().extend(values);
    }
    let want = [
        ("__name__=calls instance=b service=web", vec![4.0]),
        ("__name__=calls service=web", vec![1.0, 2.0, 3.0]),
    ];
    assert_eq!(got, want.map(|(k, v)| (k.to_owned(), v)).into());
    assert_balanced(&target);
}

/// Nobody collects the tenant at the target, and it ends as one that nobody needs.
#[tokio::test]
async fn tenants_without_an_instance_are_delivered_and_go() {
    let (receiver, url) = Receiver::ruled(down).await;
    let (source, target) = (
        node(&[endpoint_of_ones(&url)]),
        node(&[endpoint_of_ones(&url)]),
    );
    for (tenant, value) in [("acme", 1.0), ("globex", 2.0), ("acme", 3.0)] {
        write_one(&source.writer(tenant), value);
    }
    source.fail(3).await;
    for tenant in ["acme", "globex", "initech"] {
        source.give_all(tenant, &target);
    }
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    let mut values = receiver.values();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [1.0, 2.0, 3.0]);
    assert_eq!(source.remote_write.clear(), 0);
    let left = std::fs::read_dir(source.directory.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn chunk_that_comes_again_is_there_once_also_after_a_restart() {
    let (receiver, url) = Receiver::ruled(down).await;
    let endpoints = [endpoint_of_ones(&url)];
    let (source, target) = (node(&endpoints), node(&endpoints));
    let writer = source.writer("acme");
    write_one(&writer, 1.0);
    source.fail(1).await;
    let mut handover = source
        .remote_write
        .hand_over(&id("acme"), "a")
        .unwrap()
        .unwrap();
    let chunk = handover.next_chunk().unwrap().unwrap();
    assert_eq!(target.take("acme", &chunk).unwrap(), 1);
    assert_eq!(target.take("acme", &chunk).unwrap(), 0);
    // Nobody has told the source: it has the same for whoever asks.
    let again = handover.next_chunk().unwrap().unwrap();
    assert_eq!(again.bytes, chunk.bytes);
    let next = node_in(target.stop().await, &endpoints);
    assert_eq!(next.take("acme", &chunk).unwrap(), 0);
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    next.recover().await;
    assert_eq!(receiver.values(), [1.0]);
}

/// Collections of series with long labels, for several chunks: each has the value of
/// its number.
fn write_much(writer: &TenantWriter, collections: std::ops::Range<u64>) {
    let filling = "x".repeat(1_000);
    for collection in collections {
        let mut append = writer.append(&[("cluster".to_owned(), "c".to_owned())], "traceID");
        for number in 0..1_500 {
            let mut labels = LabelSetBuf::new();
            labels.push("filling", &filling);
            labels.push("n", &number.to_string());
            append.label_set(labels.finish());
            append.started(5);
            append.metric(Metadata {
                kind: MetricType::Counter,
                help: "",
                unit: "",
            });
            let m = Series {
                name: "m",
                le: None,
            };
            append.series(m, &[point(collection as f64)], None);
        }
        append.commit();
    }
}

/// The values of each series of [`write_much`], in the order in which they came.
fn by_number(receiver: &Receiver) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (_, request) in receiver.requests.lock().iter() {
        for series in &request.timeseries {
            let n = series.labels.iter().find(|label| label.name == "n");
            let values = series.samples.iter().map(|sample| sample.value);
            all.entry(n.unwrap().value.clone())
                .or_default()
                .extend(values);
        }
    }
    all
}

fn assert_each_has(receiver: &Receiver, want: &[f64]) {
    let got = by_number(receiver);
    assert_eq!(got.len(), 1_500);
    for (n, values) in got {
        assert_eq!(values, want, "{n}");
    }
}

/// The source ends after a chunk was taken, and before it could write that down.
#[tokio::test]
async fn source_that_crashes_in_the_middle_goes_on_where_it_was() {
    let (receiver, url) = Receiver::ruled(down).await;
    let endpoints = [endpoint(&url)];
    let (source, target) = (node(&endpoints), node(&endpoints));
    write_much(&source.writer("acme"), 1..4);
    source.fail(4_500).await;
    let mut handover = source
        .remote_write
        .hand_over(&id("acme"), "a")
        .unwrap()
        .unwrap();
    let first = handover.next_chunk().unwrap().unwrap();
    assert!(first.bytes.len() < 1 << 20, "{}", first.bytes.len());
    target.take("acme", &first).unwrap();
    assert_eq!(handover.taken(), first.samples);
    let second = handover.next_chunk().unwrap().unwrap();
    target.take("acme", &second).unwrap();
    drop(handover);

    let next = node_in(source.stop().await, &endpoints);
    next.fail(4_500 - first.samples).await;
    let mut handover = next
        .remote_write
        .hand_over(&id("acme"), "a")
        .unwrap()
        .unwrap();
    let again = handover.next_chunk().unwrap().unwrap();
    assert_eq!(target.take("acme", &again).unwrap(), 0);
    handover.taken();
    let mut taken = first.samples + second.samples;
    while let Some(chunk) = handover.next_chunk().unwrap() {
        taken += target.take("acme", &chunk).unwrap();
        handover.taken();
    }
    assert_eq!(taken, 4_500);
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    assert_each_has(&receiver, &[1.0, 2.0, 3.0]);
    assert_eq!(
        next.count("samples_handed_over_total"),
        4_500 - first.samples
    );
}

/// Also if its cursors are those of before the handover, as after a loss of power, or
/// gone.
#[tokio::test]
async fn node_that_comes_back_sends_nothing_of_what_it_gave_away() {
    for keeps_cursors in [Some(true), Some(false), None] {
        let (receiver, url) = Receiver::ruled(down).await;
        let endpoints = [endpoint_of_ones(&url)];
        let (source, target) = (node(&endpoints), node(&endpoints));
        let writer = source.writer("acme");
        for value in [1.0, 2.0] {
            write_one(&writer, value);
        }
        source.fail(2).await;
        let tenant = source.directory.path().join(id("acme").directory());
        let cursor = || {
            let files = std::fs::read_dir(&tenant).unwrap();
            let mut paths = files.map(|file| file.unwrap().path());
            let is_cursor = |path: &std::path::PathBuf| {
                path.extension()
                    .is_some_and(|extension| extension == "cursor")
            };
            paths.find(is_cursor).unwrap()
        };
        let before = std::fs::read(cursor()).unwrap();
        source.give_all("acme", &target);
        let path = cursor();
        target.stop().await;
        drop(writer);
        let directory = source.stop().await;
        match keeps_cursors {
            Some(true) => {}
            Some(false) => std::fs::write(path, before).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        receiver.requests.lock().clear();
        receiver.set_rule(|_| None);
        let back = node_in(directory, &endpoints);
        write_one(&back.writer("acme"), 3.0);
        back.recover().await;
        assert_eq!(receiver.values(), [3.0], "{keeps_cursors:?}");
    }
}

/// A spool that was removed begins anew, and what was taken of the former does not
/// stand in its way.
#[tokio::test]
async fn source_that_begins_anew_is_not_taken_for_its_former_self() {
    let (receiver, url) = Receiver::ruled(down).await;
    let endpoints = [endpoint_of_ones(&url)];
    let target = node(&endpoints);
    for value in [1.0, 2.0] {
        let source = node(&endpoints);
        write_one(&source.writer("acme"), value);
        source.fail(1).await;
        assert_eq!(source.give_all("acme", &target), 1);
    }
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    assert_eq!(receiver.values(), [1.0, 2.0]);
}

/// With shards that are differently far, and a destination that has more than another.
#[tokio::test]
async fn each_destination_gets_what_it_has_not_got_and_no_more() {
    let (sink, sink_url) = Receiver::ruled(down).await;
    let (other, other_url) = Receiver::start([]).await;
    let mut endpoints = [endpoint(&sink_url), endpoint(&other_url)];
    endpoints[1]["name"] = json!("other");
    for settings in &mut endpoints {
        settings["queue_config"] = json!({"max_samples_per_send": 100, "max_shards": 4, "min_backoff": "1ms", "max_backoff": "2ms"});
    }
    let (source, between) = (node(&endpoints), node(&endpoints));
    let writer = source.writer("acme");
    // `other` has the first collection, and of the second what comes before its third
    // request of it.
    write_much(&writer, 1..2);
    assert_eq!(
        source.remote_write.flush(Duration::from_secs(60)).await,
        1_500
    );
    let answers = (0..2).map(|_| answer_with(204, &[], ""));
    other.answers.lock().extend(answers);
    other.set_rule(down);
    write_much(&writer, 2..4);
    let left = source.remote_write.flush(Duration::from_secs(60)).await;
    // A request may be less than full.
    assert!((4_500 + 2_800..4_500 + 3_000).contains(&left), "{left}");
    source.remote_write.settle().await;
    source.give_all("acme", &between);
    assert_balanced(&source);
    // And on to a third, while nobody takes anything.
    between.fail(left).await;
    let last = node(&endpoints);
    between.give_all("acme", &last);
    assert_balanced(&between);
    sink.requests.lock().clear();
    for receiver in [&sink, &other] {
        receiver.set_rule(|_| None);
    }
    // What was refused by `other` was not taken.
    let taken = 9_000 - left;
    let mut seen = 0;
    other.requests.lock().retain(|(_, request)| {
        seen += request.timeseries.len() as u64;
        seen <= taken
    });
    last.recover().await;
    assert_each_has(&sink, &[1.0, 2.0, 3.0]);
    assert_each_has(&other, &[1.0, 2.0, 3.0]);
    assert_balanced(&last);
}

#[tokio::test]
async fn refused_chunk_leaves_nothing_and_another_node_takes_it() {
    let (receiver, url) = Receiver::ruled(down).await;
    let endpoints = [endpoint_of_ones(&url)];
    let source = node(&endpoints);
    write_much(&source.writer("acme"), 1..2);
    write_one(&source.writer("acme"), 2.0);
    source.fail(1_501).await;
    let mut handover = source
        .remote_write
        .hand_over(&id("acme"), "a")
        .unwrap()
        .unwrap();
    let chunk = handover.next_chunk().unwrap().unwrap();

    let full = node(&endpoints);
    let mut config = spool(&full.directory);
    config.max_bytes_per_tenant = 1 << 20;
    let tasks = TaskGroup::new();
    let registry = &mut telemetry::new_metrics_registry();
    let small = RemoteWrite::start(
        RemoteWriteConfig {
            endpoints: Vec::new(),
            add_org_id_header: false,
            spool: config,
        },
        RemoteWriteMetrics::register(registry),
        Clock::system(),
        &tasks,
    );
    let small = small.unwrap();
    let refused = small.take_over(&id("acme"), &chunk.bytes, &full.destinations);
    assert!(
        matches!(refused, Err(TakeError::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(small.unsent_samples(&id("acme")), 0);

    let nowhere = TenantDestinations::default();
    let refused = small.take_over(&id("acme"), &chunk.bytes, &nowhere);
    assert!(
        matches!(refused, Err(TakeError::NoDestination)),
        "{refused:?}"
    );

    // What lies where the tenant's directory would be.
    let broken = node(&endpoints);
    let place = broken.directory.path().join(id("acme").directory());
    std::fs::write(&place, "").unwrap();
    let refused = broken.take("acme", &chunk);
    assert!(matches!(refused, Err(TakeError::Disk(_))), "{refused:?}");
    std::fs::remove_file(place).unwrap();
    assert_eq!(broken.remote_write.unsent_samples(&id("acme")), 0);

    let refused = broken.take("globex", &chunk);
    assert!(
        matches!(refused, Err(TakeError::OtherTenant { .. })),
        "{refused:?}"
    );
    let mut damaged = chunk.bytes.to_vec();
    damaged[5_000] ^= 1;
    let damaged = HandedChunk {
        bytes: damaged.into(),
        ..chunk.clone()
    };
    let refused = broken.take("acme", &damaged);
    let is_damaged = matches!(refused, Err(TakeError::Chunk(ChunkError::Damaged { .. })));
    assert!(is_damaged, "{refused:?}");

    broken.remote_write.settle().await;
    let refused = broken.take("acme", &chunk);
    assert!(matches!(refused, Err(TakeError::Stopping)), "{refused:?}");

    let target = node(&endpoints);
    assert_eq!(target.take("acme", &chunk).unwrap(), chunk.samples);
    drop(handover);
    assert_eq!(source.give_rest("acme", &target), 1_501 - chunk.samples);
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    assert_eq!(target.count("samples_sent_total"), 1_501);
}

impl Fixture {
    /// Hands over what another node has not taken yet; returns how many samples it had
    /// not.
    fn give_rest(&self, tenant: &str, to: &Self) -> u64 {
        let handover = self.remote_write.hand_over(&id(tenant), "a").unwrap();
        let (mut handover, mut taken) = (handover.unwrap(), 0);
        while let Some(chunk) = handover.next_chunk().unwrap() {
            taken += to.take(tenant, &chunk).unwrap();
            handover.taken();
        }
        taken
    }
}

/// What the disk has lost of it is counted at the source, and the rest is handed over.
#[tokio::test]
async fn damaged_samples_of_the_source_are_counted_there() {
    let (receiver, url) = Receiver::ruled(down).await;
    let endpoints = [endpoint_of_ones(&url)];
    let (source, target) = (node(&endpoints), node(&endpoints));
    let writer = source.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    source.fail(3).await;
    drop(writer);
    let tenant = source.directory.path().join(id("acme").directory());
    for file in std::fs::read_dir(tenant).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
        {
            let mut bytes = std::fs::read(&path).unwrap();
            // The last record is 3.0's, of 70 bytes or so, and before it is 2.0's.
            let place = bytes.len() - 100;
            bytes[place] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(source.give_all("acme", &target), 1);
    assert_eq!(source.count("samples_handed_over_total"), 2);
    assert_eq!(source.count("samples_dropped_total damaged"), 1);
    receiver.requests.lock().clear();
    receiver.set_rule(|_| None);
    target.recover().await;
    assert_eq!(receiver.values(), [1.0, 3.0]);
}
