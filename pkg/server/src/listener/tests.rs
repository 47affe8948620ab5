use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    tasks: TaskGroup,
}

fn serve(router: Router, options: ServeOptions) -> Server {
    let listener = Listener::bind(local(), "test").unwrap();
    let address = listener.local_addr();
    let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
    listener.serve(router, options, shutdown.clone(), &tasks);
    Server {
        address,
        shutdown,
        tasks,
    }
}

/// A handler that says when it began and ends when told.
fn slow_router() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (began, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (began.clone(), finish.clone());
    let handler = move || async move {
        tell.notify_one();
        wait.notified().await;
        "done"
    };
    (Router::new().route("/", get(handler)), began, finish)
}

/// Sends a request over HTTP/1.1 and gives all that comes until the end.
async fn talk(address: SocketAddr, text: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn http2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let connection = TcpStream::connect(address).await.unwrap();
    let (sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection))
            .await
            .unwrap();
    TaskGroup::new().spawn("client", async {
        let _ = driver.await;
    });
    sender
}

fn request(address: SocketAddr) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{address}/"))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn one_port_speaks_http1_and_http2() {
    let router = Router::new().route(
        "/",
        get(|version: Version| async move { format!("{version:?}") }),
    );
    let server = serve(router, ServeOptions::default());
    let answer = talk(
        server.address,
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("\r\n\r\nHTTP/1.1"), "{answer}");
    // A first byte like that of HTTP/2, and a first piece of one byte.
    let answer = talk(
        server.address,
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let response = http2(server.address)
        .await
        .send_request(request(server.address))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "HTTP/2.0");
}

#[tokio::test]
async fn http1_connection_serves_request_after_request() {
    let router = Router::new().route("/", post(|body: String| async { body }));
    let server = serve(router, ServeOptions::default());
    let one = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\none";
    let two = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\ntwo";
    let answers = talk(server.address, &format!("{one}{two}")).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("two"));
}

#[tokio::test]
async fn port_in_use_is_told_with_the_setting() {
    let first = Listener::bind(local(), "server.http_listen_port").unwrap();
    let address = first.local_addr();
    let error = Listener::bind(address, "server.grpc_listen_port").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "server.grpc_listen_port: cannot listen on {address}, another process listens there"
        )
    );
    drop(first);
    assert_eq!(Listener::bind(address, "x").unwrap().local_addr(), address);
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_takes_no_new_ones() {
    let (router, began, finish) = slow_router();
    let server = serve(router, ServeOptions::default());
    let mut sender = http2(server.address).await;
    let address = server.address;
    let in_flight = async {
        let response = sender.send_request(request(address)).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let stop = async {
        began.notified().await;
        server.shutdown.trigger();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.tasks.running(), 1);
        finish.notify_one();
        server.tasks.join(Duration::from_secs(60)).await
    };
    let (body, running) = tokio::join!(in_flight, stop);
    assert_eq!(body, "done");
    assert!(running.is_empty());
}

#[tokio::test]
async fn idle_connections_end_at_shutdown() {
    let server = serve(slow_router().0, ServeOptions::default());
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let _idle = http2(server.address).await;
    server.shutdown.trigger();
    assert!(server.tasks.join(Duration::from_secs(60)).await.is_empty());
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn request_that_outlasts_the_drain_is_cut_off() {
    let (router, began, _finish) = slow_router();
    let options = ServeOptions {
        drain_timeout: Duration::from_millis(20),
        ..ServeOptions::default()
    };
    let server = serve(router, options);
    let mut sender = http2(server.address).await;
    let in_flight = sender.send_request(request(server.address));
    let stop = async {
        began.notified().await;
        server.shutdown.trigger();
        server.tasks.join(Duration::from_secs(60)).await
    };
    let (answer, running) = tokio::join!(in_flight, stop);
    assert!(answer.is_err());
    assert!(running.is_empty());
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_old_is_asked_to_end() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let options = ServeOptions {
        max_connection_age: Some(Duration::from_secs(60)),
        ..ServeOptions::default()
    };
    let server = serve(router, options);
    let start = tokio::time::Instant::now();
    let answer = talk(server.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let (router, began, finish) = slow_router();
    let options = ServeOptions {
        max_connections: 1,
        ..ServeOptions::default()
    };
    let server = serve(router, options);
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let first = talk(server.address, ask);
    let second = async {
        began.notified().await;
        let mut second = TcpStream::connect(server.address).await.unwrap();
        second.write_all(ask.as_bytes()).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), began.notified()).await;
        assert!(early.is_err(), "second request began beside the first");
        finish.notify_one();
        began.notified().await;
        finish.notify_one();
    };
    let (answer, ()) = tokio::join!(first, second);
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn client_with_as_many_connections_as_it_may_have_gets_no_further_one() {
    let (router, began, finish) = slow_router();
    let options = ServeOptions {
        max_connections_per_client: 1,
        ..ServeOptions::default()
    };
    let server = serve(router, options);
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let first = talk(server.address, ask);
    let second = async {
        began.notified().await;
        let mut second = TcpStream::connect(server.address).await.unwrap();
        let mut answer = Vec::new();
        // Closed without an answer.
        let read = second.read_to_end(&mut answer).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{answer:?}");
        finish.notify_one();
    };
    let (answer, ()) = tokio::join!(first, second);
    assert!(answer.ends_with("done"), "{answer}");
    finish.notify_one();
    assert!(talk(server.address, ask).await.ends_with("done"));
}

/// Threats, S11: clients that send their headers slowly, or nothing.
#[tokio::test(start_paused = true)]
async fn slow_headers_are_cut_off_and_idle_connections_later() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let server = serve(router, ServeOptions::default());
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: "] {
        let start = tokio::time::Instant::now();
        talk(server.address, begun).await;
        let waited = start.elapsed().as_secs();
        // Sniffing and headers have ten seconds each.
        assert!((10..=20).contains(&waited), "{begun:?}: {waited}");
    }
    // Idle time and the time for the next headers.
    let start = tokio::time::Instant::now();
    let answer = talk(server.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 130);
}

#[tokio::test(start_paused = true)]
async fn http2_connection_idles_from_its_last_answer() {
    let handler = || async {
        sleep(Duration::from_secs(100)).await;
        "hello"
    };
    let options = ServeOptions {
        http2_idle_timeout: Some(Duration::from_secs(60)),
        ping_interval: Duration::from_secs(3_600),
        ..ServeOptions::default()
    };
    let server = serve(Router::new().route("/", get(handler)), options);
    let start = tokio::time::Instant::now();
    let connection = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection))
            .await
            .unwrap();
    let ask = async {
        let response = sender.send_request(request(server.address)).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
    };
    let (_, ended) = tokio::join!(ask, driver);
    ended.unwrap();
    assert_eq!(start.elapsed().as_secs(), 160);
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_nothing_of_an_answer_is_cut_off() {
    let (sending, dropped) = tokio::sync::oneshot::channel::<()>();
    let sending = std::sync::Arc::new(parking_lot::Mutex::new(Some(sending)));
    let handler = move || async move {
        // Kept by the body for as long as it is sent.
        let sending = sending.lock().take();
        let endless = futures_util::stream::repeat_with(move || {
            let _ = &sending;
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 64 << 10]))
        });
        axum::body::Body::from_stream(endless)
    };
    let options = ServeOptions {
        write_timeout: Some(Duration::from_secs(30)),
        ..ServeOptions::default()
    };
    let server = serve(Router::new().route("/", get(handler)), options);
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let cut_off = tokio::time::timeout(Duration::from_secs(3_600), dropped).await;
    assert!(cut_off.unwrap().is_err());
}

/// RFC 9113, section 6.5.2: what the server announces in its first frames.
#[tokio::test]
async fn http2_announces_wide_windows_and_bounded_streams() {
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    let server = serve(Router::new(), ServeOptions::default());
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    connection.write_all(preface).await.unwrap();
    let mut settings = std::collections::BTreeMap::new();
    let mut connection_window = 65_535;
    while settings.is_empty() || connection_window == 65_535 {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        connection.read_exact(&mut payload).await.unwrap();
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        match head[3] {
            SETTINGS => {
                for setting in payload.chunks(6) {
                    settings.insert(number(&setting[..2]), number(&setting[2..]));
                }
            }
            WINDOW_UPDATE => connection_window += number(&payload),
            _ => {}
        }
    }
    let (max_concurrent_streams, initial_window, max_frame) = (3, 4, 5);
    assert_eq!(settings[&max_concurrent_streams], 1_000);
    assert_eq!(settings[&initial_window], 4 << 20);
    assert_eq!(settings[&max_frame], 1 << 20);
    assert_eq!(connection_window, 4 << 20);
}
