//! The page on Tempo's keys agrees with the program, line by line.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use spanmill_app::config::Loaded;

const PAGE: &str = include_str!("../../../docs/reference/tempo-keys.md");

/// What must stand beside a key for its example to make sense: a part of its path, and
/// keys of the same block.
const BESIDE: [(&str, &str); 18] = [
    ("grpc_client_config.tls_cert_path", "tls_key_path: k"),
    ("grpc_client_config.tls_key_path", "tls_cert_path: c"),
    ("forwarders[].", ""),
    ("remote_write[].url", ""),
    (
        "remote_write[].no_proxy",
        "url: http://h, proxy_url: http://p",
    ),
    (
        "remote_write[].proxy_connect_header",
        "url: http://h, proxy_url: http://p",
    ),
    ("remote_write[].queue_config.", ""),
    ("remote_write[].", "url: http://h"),
    ("http_tls_config.cert_file", "key_file: /k"),
    ("http_tls_config.key_file", "cert_file: /c"),
    (
        "http_tls_config.client_ca_file",
        "cert_file: /c, key_file: /k",
    ),
    ("grpc_tls_config.cert_file", "key_file: /k"),
    ("grpc_tls_config.key_file", "cert_file: /c"),
    (
        "grpc_tls_config.client_ca_file",
        "cert_file: /c, key_file: /k",
    ),
    (".tls.cert_file", "key_file: /k"),
    (".tls.key_file", "cert_file: /c"),
    (".tls.", "cert_file: /c, key_file: /k"),
    (".keepalive.", ""),
];

/// A line of the page: key, example, and what becomes of it.
fn lines() -> Vec<(&'static str, &'static str, &'static str)> {
    let cells = |line: &'static str| {
        let (key, rest) = line.strip_prefix("| `")?.split_once("` | `")?;
        let (example, rest) = rest.split_once("` | ")?;
        Some((key, example, rest.split_once(" |")?.0))
    };
    PAGE.lines().filter_map(cells).collect()
}

/// A configuration that has the key with its example.
fn configuration(key: &str, example: &str) -> String {
    let beside = BESIDE.iter().find(|(part, _)| key.contains(part));
    let beside = match beside {
        Some((_, "")) | None => String::new(),
        Some((_, keys)) => format!(", {keys}"),
    };
    let (blocks, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut text = format!("{{{last}: {example}{beside}}}");
    for block in blocks.rsplit('.').filter(|block| !block.is_empty()) {
        text = match block.strip_suffix("[]") {
            Some("forwarders") => forwarder(&text),
            Some(list) => format!("{{{list}: [{text}]}}"),
            // The endpoint around the block of a queue needs its URL.
            None if block == "queue_config" => format!("{{{block}: {text}, url: http://h}}"),
            None if block == "tls" && key.contains("forwarders") => {
                format!("{{{block}: {text}, endpoints: ['h:1']}}")
            }
            None => format!("{{{block}: {text}}}"),
        };
    }
    text
}

/// The list of a forwarder with what it needs.
fn forwarder(entry: &str) -> String {
    let mut entry = entry.strip_suffix('}').unwrap().to_owned();
    for (key, needed) in [
        ("name:", "name: f"),
        ("otlpgrpc:", "otlpgrpc: {endpoints: ['h:1']}"),
    ] {
        if !entry.contains(key) {
            entry = format!("{entry}, {needed}");
        }
    }
    format!("{{forwarders: [{entry}}}]}}")
}

#[test]
fn each_line_of_the_page_is_what_the_program_does() {
    let mut wrong = Vec::new();
    for (key, example, what) in lines() {
        let text = configuration(key, example);
        let loaded = Loaded::from_text("tempo.yaml", text.clone());
        let happens = match &loaded {
            Ok(loaded) => match loaded.warnings.len() {
                0 => "read".to_owned(),
                1 => "ignored".to_owned(),
                _ => format!("{:?}", loaded.warnings),
            },
            Err(problems) => format!("refused: {problems}"),
        };
        if happens.split(':').next() != Some(what) {
            wrong.push(format!("{key} is {happens}\n  {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lines().len(), 596);
}

#[test]
fn an_ignored_block_is_not_looked_into() {
    for (key, _, what) in lines() {
        let is_block = !key.contains('.') && what == "ignored";
        if is_block && !key.contains("ingestion_") && key != "forwarders" {
            let text = format!("{key}: {{no_such_key: [1, {{a: b}}]}}");
            let loaded = Loaded::from_text("tempo.yaml", text).unwrap();
            assert_eq!(loaded.warnings.len(), 1, "{key}");
        }
    }
}
