//! The binary from the outside: exit codes, messages, signals.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail as their tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn spanmill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanmill"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

fn output(arguments: &[&str]) -> Output {
    spanmill(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Writes a configuration whose ports the system chooses, and more.
fn config(directory: &TempDir, more: &str) -> String {
    let path = directory.path().join("config.yaml");
    let text = format!(
        "
distributor:
  receivers:
    otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}, http: {{endpoint: '127.0.0.1:0'}}}}}}
storage: {{path: {}}}
{more}",
        directory.path().join("data").display()
    );
    std::fs::write(&path, text).unwrap();
    format!("-config.file={}", path.display())
}

const SERVER: &str = "server: {http_listen_port: 0, grpc_listen_port: 0, admin_listen_port: 0}\n";

/// A process that has said that it is ready.
struct Running {
    child: Child,
    /// What it said until then, one line per address.
    said: Vec<String>,
}

impl Running {
    fn start(argument: &str) -> Self {
        let mut child = spanmill(&[argument])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said: Vec<_> = lines
            .map(Result::unwrap)
            .take_while(|line| line != "ready")
            .collect();
        if said.is_empty() {
            let mut log = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut log);
            said.push(log);
        }
        Self { child, said }
    }

    /// The address on the line of a face.
    fn address(&self, face: &str) -> String {
        let line = self.said.iter().find(|line| line.contains(face)).unwrap();
        let address = line.split_whitespace().last().unwrap();
        let address = address.trim_start_matches("http://");
        address.split('/').next().unwrap().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Exit code and log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

#[test]
fn version_and_help_are_printed() {
    let version = output(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let want = format!("spanmill, version {} (commit: ", env!("CARGO_PKG_VERSION"));
    assert!(text(&version.stdout).starts_with(&want), "{version:?}");
    let help = output(&["-help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--config.file"), "{help:?}");
}

#[test]
fn wrong_flags_and_wrong_configuration_end_with_2() {
    assert_eq!(output(&["--no-such-flag"]).status.code(), Some(2));
    let directory = tempfile::tempdir().unwrap();
    let argument = config(&directory, "servre: {http_listen_port: 0}\n");
    for verify in ["-config.verify=false", "-config.verify"] {
        let refused = output(&[&argument, verify]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let message = text(&refused.stderr);
        assert!(message.contains("config.yaml:6:1: servre"), "{message}");
    }
    assert!(!directory.path().join("data").exists());
    let missing = output(&["-config.file=/nowhere/x.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing.stderr).contains("/nowhere/x.yaml"),
        "{missing:?}"
    );
}

#[test]
fn good_configuration_is_verified_without_running() {
    let directory = tempfile::tempdir().unwrap();
    let verified = output(&[&config(&directory, SERVER), "-config.verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert_eq!(text(&verified.stdout), "configuration can be used\n");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn settings_are_printed_in_force_as_defaults_and_where_they_differ() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(
        &directory,
        "server: {http_listen_port: 1, log_level: warn}\n",
    );
    let print = |shown: &str| {
        let printed = output(&[&config, shown]);
        assert_eq!(printed.status.code(), Some(0), "{printed:?}");
        text(&printed.stdout).to_owned()
    };
    let server = "server:\n  http_listen_port: 1\n  log_level: warn\nstorage:\n";
    assert!(print("-print-config=diff").starts_with(server));
    let effective = print("-print-config");
    assert!(
        effective.contains("\n  http_listen_port: 1\n"),
        "{effective}"
    );
    assert!(
        effective.contains("\n  grpc_listen_port: 9095\n"),
        "{effective}"
    );
    let defaults = print("-print-config=defaults");
    assert!(
        defaults.contains("\n  http_listen_port: 3200\n"),
        "{defaults}"
    );
    assert!(!directory.path().join("data").exists());
}

#[test]
fn port_in_use_ends_with_1_and_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = format!(
        "server: {{http_listen_port: {}, grpc_listen_port: 0, admin_listen_port: 0}}",
        address.port()
    );
    let refused = output(&[&config(&directory, &server)]);
    assert_eq!(refused.status.code(), Some(1));
    let want = format!(
        "spanmill: server.http_listen_port: cannot listen on {address}, another process listens there"
    );
    assert!(text(&refused.stderr).contains(&want), "{refused:?}");
}

#[test]
fn sigterm_and_sigint_end_in_order_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let running = Running::start(&config(&directory, SERVER));
        assert!(Path::new(&directory.path().join("data/lock")).exists());
        running.signal(signal);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("msg=stopped"), "{log}");
        assert!(log.contains("no tenant has a processor"), "{log}");
    }
}

#[test]
fn second_signal_ends_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let directory = tempfile::tempdir().unwrap();
        let running = Running::start(&config(&directory, SERVER));
        // A request that does not come to its end holds the first stop up.
        let mut request = TcpStream::connect(running.address("OTLP/HTTP")).unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    expect: 100-continue\r\ncontent-length: 9\r\n\r\n";
        request.write_all(head.as_bytes()).unwrap();
        // The server asks for the body once the handler reads it.
        let mut asked = [0; 12];
        request.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100");
        running.signal(Signal::TERM);
        // The first signal is taken when the port is closed.
        while TcpStream::connect(running.address("OTLP/HTTP")).is_ok() {
            std::thread::yield_now();
        }
        running.signal(signal);
        assert_eq!(running.end().0, Some(code));
    }
}
