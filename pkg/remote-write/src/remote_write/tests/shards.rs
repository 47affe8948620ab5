//! Several requests at once, each for other series.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::*;

#[tokio::test]
async fn much_goes_in_several_shards_and_each_series_in_order() {
    let (receiver, url) = Receiver::start([]).await;
    let mut settings = endpoint(&url);
    settings["queue_config"] =
        json!({"max_samples_per_send": 100, "max_shards": 4, "min_backoff": "1ms"});
    let fixture = start(vec![settings], false);
    // Every fifth request fails once.
    let count = AtomicUsize::new(0);
    receiver.set_rule(move |_| {
        let is_fifth = count.fetch_add(1, Ordering::Relaxed) % 5 == 4;
        is_fifth.then(|| answer_with(503, &[("Retry-After", "0")], ""))
    });
    let writer = fixture.writer("acme");
    let mut labels = LabelSetBuf::new();
    for collection in 0..4 {
        let mut append = writer.append(&[], "traceID");
        for number in 0..2_000 {
            labels.clear();
            labels.push("n", &number.to_string());
            append.label_set(labels.finish());
            let m = Series {
                name: "m",
                le: None,
            };
            append.series(m, &[point(f64::from(collection))], None);
        }
        append.commit();
    }
    fixture.flush().await;
    assert_eq!(fixture.count("samples_sent_total"), 8_000);
    let mut times: HashMap<String, Vec<i64>> = HashMap::new();
    for (_, request) in receiver.requests.lock().iter() {
        assert!(request.timeseries.len() <= 100);
        for series in &request.timeseries {
            let n = series
                .labels
                .iter()
                .find(|label| label.name == "n")
                .unwrap();
            let times = times.entry(n.value.clone()).or_default();
            times.push(series.samples[0].timestamp);
        }
    }
    assert_eq!(times.len(), 2_000);
    for (n, mut times) in times {
        // A request that failed was sent again.
        assert!(times.is_sorted(), "{n}: {times:?}");
        times.dedup();
        assert_eq!(times.len(), 4, "{n}");
    }
}

/// A receiver that answers only when two requests are there at once.
#[tokio::test]
async fn shards_send_at_the_same_time() {
    let waiting = Arc::new(tokio::sync::Barrier::new(2));
    let router = Router::new().fallback(move || {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.wait().await;
            axum::http::StatusCode::NO_CONTENT
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    TaskGroup::new().spawn("test-receiver", async move {
        axum::serve(listener, router).await.unwrap();
    });
    let mut settings = endpoint(&url);
    settings["queue_config"] = json!({"min_shards": 2, "max_shards": 2});
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");
    let mut append = writer.append(&[], "traceID");
    let mut labels = LabelSetBuf::new();
    for number in 0..100 {
        labels.clear();
        labels.push("n", &number.to_string());
        append.label_set(labels.finish());
        let m = Series {
            name: "m",
            le: None,
        };
        append.series(m, &[point(1.0)], None);
    }
    append.commit();
    fixture.flush().await;
    assert_eq!(fixture.count("samples_sent_total"), 100);
    assert_eq!(fixture.count("shards"), 2);
}
