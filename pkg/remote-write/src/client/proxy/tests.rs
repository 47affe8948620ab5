use std::sync::Arc;

use bytes::Bytes;
use lifecycle::TaskGroup;
use model::Clock;
use overrides::AllowedAddresses;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::tests::tls;
use crate::client::{Attempt, Client};
use crate::config::Author;
use crate::protocol::Protocol;

fn config(document: Value) -> EndpointConfig {
    serde_json::from_value(document).unwrap()
}

/// The heads of requests, as they came.
#[derive(Clone, Default)]
struct Heads(Arc<Mutex<Vec<String>>>);

impl Heads {
    /// The only one, its request line first.
    fn only(&self) -> String {
        let heads = self.0.lock();
        assert_eq!(heads.len(), 1, "{heads:?}");
        heads[0].clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A proxy that tunnels and forwards; gives its port and what it was asked.
async fn proxy(tasks: &TaskGroup) -> (u16, Heads) {
    let (listener, port) = listen().await;
    let heads = Heads::default();
    let seen = heads.clone();
    tasks.spawn("test-proxy", async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let head = read_head(&mut client).await;
            let target = head.split(' ').nth(1).unwrap().to_owned();
            seen.0.lock().push(head.clone());
            let (target, forwarded, answered) = match target.strip_prefix("http://") {
                Some(rest) => (
                    rest.split('/').next().unwrap().to_owned(),
                    head.as_str(),
                    "",
                ),
                None => (target, "", "HTTP/1.1 200 OK\r\n\r\n"),
            };
            let mut receiver = TcpStream::connect(target).await.unwrap();
            receiver.write_all(forwarded.as_bytes()).await.unwrap();
            client.write_all(answered.as_bytes()).await.unwrap();
            // Ends with either side, as it likes.
            let _ = copy_bidirectional(&mut client, &mut receiver).await;
        }
    });
    (port, heads)
}

/// A receiver that answers everything with a status.
async fn receiver(tasks: &TaskGroup, status: &'static str) -> (u16, Heads) {
    let (listener, port) = listen().await;
    let heads = Heads::default();
    let seen = heads.clone();
    tasks.spawn("test-receiver", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            seen.0.lock().push(head);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, heads)
}

async fn send(config: &EndpointConfig) -> Attempt {
    let client = Client::new(config, Clock::manual(0)).unwrap();
    client
        .send(&HeaderMap::new(), Protocol::V1, Bytes::new())
        .await
}

fn problem_of(attempt: Attempt) -> String {
    match attempt {
        Attempt::Failed { problem, .. } => problem,
        attempt => panic!("the attempt did not fail: {attempt:?}"),
    }
}

#[tokio::test]
async fn http_receivers_get_requests_that_the_proxy_forwards() {
    let tasks = TaskGroup::new();
    let (port, received) = receiver(&tasks, "204 No Content").await;
    let (proxy_port, asked) = proxy(&tasks).await;
    let config = config(json!({
        "url": format!("http://127.0.0.1:{port}/w"),
        "proxy_url": format!("http://user:p%40ss@127.0.0.1:{proxy_port}"),
        "proxy_connect_header": {"X-Tunnel": ["only in tunnels"]},
    }));
    assert_eq!(send(&config).await, Attempt::Delivered(None));
    let head = asked.only();
    let line = format!("POST http://127.0.0.1:{port}/w HTTP/1.1\r\n");
    assert!(head.starts_with(&line), "{head}");
    // "user:p@ss" in base64.
    assert!(
        head.contains("proxy-authorization: Basic dXNlcjpwQHNz\r\n"),
        "{head}"
    );
    assert!(!head.contains("x-tunnel"), "{head}");
    received.only();
}

#[tokio::test]
async fn https_receivers_are_reached_through_a_tunnel() {
    let tasks = TaskGroup::new();
    let (proxy_port, asked) = proxy(&tasks).await;
    let (port, authority) = tls::server().await;
    let config = config(json!({
        "url": format!("https://127.0.0.1:{port}/"),
        "tls_config": {"ca": authority, "server_name": "sink.example"},
        "proxy_url": format!("http://user:pass@127.0.0.1:{proxy_port}"),
        "proxy_connect_header": {"X-Tunnel": ["a", "b"]},
    }));
    assert_eq!(send(&config).await, Attempt::Delivered(None));
    let head = asked.only().to_lowercase();
    assert!(
        head.starts_with(&format!("connect 127.0.0.1:{port} http/1.1\r\n")),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"),
        "{head}"
    );
    assert!(head.contains("x-tunnel: a\r\nx-tunnel: b\r\n"), "{head}");
    assert!(head.contains("user-agent: spanmill/"), "{head}");
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let tasks = TaskGroup::new();
    let (port, received) = receiver(&tasks, "204 No Content").await;
    let (proxy_port, asked) = proxy(&tasks).await;
    let config = config(json!({
        "url": format!("http://127.0.0.1:{port}/w"),
        "proxy_url": format!("http://127.0.0.1:{proxy_port}"),
        "no_proxy": "127.0.0.0/8",
    }));
    assert_eq!(send(&config).await, Attempt::Delivered(None));
    assert!(received.only().starts_with("POST /w HTTP/1.1\r\n"));
    assert_eq!(asked.0.lock().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_a_failure_that_shows_no_secret() {
    let tasks = TaskGroup::new();
    let (proxy_port, _) = receiver(&tasks, "407 Proxy Authentication Required").await;
    let config = config(json!({
        "url": "https://user:canary@mimir.example/w?key=canary",
        "proxy_url": format!("http://user:canary@127.0.0.1:{proxy_port}/?key=canary"),
        "proxy_connect_header": {"X-Tunnel": ["canary"]},
    }));
    let problem = problem_of(send(&config).await);
    assert!(
        problem.contains("proxy authorization required"),
        "{problem}"
    );
    assert!(!problem.contains("canary"), "{problem}");
}

#[test]
fn the_environment_names_the_proxy_where_it_is_asked() {
    let environment = [
        ("HTTP_PROXY", "http://upper:1"),
        ("http_proxy", "http://lower:1"),
        ("https_proxy", "secure:2"),
        ("NO_PROXY", "direct.example,10.0.0.0/8"),
    ];
    let variable = |name: &str| {
        let found = environment.iter().find(|(set, _)| *set == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    for (url, settings, want) in [
        ("http://a/", json!({}), None),
        (
            "http://a/",
            json!({"proxy_from_environment": true}),
            Some("http://upper:1/"),
        ),
        (
            "https://a/",
            json!({"proxy_from_environment": true}),
            Some("http://secure:2/"),
        ),
        (
            "https://direct.example/",
            json!({"proxy_from_environment": true}),
            None,
        ),
        (
            "http://10.1.1.1/",
            json!({"proxy_from_environment": true}),
            None,
        ),
        (
            "https://a/",
            json!({"proxy_url": "https://p"}),
            Some("https://p/"),
        ),
        (
            "http://direct.example/",
            json!({"proxy_url": "http://p"}),
            Some("http://p/"),
        ),
        (
            "http://b.a/",
            json!({"proxy_url": "http://p", "no_proxy": "a"}),
            None,
        ),
    ] {
        let mut document = settings.clone();
        document["url"] = json!(url);
        let proxy = url_for(&url.parse().unwrap(), &config(document), variable).unwrap();
        assert_eq!(proxy.as_ref().map(Url::as_str), want, "{url} {settings}");
    }
    let unusable = |_: &str| Some("socks5://p".to_owned());
    let config = config(json!({"url": "http://a", "proxy_from_environment": true}));
    let error = url_for(&"http://a".parse().unwrap(), &config, unusable).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("proxy_from_environment: HTTP_PROXY has the scheme")
    );
}

/// As a listener would see it: nobody came.
fn assert_untouched(listener: &std::net::TcpListener, settings: &Value) {
    listener.set_nonblocking(true).unwrap();
    let came = listener.accept().map_err(|error| error.kind()).err();
    assert_eq!(came, Some(std::io::ErrorKind::WouldBlock), "{settings}");
}

/// `localhost` is a name whose address only the resolver knows.
#[tokio::test]
async fn names_of_addresses_that_are_not_allowed_are_not_connected_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = format!("http://localhost:{port}/");
    for settings in [
        json!({"url": here}),
        json!({"url": format!("https://LOCALHOST:{port}/")}),
        json!({"url": "http://mimir.example/", "proxy_url": here}),
        json!({"url": "https://mimir.example/", "proxy_url": here}),
    ] {
        for author in [Author::Admin, Author::Tenant] {
            let config = EndpointConfig {
                author: author(Arc::default()),
                ..config(settings.clone())
            };
            assert_eq!(config.validate(), []);
            let problem = problem_of(send(&config).await);
            let why = "which is 127.0.0.1";
            assert!(
                problem.contains("overrides may not reach"),
                "{settings}: {problem}"
            );
            assert!(
                problem.contains(why) || problem.contains("which is ::1"),
                "{problem}"
            );
            assert_untouched(&listener, &settings);
        }
    }
    let literal = EndpointConfig {
        author: Author::Admin(Arc::default()),
        ..config(json!({"url": format!("http://127.1:{port}/")}))
    };
    let error = Client::new(&literal, Clock::manual(0)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("url: has the address 127.0.0.1"),
        "{error}"
    );
}

#[tokio::test]
async fn names_are_connected_to_for_operators_and_where_they_are_allowed() {
    let tasks = TaskGroup::new();
    let (port, received) = receiver(&tasks, "204 No Content").await;
    let allowed = |text: &str| {
        let list = AllowedAddresses::new(vec![text.parse().unwrap()]);
        Author::Admin(Arc::new(list))
    };
    for author in [
        Author::Operator,
        allowed("loopback"),
        allowed("127.0.0.1"),
        allowed("localhost"),
    ] {
        let config = EndpointConfig {
            author,
            ..config(json!({"url": format!("http://localhost:{port}/")}))
        };
        assert_eq!(
            send(&config).await,
            Attempt::Delivered(None),
            "{:?}",
            config.author
        );
    }
    assert_eq!(received.0.lock().len(), 4);
}

/// Where it leads was not checked.
#[tokio::test]
async fn redirects_are_not_followed() {
    let tasks = TaskGroup::new();
    let (elsewhere, untouched) = receiver(&tasks, "204 No Content").await;
    let answer = format!("307 Temporary Redirect\r\nLocation: http://127.0.0.1:{elsewhere}/");
    let (port, _) = receiver(&tasks, answer.leak()).await;
    let settings = json!({"url": format!("http://127.0.0.1:{port}/"), "follow_redirects": true});
    assert!(matches!(
        send(&config(settings)).await,
        Attempt::Refused { .. }
    ));
    assert_eq!(untouched.0.lock().len(), 0);
}
