//! Requests that a receiver refuses for good (differences, D35).

use super::*;

/// Appends so many series, `m{n="0"}` and on, and commits.
fn write_many(writer: &TenantWriter, count: usize) {
    let mut append = writer.append(&[], "traceID");
    let mut labels = LabelSetBuf::new();
    for number in 0..count {
        labels.clear();
        labels.push("n", &number.to_string());
        append.label_set(labels.finish());
        let m = Series {
            name: "m",
            le: None,
        };
        append.series(m, &[point(number as f64)], None);
    }
    append.commit();
}

fn has(request: &pb::WriteRequest, values: &[f64]) -> bool {
    let mut series = request.timeseries.iter();
    series.any(|series| values.contains(&series.samples[0].value))
}

/// Every value of the requests that were taken.
fn taken(receiver: &Receiver, is_refused: impl Fn(&pb::WriteRequest) -> bool) -> Vec<u64> {
    let requests = receiver.requests.lock();
    let taken = requests.iter().filter(|(_, request)| !is_refused(request));
    let series = taken.flat_map(|(_, request)| &request.timeseries);
    let mut values: Vec<_> = series
        .map(|series| series.samples[0].value as u64)
        .collect();
    values.sort_unstable();
    values
}

#[tokio::test]
async fn refused_series_cost_themselves_alone() {
    for (message, statuses) in [
        ("prometheus.WriteRequest", [400, 204]),
        ("io.prometheus.write.v2.Request", [400, 204]),
    ] {
        let bad = [77.0, 500.0];
        let (receiver, url) = Receiver::ruled(move |request| {
            Some(match has(request, &bad) {
                true => answer_with(statuses[0], &[], "out of order sample"),
                false => written(statuses[1], &request.timeseries.len().to_string()),
            })
        })
        .await;
        let fixture = start(vec![endpoint_speaking(&url, message)], false);
        let writer = fixture.writer("acme");
        write_many(&writer, 1_000);
        fixture.flush().await;
        let want: Vec<_> = (0..1_000).filter(|n| *n != 77 && *n != 500).collect();
        assert_eq!(taken(&receiver, |request| has(request, &bad)), want);
        assert_eq!(fixture.count("samples_sent_total"), 998);
        assert_eq!(fixture.count("samples_dropped_total bad_request"), 2);
        let requests = receiver.requests.lock();
        assert!(requests.len() <= 2 * 2 * 10 + 1, "{}", requests.len());
        for (place, (_, request)) in requests.iter().enumerate() {
            let is_again = requests[..place]
                .iter()
                .any(|(_, before)| before == request);
            assert!(!is_again, "no request is sent twice");
        }
        drop(writer);
    }
}

#[tokio::test]
async fn request_that_is_too_large_is_divided_until_it_is_not() {
    let is_large = |request: &pb::WriteRequest| request.timeseries.len() > 100;
    let (receiver, url) =
        Receiver::ruled(move |request| is_large(request).then(|| answer_with(413, &[], "large")))
            .await;
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    write_many(&writer, 1_000);
    fixture.flush().await;
    assert_eq!(taken(&receiver, is_large), (0..1_000).collect::<Vec<_>>());
    assert_eq!(fixture.count("samples_sent_total"), 1_000);
}

#[tokio::test]
async fn receiver_that_refuses_everything_is_not_asked_for_each_series() {
    let (receiver, url) = Receiver::ruled(|_| Some(answer_with(400, &[], "no such tenant"))).await;
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    write_many(&writer, 2_000);
    fixture.flush().await;
    assert_eq!(fixture.count("samples_dropped_total bad_request"), 2_000);
    let requests = receiver.requests.lock().len();
    assert!(requests < 200, "{requests}");
    drop(writer);
}

#[tokio::test]
async fn failure_while_a_request_is_divided_is_waited_out() {
    let bad = [3.0];
    let (receiver, url) = Receiver::ruled(move |request| {
        has(request, &bad).then(|| answer_with(400, &[], "out of bounds"))
    })
    .await;
    receiver.answers.lock().extend([
        answer_with(400, &[], "out of bounds"),
        answer_with(503, &[], "later"),
        answer_with(429, &[("Retry-After", "0")], "later"),
    ]);
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    write_many(&writer, 8);
    fixture.flush().await;
    assert_eq!(fixture.count("samples_sent_total"), 7);
    assert_eq!(fixture.count("samples_dropped_total too_old"), 1);
    drop(writer);
}

#[tokio::test]
async fn refused_request_is_not_divided_where_that_is_not_wanted() {
    let (receiver, url) = Receiver::ruled(|_| Some(answer_with(400, &[], "no"))).await;
    let mut settings = endpoint(&url);
    settings["divide_refused_requests"] = json!(false);
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");
    write_many(&writer, 8);
    fixture.flush().await;
    assert_eq!(receiver.requests.lock().len(), 1);
    assert_eq!(fixture.count("samples_dropped_total bad_request"), 8);
    drop(writer);
}

/// One request holds many collections after an outage.
#[tokio::test]
async fn dividing_keeps_the_order_of_each_series() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let (receiver, url) = Receiver::ruled(|_| Some(answer_with(503, &[], ""))).await;
        let fixture = start(vec![endpoint_speaking(&url, message)], false);
        let writer = fixture.writer("acme");
        let mut labels = LabelSetBuf::new();
        for collection in 0..20 {
            let mut append = writer.append(&[], "traceID");
            for number in 0..50 {
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
        fixture.remote_write.flush(Duration::from_secs(60)).await;
        let is_bad =
            |series: &pb::TimeSeries| series.labels.iter().any(|label| label.value == "17");
        receiver.set_rule(move |request| {
            Some(match request.timeseries.iter().any(is_bad) {
                true => answer_with(400, &[], "no"),
                false => written(204, &request.timeseries.len().to_string()),
            })
        });
        receiver.requests.lock().clear();
        writer.set_destinations(&TenantDestinations {
            headers: BTreeMap::from([("X-Again".to_owned(), Secret::new("1"))]),
            ..fixture.destinations.clone()
        });
        fixture.flush().await;
        assert_eq!(fixture.count("samples_sent_total"), 49 * 20);
        assert_eq!(fixture.count("samples_dropped_total bad_request"), 20);
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (_, request) in receiver.requests.lock().iter() {
            if request.timeseries.iter().any(is_bad) {
                continue;
            }
            for series in &request.timeseries {
                let times = times.entry(format!("{:?}", series.labels)).or_default();
                times.push(series.samples[0].timestamp);
            }
        }
        assert_eq!(times.len(), 49);
        for (series, times) in times {
            assert!(
                times.len() == 20 && times.is_sorted(),
                "{series}: {times:?}"
            );
        }
    }
}
