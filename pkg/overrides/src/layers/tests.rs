use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::tenant_config::processors::{Processor, Processors};
use crate::tenant_config::registry::{HistogramMode, LimiterType, SpanNameSanitization};
use crate::tenant_config::remote_write::EndpointConfig;

fn admin() -> Author {
    Author::Admin(Arc::default())
}

fn process(text: &str) -> Layer {
    Layer::from_process(&settings::read_str("process.yaml", text).unwrap()).unwrap()
}

fn layer(text: &str) -> Layer {
    read_layer(text).unwrap()
}

fn read_layer(text: &str) -> Result<Layer, String> {
    let node = settings::read_str("overrides.yaml", text).unwrap();
    Layer::from_overrides(&node, "overrides.acme", admin()).map_err(|problems| problems.to_string())
}

fn resolved(layers: &[Layer]) -> TenantConfig {
    resolve(layers).unwrap()
}

#[test]
fn a_tenant_that_sets_one_key_keeps_the_others_of_the_layers_below() {
    let config = resolved(&[
        process("registry: {collection_interval: 5s, stale_duration: 10m}"),
        layer("metrics_generator: {max_active_series: 1000, processors: [span-metrics]}"),
        layer("metrics_generator: {processor: {span_metrics: {dimensions: [a]}}}"),
    ]);

    let mut want = TenantConfig {
        processors: Processors::from([Processor::SpanMetrics]),
        ..TenantConfig::default()
    };
    want.registry.collection_interval = Duration::from_secs(5);
    want.registry.stale_duration = Duration::from_secs(600);
    want.registry.max_active_series = 1000;
    want.span_metrics.dimensions = vec!["a".to_owned()];
    assert_eq!(config, want);
}

/// What destinations of a tenant are, and who wrote them.
fn destinations(layers: &[Layer]) -> Vec<(String, Author)> {
    let endpoints = resolved(layers).remote_write;
    let shown =
        |endpoint: &EndpointConfig| (endpoint.url.expose().to_owned(), endpoint.author.clone());
    endpoints.iter().map(shown).collect()
}

#[test]
fn destinations_are_those_of_the_highest_layer_that_names_any_and_their_author_is_its() {
    let process = process("storage: {remote_write: [{url: 'http://127.0.0.1/'}]}");
    let silent = layer("metrics_generator: {max_active_series: 1}");
    let own = layer("metrics_generator: {remote_write: [{url: 'http://a/'}, {url: 'http://b/'}]}");
    let none = layer("metrics_generator: {remote_write: []}");
    let null = layer("metrics_generator: {remote_write: null}");
    let of_process = [("http://127.0.0.1/".to_owned(), Author::Operator)];
    let of_tenant = [
        ("http://a/".to_owned(), admin()),
        ("http://b/".to_owned(), admin()),
    ];
    for (layers, want) in [
        (vec![&silent], &[][..]),
        (vec![&process], &of_process),
        (vec![&process, &silent], &of_process),
        (vec![&process, &own], &of_tenant),
        (vec![&process, &own, &silent], &of_tenant),
        (vec![&process, &none], &[]),
        (vec![&process, &null], &[]),
        (vec![&process, &null, &own], &of_tenant),
        (vec![&own, &process], &of_process),
    ] {
        let layers: Vec<_> = layers.into_iter().cloned().collect();
        assert_eq!(destinations(&layers), want);
    }
}

#[test]
fn destinations_are_checked_with_the_path_that_was_written() {
    let process = settings::read_str(
        "process.yaml",
        "storage: {remote_write: [{url: 'ftp://x', follow_redirects: yes}]}",
    )
    .unwrap();
    let problems = Layer::from_process(&process).unwrap_err();
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, ["metrics_generator.storage.remote_write[0].url"]);

    let text = "metrics_generator:
  remote_write:
  - {name: a, url: 'http://a'}
  - {name: a, url: 'http://127.1/w', send_exemplars: 1}";
    assert_snapshot!(read_layer(text).unwrap_err(), @r#"
    overrides.yaml:4:12: overrides.acme.metrics_generator.remote_write[1].name: "a" is the name of an entry before it
      |
    4 |   - {name: a, url: 'http://127.1/w', send_exemplars: 1}
      |            ^
    overrides.yaml:4:20: overrides.acme.metrics_generator.remote_write[1].url: has the address 127.0.0.1, which overrides may not reach; overrides.remote_write_allowed_addresses can allow it
      |
    4 |   - {name: a, url: 'http://127.1/w', send_exemplars: 1}
      |                    ^^^^^^^^^^^^^^^^
    overrides.yaml:4:54: overrides.acme.metrics_generator.remote_write[1].send_exemplars: 1 is not accepted; expected true or false
      |
    4 |   - {name: a, url: 'http://127.1/w', send_exemplars: 1}
      |                                                      ^
    "#);
    let text = text.replace("1}", "yes}");
    assert_snapshot!(read_layer(&text).unwrap_err(), @r#"
    overrides.yaml:4:12: overrides.acme.metrics_generator.remote_write[1].name: "a" is the name of an entry before it
      |
    4 |   - {name: a, url: 'http://127.1/w', send_exemplars: yes}
      |            ^
    overrides.yaml:4:20: overrides.acme.metrics_generator.remote_write[1].url: has the address 127.0.0.1, which overrides may not reach; overrides.remote_write_allowed_addresses can allow it
      |
    4 |   - {name: a, url: 'http://127.1/w', send_exemplars: yes}
      |                    ^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn what_has_no_effect_is_told_with_its_place() {
    let warned = layer(
        "metrics_generator: {remote_write: [{url: 'http://a'}, {url: 'http://b', follow_redirects: yes}]}",
    );
    assert_eq!(
        warned.warnings(),
        [
            "overrides.yaml:1:91: overrides.acme.metrics_generator.remote_write[1].follow_redirects \
             has no effect: redirects are never followed"
        ]
    );
    let warned = process("storage: {remote_write: [{url: 'http://b', send_exemplars: no}]}");
    assert_eq!(
        warned.warnings(),
        [
            "process.yaml:1:60: metrics_generator.storage.remote_write[0].send_exemplars \
             has no effect: exemplars are always sent"
        ]
    );
}

#[test]
fn lists_replace_and_maps_merge() {
    let config = resolved(&[
        layer(
            "metrics_generator:
  processors: [span-metrics, service-graphs]
  remote_write_headers: {a: 1, b: 2}
  processor: {span_metrics: {dimensions: [x, y], intrinsic_dimensions: {span_kind: no}}}",
        ),
        layer(
            "metrics_generator:
  processors: [host-info]
  remote_write_headers: {b: 3, a: null}
  processor: {span_metrics: {dimensions: [z], intrinsic_dimensions: {service: off}}}",
        ),
    ]);
    assert_eq!(config.processors, Processors::from([Processor::HostInfo]));
    assert_eq!(config.span_metrics.dimensions, ["z"]);
    let intrinsic = config.span_metrics.intrinsic_dimensions;
    assert!(!intrinsic.service && !intrinsic.span_kind && intrinsic.span_name);
    let headers: Vec<_> = config
        .remote_write_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(headers, [("b", "3")]);
}

#[test]
fn null_returns_to_the_built_in_and_nothing_in_a_layer_above_brings_it_back() {
    let config = resolved(&[
        process("registry: {collection_interval: 5s}\nprocessor: {service_graphs: {wait: 3s}}"),
        layer("metrics_generator: {max_active_series: 7, trace_id_label_name: id}"),
        layer("metrics_generator: {max_active_series: ~, collection_interval: , processor: }"),
        layer("metrics_generator: {trace_id_label_name: ''}"),
    ]);
    let mut want = TenantConfig::default();
    want.registry.trace_id_label_name = "id".to_owned();
    assert_eq!(config, want);
}

/// The keys of which Tempo says "0 or empty: the global value".
#[test]
fn zero_and_empty_inherit_where_they_mean_so_in_tempo() {
    let below = [
        process(
            "registry: {collection_interval: 5s}\nmetrics_ingestion_time_range_slack: 1m\nlimiter_type: entity",
        ),
        layer(
            "ingestion: {max_attribute_bytes: 100, rate_strategy: global}
metrics_generator:
  trace_id_label_name: id
  generate_native_histograms: both
  native_histogram_bucket_factor: 2
  processor:
    host_info: {metric_name: hosts}
    service_graphs: {span_multiplier_key: g}
    span_metrics: {span_multiplier_key: s}",
        ),
    ];
    let empty = layer(
        "ingestion: {max_attribute_bytes: 0, rate_strategy: ''}
metrics_generator:
  collection_interval: 0s
  ingestion_time_range_slack: 0
  trace_id_label_name: ''
  generate_native_histograms: \"\"
  native_histogram_bucket_factor: 0
  limiter_type: ''
  processor:
    host_info: {metric_name: ''}
    service_graphs: {span_multiplier_key: ''}
    span_metrics: {span_multiplier_key: ''}",
    );
    let mut layers = below.to_vec();
    let want = resolved(&layers);
    layers.push(empty);
    assert_eq!(resolved(&layers), want);
    assert_eq!(want.registry.collection_interval, Duration::from_secs(5));
    assert_eq!(want.ingestion_time_range_slack, Duration::from_secs(60));
    assert_eq!(want.registry.limiter_type, LimiterType::Entity);
    assert_eq!(
        want.registry.generate_native_histograms,
        HistogramMode::Both
    );

    let limit = [layer("metrics_generator: {max_active_series: 5}")];
    let mut layers = limit.to_vec();
    layers.push(layer("metrics_generator: {max_active_series: 0}"));
    assert_eq!(resolved(&layers).registry.max_active_series, 0);
}

#[test]
fn both_names_of_a_key_are_one_key() {
    let config = resolved(&[
        layer(
            "metrics_generator: {processor: {span_metrics: {dimension_mapings: [{name: a, source_labels: [b]}]}, host_info: {host_identifies: [x]}}}",
        ),
        layer(
            "metrics_generator: {processor: {span_metrics: {dimension_mappings: [{name: c, source_labels: [d]}]}}}",
        ),
        layer("metrics_generator: {registry: {collection_interval: 30s}}"),
    ]);
    assert_eq!(config.span_metrics.dimension_mappings.len(), 1);
    assert_eq!(config.span_metrics.dimension_mappings[0].name, "c");
    assert_eq!(config.host_info.host_identifiers, ["x"]);
    assert_eq!(config.registry.collection_interval, Duration::from_secs(30));
}

#[test]
fn sanitization_is_switched_off_by_the_word_and_by_empty_text() {
    let enabled = layer("metrics_generator: {span_name_sanitization: enabled}");
    let of = |layers: &[Layer]| resolved(layers).registry.span_name_sanitization;
    assert_eq!(of(&[]), SpanNameSanitization::Off);
    assert_eq!(
        of(std::slice::from_ref(&enabled)),
        SpanNameSanitization::Enabled
    );
    for off in ["off", "'off'", "\"\"", "null"] {
        let off = layer(&format!(
            "metrics_generator: {{span_name_sanitization: {off}}}"
        ));
        assert_eq!(of(&[enabled.clone(), off]), SpanNameSanitization::Off);
    }
}

#[test]
fn every_key_of_a_tenant_is_read() {
    let config = resolved(&[layer(
        "ingestion:
  rate_strategy: local
  rate_limit_bytes: 1e6
  burst_size_bytes: 2000000
  max_traces_per_user: 3
  max_global_traces_per_user: 4
  tenant_shard_size: 5
  max_attribute_bytes: 6
  artificial_delay: 7ms
  retry_info_enabled: no
read: {max_metrics_duration: 3h}
global: {max_bytes_per_trace: 5e6}
cost_attribution: {dimensions: {a: b}}
forwarders: [otlp]
metrics_generator:
  ring_size: 2
  processors: [span-metrics-latency, local-blocks]
  max_active_series: 10
  max_active_entities: 11
  max_cardinality_per_label: 12
  span_name_sanitization: dry_run
  collection_interval: 13s
  disable_collection: yes
  stale_on_shutdown: yes
  generate_native_histograms: native
  native_histogram_bucket_factor: 1.5
  native_histogram_max_bucket_number: 14
  native_histogram_min_reset_duration: 15s
  trace_id_label_name: trace_id
  remote_write_headers: {X-Scope-OrgID: other}
  ingestion_time_range_slack: 16s
  limiter_type: entity
  forwarder: {queue_size: 100, workers: 2}
  registry:
    stale_duration: 17m
    external_labels: {cluster: x}
    inject_tenant_id_as: tenant
    max_label_name_length: 18
    max_label_value_length: 19
    instance_label_name: __metrics_gen_instance
  processor:
    local_blocks: {anything: 1}
    host_info: {host_identifiers: [h], metric_name: m}
    service_graphs:
      wait: 20s
      max_items: 21
      workers: 1
      histogram_buckets: [1, 2.5]
      dimensions: [d]
      peer_attributes: [p]
      database_name_attributes: [n]
      enable_client_server_prefix: true
      enable_messaging_system_latency_histogram: true
      enable_virtual_node_label: true
      span_multiplier_key: k
      enable_tracestate_span_multiplier: true
      filter_policies: [{include: {match_type: regex, attributes: [{key: resource.a, value: '.*'}]}}]
      observe_absent_side: true
      enable_unpaired_metrics: true
      database_wait_for_server: true
      bridge_internal_spans: true
      use_span_links: true",
    )]);

    assert_eq!(config.ingestion.rate_limit_bytes, 1_000_000);
    assert_eq!(
        config.ingestion.artificial_delay,
        Some(Duration::from_millis(7))
    );
    assert!(!config.ingestion.retry_info_enabled);
    assert_eq!(config.forwarders, ["otlp"]);
    assert_eq!(config.ring_size, 2);
    let registry = &config.registry;
    assert_eq!(
        (
            registry.max_active_series,
            registry.max_active_entities,
            registry.max_cardinality_per_label
        ),
        (10, 11, 12)
    );
    assert_eq!(
        registry.span_name_sanitization,
        SpanNameSanitization::DryRun
    );
    assert!(registry.disable_collection && registry.stale_on_shutdown);
    assert_eq!(registry.native_histogram_max_bucket_number, 14);
    assert_eq!(
        registry.native_histogram_min_reset_duration,
        Duration::from_secs(15)
    );
    assert_eq!(
        registry.external_labels,
        BTreeMap::from([("cluster".to_owned(), "x".to_owned())])
    );
    assert_eq!(
        (
            registry.max_label_name_length,
            registry.max_label_value_length
        ),
        (18, 19)
    );
    assert_eq!(registry.instance_label_name, "__metrics_gen_instance");
    let graphs = &config.service_graphs;
    assert_eq!(
        (graphs.wait, graphs.max_items),
        (Duration::from_secs(20), 21)
    );
    assert!(graphs.observe_absent_side && graphs.enable_unpaired_metrics && graphs.use_span_links);
    assert!(graphs.database_wait_for_server && graphs.bridge_internal_spans);
    assert_eq!(graphs.histogram_buckets, [1.0, 2.5]);
}

#[test]
fn every_problem_of_a_layer_is_reported_at_once() {
    let message = read_layer(
        "metrics_generator_max_active_series: many
metrics_generator_processor_span_metrics_dimension: [a]
metrics_generator:
  trace_id_label_name: trace-id
  native_histogram_bucket_factor: 1
  collection_interval: 10ms
  remote_write_headers: {'a b': c, ok: \"x\\r\\ny\"}
  registry:
    external_labels: {1a: b, __name__: c}
    max_label_name_length: 0
  processor:
    span_metrics:
      histogram_buckets: [1, 2, 2]
      dimension_mappings: [{name: '', source_labels: []}]
      filter_policies:
      - {}
      - include:
          match_type: regex
          attributes:
          - {key: service.name, value: '(['}
          - {key: .kind, value: a}
          - {key: span., value: a}
    service_graphs: {histogram_buckets: [], wait: 0s, max_items: 0}
    host_info: {host_identifiers: []}
",
    )
    .unwrap_err();
    assert_snapshot!(message, @r#"
    overrides.yaml:1:38: overrides.acme.metrics_generator.max_active_series: "many" is not accepted; expected a whole number from 0
      |
    1 | metrics_generator_max_active_series: many
      |                                      ^^^^
    overrides.yaml:2:1: overrides.acme.metrics_generator.processor.span_metrics.dimension: unknown key; did you mean "dimensions"?
      |
    2 | metrics_generator_processor_span_metrics_dimension: [a]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    overrides.yaml:4:24: overrides.acme.metrics_generator.trace_id_label_name: "trace-id" is not a label name: letters, digits and _ are accepted, and no digit first
      |
    4 |   trace_id_label_name: trace-id
      |                        ^^^^^^^^
    overrides.yaml:5:35: overrides.acme.metrics_generator.native_histogram_bucket_factor: 1 is not accepted; expected a number above 1
      |
    5 |   native_histogram_bucket_factor: 1
      |                                   ^
    overrides.yaml:6:24: overrides.acme.metrics_generator.collection_interval: 10ms is below the minimum of 1s
      |
    6 |   collection_interval: 10ms
      |                        ^^^^
    overrides.yaml:7:33: overrides.acme.metrics_generator.remote_write_headers.a b: is not a header name
      |
    7 |   remote_write_headers: <secret>
      |                                 ^
    overrides.yaml:7:40: overrides.acme.metrics_generator.remote_write_headers.ok: may not have line breaks or other control characters
      |
    7 |   remote_write_headers: <secret>
      |                                        ^
    overrides.yaml:9:27: overrides.acme.metrics_generator.registry.external_labels.1a: "1a" is not a label name: letters, digits and _ are accepted, and no digit first
      |
    9 |     external_labels: {1a: b, __name__: c}
      |                           ^
    overrides.yaml:9:40: overrides.acme.metrics_generator.registry.external_labels.__name__: the label "__name__" is the name of the metric
      |
    9 |     external_labels: {1a: b, __name__: c}
      |                                        ^
    overrides.yaml:10:28: overrides.acme.metrics_generator.registry.max_label_name_length: must be above 0
       |
    10 |     max_label_name_length: 0
       |                            ^
    overrides.yaml:13:33: overrides.acme.metrics_generator.processor.span_metrics.histogram_buckets[2]: 2 is not above the bound before it (2)
       |
    13 |       histogram_buckets: [1, 2, 2]
       |                                 ^
    overrides.yaml:14:35: overrides.acme.metrics_generator.processor.span_metrics.dimension_mappings[0].name: may not be empty
       |
    14 |       dimension_mappings: [{name: '', source_labels: []}]
       |                                   ^^
    overrides.yaml:14:39: overrides.acme.metrics_generator.processor.span_metrics.dimension_mappings[0].source_labels: needs at least one attribute
       |
    14 |       dimension_mappings: [{name: '', source_labels: []}]
       |                                       ^^^^^^^^^^^^^
    overrides.yaml:16:9: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[0]: needs include or exclude
       |
    16 |       - {}
       |         ^
    overrides.yaml:20:19: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[1].include.attributes[0].key: "service.name" is not accepted; expected span. or resource. before an attribute, or one of kind, name, status
       |
    20 |           - {key: service.name, value: '(['}
       |                   ^^^^^^^^^^^^
    overrides.yaml:20:40: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[1].include.attributes[0].value: is not a regular expression: unclosed character class
       |
    20 |           - {key: service.name, value: '(['}
       |                                        ^^^^
    overrides.yaml:21:19: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[1].include.attributes[1].key: ".kind" is not accepted; expected span. or resource. before an attribute, or one of kind, name, status
       |
    21 |           - {key: .kind, value: a}
       |                   ^^^^^
    overrides.yaml:22:19: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[1].include.attributes[2].key: "span." is not accepted; expected span. or resource. before an attribute, or one of kind, name, status
       |
    22 |           - {key: span., value: a}
       |                   ^^^^^
    overrides.yaml:23:22: overrides.acme.metrics_generator.processor.service_graphs.histogram_buckets: needs at least one bound
       |
    23 |     service_graphs: {histogram_buckets: [], wait: 0s, max_items: 0}
       |                      ^^^^^^^^^^^^^^^^^
    overrides.yaml:23:51: overrides.acme.metrics_generator.processor.service_graphs.wait: must be longer than 0s
       |
    23 |     service_graphs: {histogram_buckets: [], wait: 0s, max_items: 0}
       |                                                   ^^
    overrides.yaml:23:66: overrides.acme.metrics_generator.processor.service_graphs.max_items: must be above 0
       |
    23 |     service_graphs: {histogram_buckets: [], wait: 0s, max_items: 0}
       |                                                                  ^
    overrides.yaml:24:17: overrides.acme.metrics_generator.processor.host_info.host_identifiers: needs at least one attribute
       |
    24 |     host_info: {host_identifiers: []}
       |                 ^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn wrong_types_and_unknown_keys_of_a_layer_are_reported_at_once() {
    let message = read_layer(
        "metrics_generator:
  processors: [span-metric, service-graphs]
  max_active_series: -1
  procesor: {}
  processor:
    span_metrics:
      dimension: [a]
      filter_policies: [{include: {match_type: fuzzy, attributes: [{key: kind, value: [a]}]}}]
      dimension_mapings: []
      dimension_mappings: []
",
    )
    .unwrap_err();
    assert_snapshot!(message, @r#"
    overrides.yaml:2:16: overrides.acme.metrics_generator.processors[0]: "span-metric" is not accepted; expected one of service-graphs, span-metrics, span-metrics-latency, span-metrics-count, span-metrics-size, host-info, local-blocks; did you mean "span-metrics"?
      |
    2 |   processors: [span-metric, service-graphs]
      |                ^^^^^^^^^^^
    overrides.yaml:3:22: overrides.acme.metrics_generator.max_active_series: -1 is not accepted; expected a whole number from 0
      |
    3 |   max_active_series: -1
      |                      ^^
    overrides.yaml:4:3: overrides.acme.metrics_generator.procesor: unknown key; did you mean "processor"?
      |
    4 |   procesor: {}
      |   ^^^^^^^^
    overrides.yaml:6:5: overrides.acme.metrics_generator.processor.span_metrics: "dimension_mappings" is set twice, under two of its names; keep one
      |
    6 |     span_metrics:
      |     ^^^^^^^^^^^^
    overrides.yaml:7:7: overrides.acme.metrics_generator.processor.span_metrics.dimension: unknown key; did you mean "dimensions"?
      |
    7 |       dimension: [a]
      |       ^^^^^^^^^
    overrides.yaml:8:48: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[0].include.match_type: "fuzzy" is not accepted; expected one of strict, regex
      |
    8 |       filter_policies: [{include: {match_type: fuzzy, attributes: [{key: kind, value: [a]}]}}]
      |                                                ^^^^^
    overrides.yaml:8:80: overrides.acme.metrics_generator.processor.span_metrics.filter_policies[0].include.attributes[0].value: a list is not accepted; expected text, a number, true or false
      |
    8 |       filter_policies: [{include: {match_type: fuzzy, attributes: [{key: kind, value: [a]}]}}]
      |                                                                                ^^^^^
    "#);
}

#[test]
fn buckets_must_be_finite_and_few() {
    let buckets = |list: &str| {
        let text = format!(
            "metrics_generator: {{processor: {{span_metrics: {{histogram_buckets: {list}}}}}}}"
        );
        read_layer(&text).map(|layer| resolved(&[layer]).span_metrics.histogram_buckets.len())
    };
    let many = |count: i32| format!("{:?}", (1..=count).collect::<Vec<_>>());
    assert_eq!(buckets(&many(1_000)), Ok(1_000));
    assert!(
        buckets(&many(1_001))
            .unwrap_err()
            .contains("at most 1000 are accepted")
    );
    for list in ["[1, .inf]", "[.nan]", "[-.inf, 1]"] {
        assert!(
            buckets(list)
                .unwrap_err()
                .contains("must be a finite number"),
            "{list}"
        );
    }
}

#[test]
fn a_problem_of_the_process_block_has_its_own_path() {
    let node = settings::read_str(
        "c.yaml",
        "registry: {collection_interval: 1ms}\nmetrics_ingestion_time_range_slack: 0s\n",
    );
    let problems = Layer::from_process(&node.unwrap()).unwrap_err();
    assert_snapshot!(problems, @r"
    c.yaml:1:33: metrics_generator.registry.collection_interval: 1ms is below the minimum of 1s
      |
    1 | registry: {collection_interval: 1ms}
      |                                 ^^^
    c.yaml:2:37: metrics_generator.metrics_ingestion_time_range_slack: must be longer than 0s
      |
    2 | metrics_ingestion_time_range_slack: 0s
      |                                     ^^
    ");
}

#[derive(Clone, Debug)]
enum Said {
    Nothing,
    Null,
    Value(u64),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Nothing),
        Just(Said::Null),
        (0..5_u64).prop_map(Said::Value)
    ]
}

proptest! {
    /// forall layers: resolving equals reading them one by one by hand.
    #[test]
    fn resolving_equals_reading_the_layers_in_order(
        stack in prop::collection::vec((said(), said()), 0..6)
    ) {
        let mut want = TenantConfig::default();
        let mut layers = Vec::new();
        for (series, interval) in stack {
            let mut text = "metrics_generator:\n  disable_collection: false\n".to_owned();
            match series {
                Said::Nothing => {}
                Said::Null => {
                    text.push_str("  max_active_series:\n");
                    want.registry.max_active_series = 0;
                }
                Said::Value(value) => {
                    text.push_str(&format!("  max_active_series: {value}\n"));
                    want.registry.max_active_series = value;
                }
            }
            match interval {
                Said::Nothing | Said::Value(0) => {}
                Said::Null => {
                    text.push_str("  collection_interval: null\n");
                    want.registry.collection_interval = Duration::from_secs(15);
                }
                Said::Value(value) => {
                    text.push_str(&format!("  collection_interval: {value}s\n"));
                    want.registry.collection_interval = Duration::from_secs(value);
                }
            }
            if matches!(interval, Said::Value(0)) {
                text.push_str("  collection_interval: 0\n");
            }
            layers.push(layer(&text));
        }
        prop_assert_eq!(resolved(&layers), want);
    }
}

#[test]
fn flat_keys_mean_what_the_nested_ones_mean() {
    let flat = layer(
        "ingestion_rate_limit_bytes: 5
max_traces_per_user: 6
metrics_generator_processors: [span-metrics, host-info]
metrics_generator_ring_size: 1
metrics_generator_max_active_series: 7
metrics_generator_collection_interval: 5s
metrics_generator_disable_collection: true
metrics_generator_generate_native_histograms: both
metrics_generator_native_histogram_bucket_factor: 1.2
metrics_generator_trace_id_label_name: id
metrics_generator_forwarder_queue_size: 8
metrics_generator_forwarder_workers: 2
metrics_generator_remote_write_headers: {A: b}
metrics_generator_ingestion_time_range_slack: 9s
metrics_generator_processor_service_graphs_dimensions: [a]
metrics_generator_processor_service_graphs_peer_attributes: [b]
metrics_generator_processor_span_metrics_dimensions: [c]
metrics_generator_processor_span_metrics_intrinsic_dimensions: {span_kind: false}
metrics_generator_processor_span_metrics_enable_target_info: true
metrics_generator_processor_local_blocks_max_live_traces: 3
metrics_generator_processor_host_info_metric_name: hosts
metrics_generator:
  processor: {span_metrics: {span_multiplier_key: k}}",
    );
    let nested = layer(
        "ingestion: {rate_limit_bytes: 5, max_traces_per_user: 6}
metrics_generator:
  processors: [span-metrics, host-info]
  ring_size: 1
  max_active_series: 7
  collection_interval: 5s
  disable_collection: true
  generate_native_histograms: both
  native_histogram_bucket_factor: 1.2
  trace_id_label_name: id
  forwarder: {queue_size: 8, workers: 2}
  remote_write_headers: {A: b}
  ingestion_time_range_slack: 9s
  processor:
    service_graphs: {dimensions: [a], peer_attributes: [b]}
    span_metrics:
      dimensions: [c]
      intrinsic_dimensions: {span_kind: false}
      enable_target_info: true
      span_multiplier_key: k
    local_blocks: {max_live_traces: 3}
    host_info: {metric_name: hosts}",
    );
    let paths = |layer: &Layer| {
        let ignored: Vec<_> = layer.ignored().iter().map(|key| key.path.clone()).collect();
        ignored
    };
    assert_eq!(paths(&flat), paths(&nested));
    let config = resolved(&[flat]);
    assert_eq!(config.registry.max_active_series, 7);
    assert_eq!(config.span_metrics.span_multiplier_key, "k");
    assert_eq!(config, resolved(&[nested]));
}

#[test]
fn a_flat_key_is_refused_where_its_nested_one_is_set_or_its_block_is_none() {
    let message = read_layer(
        "metrics_generator_max_active_series: 1
metrics_generator: {max_active_series: 2}
ingestion: 5
ingestion_rate_limit_bytes: 6
",
    )
    .unwrap_err();
    assert_snapshot!(message, @r"
    overrides.yaml:1:1: overrides.acme.metrics_generator.max_active_series: is set twice: in the flat format here, and in the nested one; keep one
      |
    1 | metrics_generator_max_active_series: 1
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    overrides.yaml:3:12: overrides.acme.ingestion: 5 is not accepted; expected a mapping with the keys rate_strategy, rate_limit_bytes, burst_size_bytes, max_traces_per_user, max_global_traces_per_user, tenant_shard_size, max_attribute_bytes, artificial_delay, retry_info_enabled
      |
    3 | ingestion: 5
      |            ^
    ");
}
