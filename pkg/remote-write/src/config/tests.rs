use serde_json::json;

use super::*;

fn endpoint(document: serde_json::Value) -> EndpointConfig {
    serde_json::from_value(document).unwrap()
}

/// The defaults of Prometheus' `remote_write`, as documented.
#[test]
fn defaults_are_prometheus_own() {
    let config = endpoint(json!({"url": "http://h/api/v1/write"}));
    assert_eq!(config.validate(), []);
    assert_eq!(config.remote_timeout, Duration::from_secs(30));
    assert_eq!(config.queue_config.max_samples_per_send, 2000);
    assert_eq!(config.queue_config.min_backoff, Duration::from_millis(30));
    assert_eq!(config.queue_config.max_backoff, Duration::from_secs(5));
    assert_eq!(config.queue_config.max_shards, 50);
    assert!(!config.tls_config.insecure_skip_verify);
    assert_eq!(config.protobuf_message, ProtobufMessage::V1);
}

#[test]
fn message_is_one_of_prometheus_own_or_auto() {
    for (text, want) in [
        ("prometheus.WriteRequest", Some(ProtobufMessage::V1)),
        ("io.prometheus.write.v2.Request", Some(ProtobufMessage::V2)),
        ("auto", Some(ProtobufMessage::Auto)),
        ("io.prometheus.write.v3.Request", None),
    ] {
        let read = serde_json::from_value::<ProtobufMessage>(json!(text));
        assert_eq!(read.ok(), want, "{text}");
    }
}

#[test]
fn every_problem_is_reported_with_its_key() {
    for (document, keys) in [
        (json!({}), vec!["url"]),
        (json!({"url": "h:1/x"}), vec!["url"]),
        (json!({"url": "file:///etc/passwd"}), vec!["url"]),
        (json!({"url": "gopher://h/"}), vec!["url"]),
        (
            json!({"url": "http://h", "remote_timeout": "0s", "queue_config": {"max_shards": 0, "max_samples_per_send": 0}}),
            vec![
                "remote_timeout",
                "queue_config.max_samples_per_send",
                "queue_config.max_shards",
            ],
        ),
        (
            json!({"url": "http://h", "queue_config": {"min_backoff": "6s"}}),
            vec!["queue_config.max_backoff"],
        ),
        (
            json!({"url": "http://h", "headers": {"Content-Encoding": "gzip", "authorization": "x", "X-Ok": "y", "a b": "z"}}),
            vec![
                "headers.Content-Encoding",
                "headers.a b",
                "headers.authorization",
            ],
        ),
        (
            json!({"url": "http://h", "basic_auth": {"username": "u"}, "bearer_token": "t"}),
            vec!["authorization"],
        ),
        (
            json!({"url": "https://h", "tls_config": {"cert_file": "a"}}),
            vec!["tls_config"],
        ),
        (
            json!({"url": "http://h", "write_relabel_configs": [{"action": "keep", "regex": "("}]}),
            vec!["write_relabel_configs[0]"],
        ),
    ] {
        let problems = endpoint(document.clone()).validate();
        let got: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(got, keys, "{document}: {problems:?}");
    }
}

#[test]
fn unknown_actions_are_refused_with_those_that_exist() {
    let error = serde_json::from_value::<RelabelConfig>(json!({"action": "rename"})).unwrap_err();
    assert!(error.to_string().contains("hashmod"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let config = endpoint(json!({
        "url": "http://user:canary@h/?key=canary",
        "headers": {"X-Key": "canary"},
        "basic_auth": {"username": "u", "password": "canary"},
        "authorization": {"credentials": "canary"},
        "bearer_token": "canary",
    }));
    for shown in [
        format!("{config:?}"),
        serde_json::to_string(&config).unwrap(),
        format!("{:?}", config.validate()),
    ] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}
