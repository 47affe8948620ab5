//! A process that has no file descriptors left, alone in a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lifecycle::{Shutdown, TaskGroup};
use rustix::process::{Resource, Rlimit, setrlimit};
use spanmill_server::{Listener, ServeOptions};

/// Threats, S11: a listener that ends at the first `EMFILE` is dead for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn accepting_goes_on_once_files_are_free_again() {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "test").unwrap();
    let address = listener.local_addr();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
    listener.serve(router, ServeOptions::default(), shutdown, &tasks);

    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum: Some(64),
        },
    )
    .unwrap();
    let client = TcpStream::connect(address).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    // One file for the client's socket, none for the server's side of it.
    hoard.pop();
    let mut late = TcpStream::connect(address).unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    late.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(late.read(&mut [0]).is_err(), "served without a file");

    drop(hoard);
    drop(client);
    late.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}
