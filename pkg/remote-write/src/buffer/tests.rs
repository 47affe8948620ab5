use bytes::Bytes;

use super::*;
use crate::metrics::RemoteWriteMetrics;

struct Fixture {
    buffer: Buffer,
    registry: telemetry::MetricsRegistry,
    metrics: RemoteWriteMetrics,
}

/// Each batch of the tests has 10 bytes and 1 sample with its number as time.
fn batch(number: i64) -> Batch {
    Batch {
        body: Bytes::from(vec![0; 10]),
        protocol: Protocol::V1,
        samples: 1,
        exemplars: 0,
        highest_timestamp_ms: number,
    }
}

fn batches(numbers: impl IntoIterator<Item = i64>) -> Vec<Batch> {
    numbers.into_iter().map(batch).collect()
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

impl Fixture {
    fn new(endpoints: usize, per_tenant: usize, total: usize) -> Self {
        let mut registry = telemetry::new_metrics_registry();
        Self {
            buffer: Buffer::new(endpoints, Limits { per_tenant, total }),
            metrics: RemoteWriteMetrics::register(&mut registry),
            registry,
        }
    }

    fn open(&self, tenant: &str) -> TenantId {
        let tenant = id(tenant);
        self.buffer.open(&tenant, |endpoint| Registration {
            headers: Arc::default(),
            metrics: self.metrics.for_tenant(&tenant, &endpoint.to_string()),
        });
        tenant
    }

    /// Takes and ends everything for an endpoint: (tenant, number) in order.
    fn drain(&self, endpoint: usize) -> Vec<(String, i64)> {
        std::iter::from_fn(|| {
            let work = self.buffer.take(endpoint)?;
            self.buffer.finish(endpoint, &work, End::Sent);
            Some((work.tenant.to_string(), work.batch.highest_timestamp_ms))
        })
        .collect()
    }

    fn metric(&self, line_start: &str) -> Option<String> {
        let text = telemetry::encode_metrics(&self.registry);
        let line = text.lines().find(|line| line.starts_with(line_start))?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    }

    fn dropped(&self, tenant: &str, endpoint: usize) -> Option<String> {
        self.metric(&format!(
            "spanmill_remote_write_samples_dropped_total{{tenant=\"{tenant}\",endpoint=\"{endpoint}\",reason=\"buffer_full\"}}"
        ))
    }
}

fn numbers(taken: Vec<(String, i64)>) -> Vec<i64> {
    taken.into_iter().map(|(_, number)| number).collect()
}

#[test]
fn one_request_of_a_tenant_is_under_way_at_a_time_and_in_order() {
    let fixture = Fixture::new(1, 1000, 1000);
    let acme = fixture.open("acme");
    fixture.buffer.push(&acme, 0, &batches([1, 2]));
    let first = fixture.buffer.take(0).unwrap();
    fixture.buffer.push(&acme, 0, &batches([3]));
    assert!(fixture.buffer.take(0).is_none());
    fixture.buffer.finish(0, &first, End::Sent);
    assert_eq!(numbers(fixture.drain(0)), [2, 3]);
}

#[test]
fn tenants_take_turns() {
    let fixture = Fixture::new(1, 1000, 1000);
    let (a, b) = (fixture.open("a"), fixture.open("b"));
    fixture.buffer.push(&a, 0, &batches([1, 2, 3]));
    fixture.buffer.push(&b, 0, &batches([4, 5]));
    assert_eq!(numbers(fixture.drain(0)), [1, 4, 2, 5, 3]);
}

#[test]
fn each_endpoint_gets_everything_at_its_own_pace() {
    let fixture = Fixture::new(2, 1000, 1000);
    let acme = fixture.open("acme");
    for endpoint in 0..2 {
        fixture.buffer.push(&acme, endpoint, &batches([1, 2]));
    }
    assert_eq!(numbers(fixture.drain(0)), [1, 2]);
    assert_eq!(fixture.buffer.samples(), 2);
    assert_eq!(numbers(fixture.drain(1)), [1, 2]);
    assert_eq!(fixture.buffer.samples(), 0);
}

#[test]
fn over_its_limit_a_tenant_loses_its_oldest_and_no_one_else_does() {
    let fixture = Fixture::new(1, 30, 1000);
    let (a, b) = (fixture.open("a"), fixture.open("b"));
    fixture.buffer.push(&b, 0, &batches([100, 101, 102]));
    fixture.buffer.push(&a, 0, &batches(1..=5));
    assert_eq!(fixture.dropped("a", 0).as_deref(), Some("2"));
    assert_eq!(fixture.dropped("b", 0), None);
    assert_eq!(fixture.buffer.samples(), 6);
    let taken = numbers(fixture.drain(0));
    assert_eq!(taken, [100, 3, 101, 4, 102, 5]);
}

#[test]
fn dead_endpoint_costs_the_living_nothing() {
    let fixture = Fixture::new(2, 40, 1000);
    let acme = fixture.open("acme");
    for number in 1..=10 {
        fixture.buffer.push(&acme, 0, &batches([number]));
        fixture.buffer.push(&acme, 1, &batches([number]));
        assert_eq!(numbers(fixture.drain(1)), [number]);
    }
    assert_eq!(fixture.dropped("acme", 0).as_deref(), Some("7"));
    assert_eq!(fixture.dropped("acme", 1), None);
}

#[test]
fn over_the_total_the_largest_tenant_loses_its_oldest() {
    let fixture = Fixture::new(1, 1000, 60);
    let (large, small) = (fixture.open("large"), fixture.open("small"));
    fixture.buffer.push(&large, 0, &batches(1..=5));
    let under_way = fixture.buffer.take(0).unwrap();
    fixture.buffer.push(&small, 0, &batches([10, 11, 12]));
    assert_eq!(fixture.dropped("large", 0).as_deref(), Some("2"));
    assert_eq!(fixture.dropped("small", 0), None);
    fixture.buffer.finish(0, &under_way, End::Sent);
    assert_eq!(numbers(fixture.drain(0)), [10, 4, 11, 5, 12]);
}

#[test]
fn request_under_way_is_not_dropped() {
    let fixture = Fixture::new(1, 10, 1000);
    let acme = fixture.open("acme");
    fixture.buffer.push(&acme, 0, &batches([1]));
    let under_way = fixture.buffer.take(0).unwrap();
    fixture.buffer.push(&acme, 0, &batches([2]));
    assert_eq!(fixture.dropped("acme", 0).as_deref(), Some("1"));
    fixture.buffer.finish(0, &under_way, End::Sent);
    assert!(fixture.buffer.take(0).is_none());
    fixture.buffer.push(&acme, 0, &batches([3]));
    assert_eq!(numbers(fixture.drain(0)), [3]);
}

#[test]
fn tenant_goes_with_its_last_writer_once_nothing_waits() {
    let fixture = Fixture::new(1, 1000, 1000);
    let acme = fixture.open("acme");
    fixture.buffer.push(&acme, 0, &batches([1]));
    fixture.buffer.close(&acme);
    let buffered = "spanmill_remote_write_buffer_bytes{tenant=\"acme\"";
    assert_eq!(fixture.metric(buffered).as_deref(), Some("10"));
    assert_eq!(numbers(fixture.drain(0)), [1]);
    assert_eq!(fixture.metric(buffered), None);
    assert!(fixture.buffer.state.lock().tenants.is_empty());
}

#[test]
fn tenant_that_comes_back_in_time_keeps_its_counters() {
    let fixture = Fixture::new(1, 1000, 1000);
    let acme = fixture.open("acme");
    fixture.buffer.push(&acme, 0, &batches([1]));
    fixture.buffer.close(&acme);
    fixture.open("acme");
    assert_eq!(numbers(fixture.drain(0)), [1]);
    let sent = "spanmill_remote_write_samples_sent_total{tenant=\"acme\"";
    assert_eq!(fixture.metric(sent).as_deref(), Some("1"));
}

#[test]
fn tenant_that_was_emptied_by_the_limits_is_still_sent_one_at_a_time() {
    let fixture = Fixture::new(1, 5, 1000);
    let acme = fixture.open("acme");
    // Larger than the limit: dropped at once, but listed as ready.
    fixture.buffer.push(&acme, 0, &batches([1]));
    assert_eq!(fixture.buffer.samples(), 0);
    assert!(fixture.buffer.take(0).is_none());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_empty_ends_with_the_last_request() {
    let fixture = Fixture::new(1, 1000, 1000);
    let acme = fixture.open("acme");
    fixture.buffer.push(&acme, 0, &batches([1, 2]));
    let finish = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let work = fixture.buffer.take(0).unwrap();
            fixture
                .buffer
                .finish(0, &work, End::Dropped(DropReason::NotFound));
        }
        tokio::time::Instant::now()
    };
    let empty = async {
        fixture.buffer.empty().await;
        tokio::time::Instant::now()
    };
    let (finished, emptied) = tokio::join!(finish, empty);
    assert_eq!(finished, emptied);
}
