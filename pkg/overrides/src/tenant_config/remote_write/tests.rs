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
            json!({"url": "http://h", "queue_config": {"min_shards": 3, "max_shards": 2}}),
            vec!["queue_config.min_shards"],
        ),
        (
            json!({"url": "http://h", "queue_config": {"min_shards": 2000, "max_shards": 1001}}),
            vec!["queue_config.max_shards"],
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
            vec!["tls_config.cert_file"],
        ),
        (
            json!({"url": "http://h", "write_relabel_configs": [{"action": "keep", "regex": "("}]}),
            vec!["write_relabel_configs[0]"],
        ),
        (
            json!({"url": "http://h", "oauth2": {"client_id": "a"}, "sigv4": {}, "azuread": {"cloud": "x"}, "google_iam": {}}),
            vec!["sigv4", "oauth2", "azuread", "google_iam"],
        ),
        (
            json!({"url": "http://h", "headers": {"X-A": "1"}, "http_headers": {"x-a": {"values": ["1"]}, "Host": {"secrets": ["x"]}, "Authorization": {"files": ["f"]}, "X-B": {"values": ["a\nb"]}}}),
            vec![
                "http_headers.Authorization",
                "http_headers.Host",
                "http_headers.X-B",
                "http_headers.x-a",
            ],
        ),
        (
            json!({"url": "http://h", "proxy_url": "socks5://p", "proxy_from_environment": true}),
            vec!["proxy_url", "proxy_url"],
        ),
        (
            json!({"url": "http://h", "no_proxy": "a", "proxy_connect_header": {"X": ["1"]}}),
            vec!["no_proxy", "proxy_connect_header"],
        ),
        (
            json!({"url": "http://h", "proxy_url": "http://p", "proxy_connect_header": {"X": ["1\n"], "Proxy-Authorization": ["a"]}}),
            vec!["proxy_connect_header.X"],
        ),
        (
            json!({"url": "https://h", "tls_config": {"key": "a"}}),
            vec!["tls_config.key_file"],
        ),
        (
            json!({"url": "https://h", "tls_config": {"ca": "a", "ca_file": "b"}}),
            vec!["tls_config.ca"],
        ),
        (
            json!({"url": "https://h", "tls_config": {"max_version": "TLS11"}}),
            vec!["tls_config.max_version"],
        ),
        (
            json!({"url": "https://h", "tls_config": {"min_version": "TLS13", "max_version": "TLS13"}}),
            vec![],
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

/// The keys of `remote_write` and `http_config` as Prometheus documents them,
/// each with its default.
#[test]
fn every_key_of_prometheus_is_accepted() {
    let config = endpoint(json!({
        "url": "http://h", "name": "", "remote_timeout": "30s",
        "protobuf_message": "prometheus.WriteRequest", "headers": {},
        "write_relabel_configs": [], "send_exemplars": true, "round_robin_dns": false,
        "send_native_histograms": false, "metadata_config": {}, "queue_config": {},
        "basic_auth": null, "authorization": null, "tls_config": {}, "proxy_url": "",
        "no_proxy": "", "proxy_from_environment": false, "proxy_connect_header": {},
        "http_headers": {}, "enable_http2": true, "bearer_token": "", "bearer_token_file": "",
    }));
    assert_eq!(config, endpoint(json!({"url": "http://h"})));
    assert_eq!(config.without_effect(), []);
}

#[test]
fn what_is_not_done_is_named_where_it_is_asked_for() {
    let config = endpoint(json!({
        "url": "http://h", "follow_redirects": true, "round_robin_dns": true,
        "send_exemplars": false, "metadata_config": {"send": false},
        "queue_config": {"capacity": 1, "batch_send_deadline": "1s", "retry_on_http_429": false, "min_shards": 2},
    }));
    let keys: Vec<_> = config
        .without_effect()
        .iter()
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(
        keys,
        [
            "follow_redirects",
            "round_robin_dns",
            "send_exemplars",
            "metadata_config",
            "queue_config.capacity",
            "queue_config.batch_send_deadline",
            "queue_config.retry_on_http_429",
        ]
    );
}

/// Names tell entries apart in metrics and where what waits is found again.
#[test]
fn names_are_unique_within_a_list() {
    let list = [
        endpoint(json!({"url": "http://h", "name": "a"})),
        endpoint(json!({"url": "http://h"})),
        endpoint(json!({"url": "http://h", "name": "a"})),
        endpoint(json!({"url": "ftp://h"})),
    ];
    let keys: Vec<_> = validate_list(&list)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["[2].name", "[3].url"]);
}

fn by(author: fn(Arc<AllowedAddresses>) -> Author, document: serde_json::Value) -> EndpointConfig {
    EndpointConfig {
        author: author(Arc::default()),
        ..endpoint(document)
    }
}

/// Every spelling of an address that URLs have comes to the same.
#[test]
fn overrides_reach_no_address_that_is_not_allowed() {
    for hostile in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1:9090/w",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "http://user:pw@127.0.0.1/",
        "http://[::1]:9090/w",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[::]/",
        "http://0.0.0.0/",
        "http://0/",
        "https://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[ff02::1]/",
        "file:///etc/passwd",
        "gopher://mimir.example/",
        "ftp://mimir.example/",
        "unix:///run/docker.sock",
        "http://",
        "//mimir.example/",
    ] {
        for author in [Author::Admin, Author::Tenant] {
            let url = by(author, json!({"url": hostile}));
            let proxy = by(author, json!({"url": "http://h/", "proxy_url": hostile}));
            let keys = |config: EndpointConfig| {
                let problems = config.validate().into_iter();
                problems.map(|(key, _)| key).collect::<Vec<_>>()
            };
            assert_eq!(keys(url), ["url"], "{hostile}");
            assert_eq!(keys(proxy), ["proxy_url"], "{hostile}");
        }
    }
}

#[test]
fn operators_reach_every_address_and_overrides_those_that_are_allowed() {
    let document = json!({"url": "http://127.0.0.1:9090/", "proxy_url": "http://[::1]/"});
    assert_eq!(endpoint(document.clone()).validate(), []);
    let loopback = Arc::new(AllowedAddresses::new(vec!["loopback".parse().unwrap()]));
    let config = EndpointConfig {
        author: Author::Admin(loopback),
        ..endpoint(document)
    };
    assert_eq!(config.validate(), []);
    for usual in [
        "http://10.0.0.9/",
        "https://8.8.8.8/",
        "http://mimir.example/",
        "http://[2001:db8::1]/",
    ] {
        assert_eq!(
            by(Author::Admin, json!({"url": usual})).validate(),
            [],
            "{usual}"
        );
    }
}

#[test]
fn tenants_name_nothing_of_this_host_and_no_other_tenant() {
    let document = json!({
        "url": "https://h",
        "headers": {"x-scope-orgid": "other"},
        "http_headers": {"X-A": {"files": ["/etc/shadow"]}, "X-Scope-OrgID": {"values": ["b"]}},
        "basic_auth": {"username_file": "a", "password_file": "b"},
        "tls_config": {"ca_file": "c", "cert_file": "d", "key_file": "e"},
        "proxy_from_environment": true,
    });
    let problems = by(Author::Tenant, document.clone()).validate();
    let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "headers.x-scope-orgid",
            "http_headers.X-Scope-OrgID",
            "http_headers.X-Scope-OrgID",
            "basic_auth.username_file",
            "basic_auth.password_file",
            "tls_config.ca_file",
            "tls_config.cert_file",
            "tls_config.key_file",
            "http_headers.X-A.files",
            "proxy_from_environment",
        ]
    );
    for (key, value) in [
        ("bearer_token_file", json!("f")),
        ("authorization", json!({"credentials_file": "f"})),
    ] {
        let problems = by(Author::Tenant, json!({"url": "http://h", key: value})).validate();
        assert_eq!(problems.len(), 1, "{key}");
    }
    // Admins write on behalf of tenants.
    let problems = by(Author::Admin, document).validate();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn unusable_rules_are_refused_as_by_prometheus() {
    for (rule, wants) in [
        (
            json!({"action": "keep", "regex": "("}),
            "regex: unclosed group",
        ),
        (json!({"action": "hashmod", "target_label": "a"}), "modulus"),
        (json!({"action": "hashmod", "modulus": 3}), "target_label"),
        (json!({"action": "replace"}), "target_label"),
        (
            json!({"action": "replace", "target_label": "0"}),
            "target_label",
        ),
        (json!({"action": "replace", "target_label": "a-${1}"}), ""),
        (
            json!({"action": "lowercase", "target_label": "0"}),
            "target_label",
        ),
        (
            json!({"action": "lowercase", "target_label": "$1"}),
            "target_label",
        ),
        (
            json!({"action": "uppercase", "target_label": "a", "replacement": "b"}),
            "lowercase and uppercase",
        ),
        (
            json!({"action": "keepequal", "target_label": ""}),
            "target_label",
        ),
        (
            json!({"action": "keepequal", "target_label": "a", "source_labels": ["b"]}),
            "",
        ),
        (
            json!({"action": "dropequal", "target_label": "a", "regex": "b"}),
            "keepequal and dropequal",
        ),
        (
            json!({"action": "labeldrop", "regex": "a", "target_label": "b"}),
            "labeldrop",
        ),
        (
            json!({"action": "labelkeep", "regex": "a", "source_labels": ["b"]}),
            "labelkeep",
        ),
        (json!({"action": "labelmap", "regex": "a(.+)"}), ""),
        (
            json!({"action": "labelmap", "replacement": "x_${1}_$name"}),
            "",
        ),
        (
            json!({"action": "labelmap", "replacement": "x-$1"}),
            "replacement",
        ),
        (
            json!({"action": "labelmap", "replacement": "0$1"}),
            "replacement",
        ),
        (
            json!({"action": "labelmap", "replacement": "${1"}),
            "replacement",
        ),
        (
            json!({"action": "labelmap", "replacement": "a$"}),
            "replacement",
        ),
        (
            json!({"action": "labelmap", "replacement": "${}"}),
            "replacement",
        ),
        (
            json!({"action": "labelmap", "replacement": ""}),
            "replacement",
        ),
    ] {
        let config = endpoint(json!({
            "url": "http://h", "write_relabel_configs": [{"target_label": "ok"}, rule],
        }));
        let problems = config.validate();
        let Some((key, problem)) = problems.first() else {
            assert_eq!(wants, "", "{rule} is accepted");
            continue;
        };
        assert_eq!(key, "write_relabel_configs[1]", "{rule}");
        assert!(
            !wants.is_empty() && problem.contains(wants),
            "{rule}: {problem}"
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = endpoint(json!({
        "url": "http://user:canary@h/?key=canary",
        "headers": {"X-Key": "canary"},
        "basic_auth": {"username": "u", "password": "canary"},
        "authorization": {"credentials": "canary"},
        "bearer_token": "canary",
        "http_headers": {"X-Other": {"secrets": ["canary", "\n"]}},
        "tls_config": {"key": "canary"},
        "proxy_url": "ftp://user:canary@p/?key=canary",
        "proxy_connect_header": {"X": ["canary"], "b c": ["canary"]},
        "oauth2": {"client_secret": "canary"},
    }));
    for shown in [
        format!("{config:?}"),
        serde_json::to_string(&config).unwrap(),
        format!("{:?}", config.validate()),
    ] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}
