//! A receiver that takes nothing from anybody.

use std::sync::atomic::AtomicUsize;

use super::*;

const TENANTS: usize = 40;

/// Requests that may come before it is known that everybody fails.
const BEFORE: usize = 100;

/// A receiver that takes its time to say that it is down, while it is.
#[derive(Clone, Default)]
struct Down {
    is_up: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    /// Most that were under way at once after the first [`BEFORE`].
    most: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Down {
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let router = Router::new()
            .fallback(Self::handle)
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        TaskGroup::new().spawn("test-receiver", async move {
            axum::serve(listener, router).await.unwrap();
        });
        (receiver, url)
    }

    async fn handle(State(receiver): State<Self>, headers: HeaderMap, _: Bytes) -> Response {
        if receiver.is_up.load(Ordering::SeqCst) {
            let tenant = headers["x-scope-orgid"].to_str().unwrap().to_owned();
            receiver.taken.lock().push(tenant);
            return answer_with(204, &[], "");
        }
        let under_way = receiver.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        if receiver.requests.fetch_add(1, Ordering::SeqCst) >= BEFORE {
            receiver.most.fetch_max(under_way, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        receiver.under_way.fetch_sub(1, Ordering::SeqCst);
        answer_with(503, &[], "down")
    }
}

#[tokio::test]
async fn one_request_at_a_time_tries_it_and_then_everybody_gets_through() {
    let (receiver, url) = Down::start().await;
    let fixture = start(vec![endpoint_of_ones(&url)], true);
    let mut names: Vec<_> = (0..TENANTS).map(|number| format!("t{number:02}")).collect();
    let writers: Vec<_> = names.iter().map(|name| fixture.writer(name)).collect();
    for writer in &writers {
        write_one(writer, 1.0);
    }
    while receiver.requests.load(Ordering::SeqCst) < 2 * BEFORE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(receiver.most.load(Ordering::SeqCst), 1);
    // Nobody waits for it when the process ends.
    let left = fixture.remote_write.flush(Duration::from_secs(600)).await;
    assert_eq!(left, TENANTS as u64);

    receiver.is_up.store(true, Ordering::SeqCst);
    while fixture.remote_write.flush(Duration::ZERO).await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut taken = receiver.taken.lock().clone();
    taken.sort_unstable();
    names.sort_unstable();
    assert_eq!(taken, names);
}

/// While it is down, somebody says where it is now.
#[tokio::test]
async fn everybody_goes_to_another_receiver_at_once_when_there_is_one() {
    let (receiver, url) = Down::start().await;
    let mut settings = endpoint_of_ones(&url);
    settings["queue_config"]["min_backoff"] = json!("1h");
    settings["queue_config"]["max_backoff"] = json!("1h");
    let fixture = start(vec![settings.clone()], true);
    let writers: Vec<_> = (0..TENANTS)
        .map(|number| fixture.writer(&format!("t{number:02}")))
        .collect();
    for writer in writers.iter().take(8) {
        write_one(writer, 1.0);
    }
    while receiver.requests.load(Ordering::SeqCst) < 8
        || receiver.under_way.load(Ordering::SeqCst) > 0
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for writer in writers.iter().skip(8) {
        write_one(writer, 1.0);
    }
    let (up, url) = Down::start().await;
    up.is_up.store(true, Ordering::SeqCst);
    settings["url"] = json!(url);
    let endpoint: EndpointConfig = serde_json::from_value(settings).unwrap();
    let destinations = TenantDestinations {
        endpoints: vec![endpoint].into(),
        headers: BTreeMap::new(),
    };
    for writer in &writers {
        writer.set_destinations(&destinations);
    }
    fixture.flush().await;
    assert_eq!(up.taken.lock().len(), TENANTS);
}

/// The old receiver's answer, which comes after the change, says nothing of the new one.
#[tokio::test]
async fn request_that_is_under_way_when_its_receiver_changes_is_sent_to_the_new_one_at_once() {
    let (receiver, url) = Down::start().await;
    let mut settings = endpoint_of_ones(&url);
    settings["queue_config"]["min_backoff"] = json!("1h");
    settings["queue_config"]["max_backoff"] = json!("1h");
    let fixture = start(vec![settings.clone()], true);
    let writer = fixture.writer("acme");
    write_one(&writer, 1.0);
    while receiver.under_way.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let (up, url) = Down::start().await;
    up.is_up.store(true, Ordering::SeqCst);
    settings["url"] = json!(url);
    writer.set_destinations(&TenantDestinations {
        endpoints: vec![serde_json::from_value(settings).unwrap()].into(),
        headers: BTreeMap::new(),
    });
    fixture.flush().await;
    assert_eq!(up.taken.lock()[..], ["acme"]);
}
