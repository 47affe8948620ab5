use std::time::Duration;

use super::*;

fn read(yaml: &str) -> DistributorConfig {
    let node = settings::read_str("test.yaml", yaml).unwrap();
    settings::decode(&node).unwrap()
}

fn problems(yaml: &str) -> Vec<String> {
    read(yaml).validate().iter().map(Problem::summary).collect()
}

fn protocols(yaml: &str) -> Protocols {
    read(yaml).receivers.otlp.unwrap().protocols
}

#[test]
fn without_receivers_otlp_listens_on_loopback() {
    for yaml in ["{}", "receivers:", "receivers: {}"] {
        assert_eq!(read(yaml), DistributorConfig::default(), "{yaml}");
    }
    let protocols = protocols("{}");
    let grpc = protocols.grpc.unwrap();
    let http = protocols.http.unwrap();
    assert_eq!(grpc.socket_addr("").unwrap().to_string(), "127.0.0.1:4317");
    assert_eq!(http.socket_addr("").unwrap().to_string(), "127.0.0.1:4318");
    assert_eq!(grpc.max_message_bytes(), 4 << 20);
    assert_eq!(http.max_body_bytes(), 20 << 20);
    assert_eq!(problems("{}"), [""; 0]);
}

#[test]
fn only_named_protocols_listen() {
    let only_grpc = protocols("receivers: {otlp: {protocols: {grpc: }}}");
    assert_eq!(only_grpc.grpc, Some(GrpcReceiverConfig::default()));
    assert_eq!(only_grpc.http, None);

    let only_http = protocols("receivers: {otlp: {protocols: {http: {endpoint: ':9'}}}}");
    assert_eq!(only_http.grpc, None);
    let http = only_http.http.unwrap();
    assert_eq!(http.socket_addr("").unwrap().to_string(), "0.0.0.0:9");
}

#[test]
fn settings_of_the_collector_are_read() {
    let protocols = protocols(
        "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:14317
        max_recv_msg_size_mib: 16
        max_concurrent_streams: 100
        include_metadata: true
        keepalive:
          server_parameters:
            max_connection_age: 5m
            max_connection_age_grace: 30s
          enforcement_policy:
            min_time: 10s
            permit_without_stream: true
      http:
        endpoint: localhost:14318
        max_request_body_size: 1048576
        read_header_timeout: 20s
        idle_timeout: 0s
        keep_alives_enabled: false
        cors:
          allowed_origins: [https://shop.example, 'https://*.example']
          allowed_headers: [X-Custom]
          max_age: 7200
",
    );
    let grpc = protocols.grpc.unwrap();
    assert_eq!(grpc.socket_addr("").unwrap().to_string(), "0.0.0.0:14317");
    assert_eq!(grpc.max_message_bytes(), 16 << 20);
    let options = grpc.serve_options(None);
    assert_eq!(options.max_concurrent_streams, 100);
    assert_eq!(options.max_connection_age, Some(Duration::from_secs(300)));
    assert_eq!(
        options.max_connection_age_grace,
        Some(Duration::from_secs(30))
    );
    assert_eq!(options.ping_interval, Duration::from_secs(60));
    let http = protocols.http.unwrap();
    assert_eq!(http.socket_addr("").unwrap().to_string(), "127.0.0.1:14318");
    assert_eq!(http.max_body_bytes(), 1_048_576);
    let options = http.serve_options(None);
    assert_eq!(options.header_read_timeout, Duration::from_secs(10));
    assert_eq!(options.idle_timeout, None);
    assert!(!options.http1_keep_alive);
    let cors = http.cors;
    assert_eq!(
        cors.allowed_origins,
        ["https://shop.example", "https://*.example"]
    );
    assert_eq!(cors.max_age, 7200);
}

#[test]
fn limits_of_zero_are_the_defaults() {
    let protocols = protocols(
        "receivers: {otlp: {protocols: {grpc: {max_recv_msg_size_mib: 0}, \
         http: {max_request_body_size: 0}}}}",
    );
    assert_eq!(protocols.grpc.unwrap().max_message_bytes(), 4 << 20);
    let http = protocols.http.unwrap();
    assert_eq!(http.max_body_bytes(), 20 << 20);
    assert_eq!(http.body_read_timeout(), Duration::from_secs(30));
}

#[test]
fn receivers_that_cannot_be_had_are_refused_by_name() {
    assert_eq!(
        problems("receivers: {kafka: {brokers: [a:9092]}, opencensus: }"),
        [
            "distributor.receivers.kafka: the Kafka receiver is not offered; send OTLP to the \
             otlp receiver",
            "distributor.receivers.opencensus: the opencensus receiver is not offered; send OTLP \
             to the otlp receiver",
        ]
    );
}

#[test]
fn zipkin_and_jaeger_listen_once_they_are_named() {
    let receivers = read(
        "receivers: {zipkin: , jaeger: {protocols: {grpc: , thrift_http: , thrift_compact: , \
         thrift_binary: }}}",
    )
    .receivers;
    assert_eq!(receivers.otlp, None);
    let address = |found: Result<std::net::SocketAddr, Problem>| found.unwrap().to_string();
    let zipkin = receivers.zipkin.unwrap();
    assert_eq!(address(zipkin.socket_addr("")), "127.0.0.1:9411");
    assert_eq!(
        (zipkin.parse_string_tags, zipkin.max_body_bytes()),
        (false, 20 << 20)
    );
    let jaeger = receivers.jaeger.unwrap().protocols;
    let grpc = jaeger.grpc.unwrap();
    assert_eq!(address(grpc.socket_addr("")), "127.0.0.1:14250");
    assert_eq!(grpc.max_message_bytes(), 4 << 20);
    let http = jaeger.thrift_http.unwrap();
    assert_eq!(address(http.socket_addr("")), "127.0.0.1:14268");
    let compact = jaeger.thrift_compact.unwrap();
    assert_eq!(address(compact.socket_addr("")), "127.0.0.1:6831");
    assert_eq!(compact.max_datagram_bytes(), 65_000);
    let binary = jaeger.thrift_binary.unwrap();
    assert_eq!(address(binary.socket_addr("")), "127.0.0.1:6832");

    let jaeger = read("receivers: {jaeger: {protocols: {thrift_compact: {endpoint: ':9'}}}}");
    let protocols = jaeger.receivers.jaeger.unwrap().protocols;
    assert_eq!((protocols.grpc, protocols.thrift_binary), (None, None));
    let compact = protocols.thrift_compact.unwrap();
    assert_eq!(address(compact.socket_addr("")), "0.0.0.0:9");
}

#[test]
fn datagrams_are_as_large_as_udp_allows() {
    for (given, want) in [("0", 65_000), ("1000", 1_000), ("1MiB", 65_507)] {
        let yaml = format!(
            "receivers: {{jaeger: {{protocols: {{thrift_binary: {{max_packet_size: {given}}}}}}}}}"
        );
        let protocols = read(&yaml).receivers.jaeger.unwrap().protocols;
        assert_eq!(protocols.thrift_binary.unwrap().max_datagram_bytes(), want);
    }
}

#[test]
fn problems_of_zipkin_and_jaeger_have_their_paths() {
    assert_eq!(
        problems("receivers: {jaeger: {remote_sampling: {}}}"),
        [
            "distributor.receivers.jaeger.remote_sampling: sampling strategies are not served; \
             remove it",
            "distributor.receivers.jaeger.protocols: names no protocol; write grpc:, \
             thrift_http:, thrift_compact: or thrift_binary: below it",
        ]
    );
    let found = problems(
        "receivers: {zipkin: {endpoint: x, auth: {}}, jaeger: {protocols: {\
         grpc: {endpoint: x, transport: unix}, thrift_http: {endpoint: x}, \
         thrift_compact: {endpoint: x}, thrift_binary: {endpoint: x}}}}",
    );
    let paths: Vec<_> = found
        .iter()
        .map(|problem| problem.split_once(": ").unwrap().0)
        .collect();
    let jaeger = "distributor.receivers.jaeger.protocols";
    assert_eq!(
        paths,
        [
            "distributor.receivers.zipkin.endpoint",
            "distributor.receivers.zipkin.auth",
            &format!("{jaeger}.grpc.endpoint"),
            &format!("{jaeger}.grpc.transport"),
            &format!("{jaeger}.thrift_http.endpoint"),
            &format!("{jaeger}.thrift_compact.endpoint"),
            &format!("{jaeger}.thrift_binary.endpoint"),
        ]
    );
}

#[test]
fn every_problem_is_reported_with_its_path() {
    assert_eq!(
        problems("receivers: {otlp: }"),
        [
            "distributor.receivers.otlp.protocols: names no protocol; write grpc: or http: or \
             both below it"
        ]
    );
    let found = problems(
        "{kafka_write_path_enabled: true, receivers: {otlp: {protocols: {\
         grpc: {endpoint: '4317', transport: unix, auth: {authenticator: x}}, \
         http: {endpoint: '127.0.0.1:99999', traces_url_path: '/{x}'}}}}}",
    );
    let paths: Vec<_> = found
        .iter()
        .map(|problem| problem.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(
        paths,
        [
            "distributor.receivers.otlp.protocols.grpc.endpoint",
            "distributor.receivers.otlp.protocols.grpc.transport",
            "distributor.receivers.otlp.protocols.grpc.auth",
            "distributor.receivers.otlp.protocols.http.endpoint",
            "distributor.receivers.otlp.protocols.http.traces_url_path",
            "distributor.kafka_write_path_enabled",
        ]
    );
}

#[test]
fn settings_without_effect_are_known() {
    assert!(DistributorConfig::default().without_effect().is_empty());
    let config = read(
        "
ring: {kvstore: {store: memberlist}}
receivers:
  otlp:
    protocols:
      grpc:
        include_metadata: true
        read_buffer_size: 1MiB
        write_buffer_size: 1MiB
        keepalive: {enforcement_policy: {min_time: 10s}}
      http: {include_metadata: true}
  zipkin: {include_metadata: true}
  jaeger:
    protocols:
      grpc: {include_metadata: true}
      thrift_http: {include_metadata: true}
      thrift_compact: {queue_size: 1000, workers: 10}
      thrift_binary: {workers: 5}",
    );
    let protocols = "distributor.receivers.otlp.protocols";
    let jaeger = "distributor.receivers.jaeger.protocols";
    assert_eq!(
        config.without_effect(),
        [
            &format!("{protocols}.grpc.include_metadata"),
            &format!("{protocols}.grpc.read_buffer_size"),
            &format!("{protocols}.grpc.write_buffer_size"),
            &format!("{protocols}.grpc.keepalive.enforcement_policy"),
            &format!("{protocols}.http.include_metadata"),
            "distributor.receivers.zipkin.include_metadata",
            &format!("{jaeger}.grpc.include_metadata"),
            &format!("{jaeger}.thrift_http.include_metadata"),
            &format!("{jaeger}.thrift_compact.queue_size"),
            &format!("{jaeger}.thrift_compact.workers"),
            &format!("{jaeger}.thrift_binary.workers"),
            "distributor.ring"
        ]
    );
    assert_eq!(config.validate(), []);
}

#[test]
fn forwarders_that_cannot_be_used_are_told_with_their_place() {
    let problems = |text: &str| {
        let node = settings::read_str("config.yaml", text).unwrap();
        let config: DistributorConfig = settings::decode(&node).unwrap();
        let told = |problem: &Problem| format!("{}: {}", problem.path, problem.message);
        config.validate().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(
        problems(
            "forwarders:
- {name: a, otlpgrpc: {endpoints: ['h:1']}, filter: {traces: {span: ['name == 1'], spanevent: [a]}}}
- {name: a, otlpgrpc: {endpoints: [h]}, queue_size: 0}
- {}"
        ),
        [
            "distributor.forwarders[0].filter.traces.spanevent[0]: at character 1: a is not \
             known, or not so; known are attributes[\"...\"], resource.attributes[\"...\"], name, \
             kind, kind.string, status.code, status.message, instrumentation_scope.name, \
             instrumentation_scope.version; for events name, attributes[\"...\"], and the others \
             with span. before them",
            "distributor.forwarders[1].name: \"a\" is the name of another forwarder",
            "distributor.forwarders[1].otlpgrpc.endpoints[0]: \"h\" is not accepted; expected \
             host:port",
            "distributor.forwarders[1].queue_size: must be above 0",
            "distributor.forwarders[2].name: may not be empty",
            "distributor.forwarders[2].otlpgrpc.endpoints: needs at least one",
        ]
    );
    let many = "h:1, ".repeat(65);
    assert_eq!(
        problems(&format!(
            "forwarders: [{{name: a, otlpgrpc: {{endpoints: [{many}]}}}}]"
        )),
        ["distributor.forwarders: have more than 64 endpoints together"]
    );
}

#[test]
fn limits_of_cost_attribution_are_above_nothing() {
    let mut config = DistributorConfig::default();
    config.usage.cost_attribution.max_cardinality = 0;
    config.usage.cost_attribution.stale_duration = std::time::Duration::ZERO;
    let problems = config.validate();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "distributor.usage.cost_attribution.max_cardinality",
            "distributor.usage.cost_attribution.stale_duration",
        ]
    );
}
