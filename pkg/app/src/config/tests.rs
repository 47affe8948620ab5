use std::time::Duration;

use ::overrides::{
    DimensionMapping, FilterPolicy, IntrinsicDimensions, MatchType, Overrides, OverridesMetrics,
    PolicyAttribute, PolicyMatch, PolicyValue, Processor, Processors, TenantConfig,
};
use insta::assert_snapshot;
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;

use super::*;

fn load(text: &str) -> Loaded {
    Loaded::from_text("config.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(text: &str) -> String {
    Loaded::from_text("config.yaml", text)
        .unwrap_err()
        .to_string()
}

/// The settings of the tenant `acme`.
fn tenant(sources: OverridesSources) -> TenantConfig {
    let overrides = Overrides::start(
        sources,
        OverridesMetrics::default(),
        &TaskGroup::new(),
        &Shutdown::new(),
    );
    let acme = TenantId::parse("acme").unwrap();
    overrides.unwrap().for_tenant(&acme).as_ref().clone()
}

/// A recorded case: its block of the process, and its overrides in a runtime file.
fn case(text: &str) -> TenantConfig {
    let case = settings::read_str("case.json", text).unwrap().to_json();
    let runtime = tempfile::NamedTempFile::new().unwrap();
    let overrides = format!("overrides: {{acme: {}}}", case["tenant_overrides"]);
    std::fs::write(runtime.path(), overrides).unwrap();
    let config = format!(
        "metrics_generator: {}\noverrides: {{per_tenant_override_config: {}}}",
        case["metrics_generator"],
        runtime.path().display()
    );
    tenant(load(&config).overrides)
}

fn recorded(processors: &[Processor]) -> TenantConfig {
    let mut want = TenantConfig {
        processors: processors.iter().copied().collect(),
        ..TenantConfig::default()
    };
    want.registry.collection_interval = Duration::from_secs(5);
    want.service_graphs.wait = Duration::from_secs(3);
    want
}

fn server_spans(key: &str, value: PolicyValue) -> FilterPolicy {
    FilterPolicy {
        include: Some(PolicyMatch {
            match_type: MatchType::Strict,
            attributes: vec![PolicyAttribute {
                key: key.to_owned(),
                value,
            }],
        }),
        exclude: None,
    }
}

const BOTH: [Processor; 2] = [Processor::SpanMetrics, Processor::ServiceGraphs];

#[test]
fn recorded_settings_of_the_process_block_are_read() {
    let mut want = recorded(&BOTH);
    want.service_graphs.dimensions = vec!["region".to_owned()];
    want.service_graphs.histogram_buckets = vec![0.1, 0.3];
    want.span_metrics.dimensions = vec!["http.method".to_owned()];
    want.span_metrics.histogram_buckets = vec![0.01, 0.1, 1.0];
    want.span_metrics.intrinsic_dimensions = IntrinsicDimensions {
        service: true,
        span_name: true,
        span_kind: false,
        status_code: false,
        status_message: false,
    };
    let kind = PolicyValue::Text("SPAN_KIND_SERVER".to_owned());
    want.span_metrics.filter_policies = vec![server_spans("kind", kind)];
    assert_eq!(case(include_str!("../../testdata/base-only.json")), want);
}

#[test]
fn recorded_external_labels_and_lengths_are_read() {
    let mut want = recorded(&BOTH);
    let labels = [("cluster", "x1"), ("service", "ext-wins")];
    want.registry.external_labels = labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    want.registry.inject_tenant_id_as = "tenant_id".to_owned();
    want.registry.max_label_name_length = 12;
    want.registry.max_label_value_length = 30;
    want.span_metrics.dimensions = ["k8s.cluster.name", "k8s.cluster.uid", "vname"]
        .map(str::to_owned)
        .into();
    want.span_metrics.enable_target_info = true;
    assert_eq!(
        case(include_str!("../../testdata/ext-and-maxlen.json")),
        want
    );
}

#[test]
fn a_recorded_boolean_filter_stays_a_boolean() {
    let mut want = recorded(&[Processor::SpanMetrics]);
    want.span_metrics.filter_policies = vec![server_spans("span.flag", PolicyValue::Boolean(true))];
    assert_eq!(
        case(include_str!("../../testdata/filter-types-bool.json")),
        want
    );
}

#[test]
fn recorded_dimension_mappings_are_read() {
    let mapping = |name: &str, sources: &[&str], join: &str| DimensionMapping {
        name: name.to_owned(),
        source_labels: sources.iter().map(|source| (*source).to_owned()).collect(),
        join: join.to_owned(),
    };
    let mut want = recorded(&[Processor::SpanMetrics]);
    want.span_metrics.dimension_mappings = vec![
        mapping("kind_and_val", &["vname", "dim.val"], "/"),
        mapping("one", &["http.method"], ""),
        mapping("service", &["service.namespace", "service.name"], "::"),
        mapping("missing", &["nope1", "nope2"], "-"),
        mapping("with.dot", &["nope", "res.only", "both"], "+"),
    ];
    assert_eq!(case(include_str!("../../testdata/mappings.json")), want);
}

#[test]
fn without_a_file_everyone_has_span_metrics_and_service_graphs_on_loopback() {
    let loaded = Loaded::load(None, false).unwrap();
    let spelled_out = AppConfig {
        overrides: loaded.config.overrides.clone(),
        ..AppConfig::default()
    };
    assert_eq!(loaded.config, spelled_out);
    assert_eq!(loaded.warnings, [""; 0]);
    let server = &loaded.config.server;
    let addresses = [
        server.http_address(),
        server.grpc_address(),
        server.admin_address(),
    ];
    assert_eq!(
        addresses.map(|address| address.unwrap().to_string()),
        ["127.0.0.1:3200", "127.0.0.1:9095", "127.0.0.1:3201"]
    );
    let config = tenant(loaded.overrides);
    let want = TenantConfig {
        processors: Processors::from([Processor::SpanMetrics, Processor::ServiceGraphs]),
        ..TenantConfig::default()
    };
    assert_eq!(config, want);
}

#[test]
fn with_a_file_no_processor_is_on_unless_it_is_set() {
    let loaded = load("");
    assert_eq!(loaded.config, AppConfig::default());
    assert_eq!(tenant(loaded.overrides), TenantConfig::default());
}

#[test]
fn the_example_of_overrides_works() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../config/overrides.example.yaml"
    );
    let loaded = load(&format!(
        "overrides: {{per_tenant_override_config: {path}}}"
    ));
    let overrides = Overrides::start(
        loaded.overrides,
        OverridesMetrics::default(),
        &TaskGroup::new(),
        &Shutdown::new(),
    );
    let overrides = overrides.unwrap();
    let external = overrides.for_tenant(&TenantId::parse("external").unwrap());
    assert_eq!(external.remote_write.len(), 2);
    let shop = overrides.for_tenant(&TenantId::parse("shop").unwrap());
    assert_eq!(*shop.remote_write, []);
    assert_eq!(shop.registry.max_active_series, 1_000_000);
    assert_eq!(shop.processors, Processors::from([Processor::SpanMetrics]));
    assert_eq!(shop.span_metrics.dimension_mappings.len(), 1);
}

#[test]
fn a_configuration_of_tempo_works() {
    let text = include_str!("../../../settings/testdata/tempo-single-binary.yaml");
    let loaded = load(text);
    let receivers = &loaded.config.distributor.receivers;
    assert!(receivers.zipkin.is_some() && receivers.jaeger.is_some());
    assert_eq!(loaded.warnings.len(), 7, "{:#?}", loaded.warnings);
    let storage = &loaded.config.metrics_generator.storage;
    assert_eq!(storage.path, Path::new("/var/tempo/generator/wal"));
    assert_eq!(storage.remote_write.len(), 1);
    let config = tenant(loaded.overrides);
    assert!(config.processors.contains(Processor::LocalBlocks));
    assert_eq!(config.registry.external_labels["replica"], "0");
    assert_eq!(config.registry.external_labels["zone"], "01");
}

#[test]
fn what_does_not_concern_us_is_ignored_with_one_warning_each() {
    let loaded = load(
        "ingester: {any: [thing]}
storage: {path: /data, trace: {backend: s3}}
server: {http_listen_port: 80, proxy_protocol_enabled: true}
memberlist: {node_name: a}
metrics_generator: {ring: {heartbeat_period: 5s}, processor: {local_blocks: {x: 1}}}
",
    );
    assert_eq!(loaded.config.storage.path, Path::new("/data"));
    assert_eq!(loaded.config.server.http_listen_port, 80);
    assert_eq!(
        loaded.warnings,
        [
            "config.yaml:1:1: ingester has no effect here and is ignored",
            "config.yaml:3:32: server.proxy_protocol_enabled has no effect here and is ignored",
            "config.yaml:4:14: memberlist.node_name has no effect here and is ignored",
            "config.yaml:2:24: storage.trace has no effect here and is ignored",
            "config.yaml:5:46: metrics_generator.ring.heartbeat_period has no effect here and is ignored",
            "config.yaml:5:63: metrics_generator.processor.local_blocks has no effect here and is ignored",
        ]
    );
}

#[test]
fn nodes_prove_themselves_where_clients_do() {
    let (clients, cluster) = (
        "authentication: {file: /c}",
        "memberlist: {join_members: [h]}",
    );
    let both = format!("{clients}\n{cluster}\n");
    let problem = refused(&both);
    assert!(
        problem.contains("node_authentication: is empty"),
        "{problem}"
    );
    load(&format!(
        "{both}node_authentication: {{token: 0123456789abcdef}}\n"
    ));
    load(clients);
    load(cluster);
}

#[test]
fn destinations_are_checked_once_and_what_has_no_effect_is_told() {
    let loaded = load(
        "metrics_generator: {storage: {remote_write: [{url: 'http://127.0.0.1', follow_redirects: yes}]}}
overrides:
  defaults: {metrics_generator: {remote_write: [{url: 'http://[::1]', round_robin_dns: yes}]}}
  remote_write_allowed_addresses: [loopback, 10.0.0.0/8]
",
    );
    assert_eq!(
        loaded.warnings,
        [
            "config.yaml:1:90: metrics_generator.storage.remote_write[0].follow_redirects has no \
             effect: redirects are never followed",
            "config.yaml:3:88: overrides.defaults.metrics_generator.remote_write[0].round_robin_dns \
             has no effect: a name's addresses are tried in the order in which the system gives them",
        ]
    );
    let allowed = &loaded.config.overrides.remote_write_allowed_addresses;
    assert!(allowed.allows([10, 0, 0, 1].into()) && !allowed.allows([8, 8, 8, 8].into()));
    // What the operator's own file names is not checked.
    assert_eq!(
        tenant(loaded.overrides).remote_write[0].url.expose(),
        "http://[::1]"
    );

    assert_snapshot!(refused("metrics_generator: {storage: {remote_write: [{url: ftp://x}]}}
overrides: {remote_write_allowed_addresses: [everything/8]}"), @r#"
    config.yaml:1:52: metrics_generator.storage.remote_write[0].url: has the scheme "ftp"; http and https are accepted
      |
    1 | metrics_generator: {storage: {remote_write: [{url: ftp://x}]}}
      |                                                    ^^^^^^^
    config.yaml:2:46: overrides.remote_write_allowed_addresses[0]: "everything/8" is not accepted; expected public, private, loopback, link-local, a range such as 10.1.0.0/16, an address or a host name
      |
    2 | overrides: {remote_write_allowed_addresses: [everything/8]}
      |                                              ^^^^^^^^^^^^
    "#);
}

#[test]
fn settings_in_force_are_yaml_that_loads_and_shows_no_secret() {
    let loaded = load(
        "metrics_generator:
  storage:
    remote_write:
    - url: http://u:hunter2@prometheus/api/v1/write
      headers: {X-Key: hunter2}
      basic_auth: {username: me, password: hunter2}
overrides:
  defaults: {metrics_generator: {remote_write_headers: {X: hunter2}, processors: [span-metrics]}}
multitenancy_enabled: yes
",
    );
    let yaml = loaded.config.to_yaml().unwrap();
    assert!(!yaml.contains("hunter2"), "{yaml}");
    assert!(yaml.contains("multitenancy_enabled: true\n"), "{yaml}");
    assert!(yaml.contains("X: <secret>\n"), "{yaml}");
    assert!(yaml.contains("collection_interval: 15s\n"), "{yaml}");

    let yaml = AppConfig::default().to_yaml().unwrap();
    assert_eq!(load(&yaml).config, AppConfig::default());
}

#[test]
fn environment_variables_are_read_where_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "storage: {path: '${SPANMILL_NOT_SET:/x}'}").unwrap();
    let path = |expand| {
        Loaded::load(Some(file.path()), expand)
            .unwrap()
            .config
            .storage
            .path
    };
    assert_eq!(path(true), Path::new("/x"));
    assert_eq!(path(false), Path::new("${SPANMILL_NOT_SET:/x}"));
}

#[test]
fn tls_of_the_server_block_is_taken_whole_or_refused() {
    let tls = |keys: &str| format!("server: {{http_tls_config: {{{keys}}}}}");
    let config = load(&tls("cert_file: c, key_file: k")).config;
    assert_eq!(config.server.http_tls().unwrap().cert_file, Path::new("c"));
    assert_eq!(config.server.grpc_tls(), None);
    for keys in [
        "cert_file: c",
        "client_ca_file: a",
        "cert_file: c, key_file: k, client_auth_type: RequireAndVerifyClientCert",
        "cert_file: c, key_file: k, client_ca_file: a, client_auth_type: RequestClientCert",
    ] {
        assert!(
            refused(&tls(keys)).contains("server.http_tls_config."),
            "{keys}"
        );
    }
    load(&tls(
        "cert_file: c, key_file: k, client_ca_file: a, client_auth_type: RequireAndVerifyClientCert",
    ));
    let admin = |keys: &str| format!("server: {{admin_tls_config: {{{keys}}}}}");
    let config = load(&admin("cert_file: c, key_file: k, client_ca_file: a")).config;
    let tls = config.server.admin_tls().unwrap();
    assert_eq!(tls.client_ca_file, Path::new("a"));
    assert!(refused(&admin("cert_file: c")).contains("server.admin_tls_config."));
}

/// What is said about a file of `testdata/broken`; the runtime files among them stand
/// below a configuration that only names them.
fn message_of(file: &Path) -> String {
    let directory = file.parent().unwrap().display().to_string();
    let name = file.file_name().unwrap().to_string_lossy();
    let refused = if name.starts_with("runtime-") {
        let text = format!(
            "overrides: {{per_tenant_override_config: {}}}",
            file.display()
        );
        load(&text).overrides.check().unwrap_err()
    } else {
        Loaded::load(Some(file), false).unwrap_err()
    };
    refused.to_string().replace(&format!("{directory}/"), "")
}

#[test]
fn broken_files_are_refused_with_messages_that_name_place_and_remedy() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/broken");
    let files = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 44);
    let messages: Vec<_> = files.iter().map(|file| message_of(file)).collect();
    let messages = messages.join("\n\n");
    assert!(!messages.contains("hunter2"), "{messages}");
    assert_snapshot!(messages);
}

#[test]
fn prefix_of_the_api_is_a_plain_path() {
    for prefix in ["''", "/tempo", "/a/b-c"] {
        load(&format!("http_api_prefix: {prefix}"));
    }
    for prefix in [
        "tempo", "/", "/tempo/", "//tempo", "'/{any}'", "'/a?b'", "/a/:b",
    ] {
        let problems = refused(&format!("http_api_prefix: {prefix}"));
        assert!(problems.contains("http_api_prefix"), "{problems}");
    }
}
