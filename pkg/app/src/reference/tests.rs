use insta::assert_snapshot;

use super::*;

#[test]
fn a_key_is_explained_by_its_path_or_by_its_end() {
    assert_snapshot!(explain("metrics_generator.registry.stale_duration").unwrap(), @r#"
    metrics_generator.registry.stale_duration
      duration; default: "15m"
      How long a series may go without a span before it ends. Default: 15m.
    "#);
    assert_snapshot!(explain("storage.spool.fsync").unwrap(), @r#"
    metrics_generator.storage.spool.fsync
      append, segment, never; default: "segment"
      What survives a loss of power. Whatever ends the process alone, nothing that was
      collected is lost. `append` forces every collection to the disk; `segment` every
      8 MiB and what there is at a stop; `never` leaves it to the system. Default:
      segment.
      append: After each collection of a tenant: nothing collected is lost, at the price of about a millisecond of disk a tenant and collection.
      segment: When a segment is full, and at a stop: the last half minute or so may be lost.
      never: When the system sees fit.
    "#);
    assert_snapshot!(explain("metadata_config").unwrap(), @r"
    metrics_generator.storage.remote_write[].metadata_config
      Accepted for compatibility: over protocol 1.0 no metadata is sent, and in
      2.0 it is part of each series.
      keys: send, send_interval, max_samples_per_send

    overrides.defaults.metrics_generator.remote_write[].metadata_config
      Accepted for compatibility: over protocol 1.0 no metadata is sent, and in
      2.0 it is part of each series.
      keys: send, send_interval, max_samples_per_send
    ");
    let exact = explain("metrics_generator.storage.remote_write[3].url").unwrap();
    assert!(
        exact.starts_with("metrics_generator.storage.remote_write[].url\n  secret"),
        "{exact}"
    );
    assert_snapshot!(explain("distributor.receivers.otlp.protocols").unwrap(), @r"
    distributor.receivers.otlp.protocols
      The protocols that it speaks; at least one.
      keys: grpc, http
    ");
    assert_snapshot!(explain("ingester").unwrap(), @r"
    ingester
      Without effect: a key of Tempo that does not concern spanmill.
    ");
    let found = explain("dimensions").unwrap();
    assert_eq!(
        found.matches("span_metrics.dimensions\n").count(),
        2,
        "{found}"
    );
    let unknown = explain("colection_interval").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no key \"colection_interval\"; did you mean \"collection_interval\"?"
    );
}

#[test]
fn every_key_of_the_schema_is_described() {
    for schema in [configuration_schema(), runtime_file_schema()] {
        let tree = tree::Tree(&schema);
        let all = tree.all();
        assert!(all.len() > 80, "{}", all.len());
        for (path, property) in all {
            assert_ne!(tree::description(tree, property), "", "{path}");
        }
    }
}

/// The schema's defaults are those that the program has, secrets apart.
#[test]
fn defaults_of_the_schema_are_those_in_force() {
    let schema = configuration_schema();
    let tree = tree::Tree(&schema);
    let defaults = serde_json::to_value(AppConfig::default()).unwrap();
    let mut compared = 0;
    for (path, property) in tree.all() {
        let in_force = defaults.pointer(&format!("/{}", path.replace('.', "/")));
        let (Some(in_force), Some(default)) = (in_force, property.get("default")) else {
            continue;
        };
        if tree.block(property).is_none() {
            assert_eq!(default, in_force, "{path}");
            compared += 1;
        }
    }
    assert!(compared > 70, "{compared}");
}

#[test]
fn the_schema_knows_ignored_keys_other_names_and_flat_ones_and_no_others() {
    let schema = configuration_schema();
    assert_eq!(schema["additionalProperties"], false);
    let top = &schema["properties"];
    assert_eq!(top["ingester"]["deprecated"], true);
    assert_eq!(top["auth_enabled"]["type"], "boolean");
    assert_eq!(
        top["auth_enabled"]["description"],
        "The same as `multitenancy_enabled`."
    );
    assert_eq!(
        top["http_api_prefix"]["type"],
        json!(["string", "number", "boolean"])
    );
    assert_eq!(top["server"]["default"], Value::Null);
    let types = &schema["$defs"];
    assert_eq!(
        types["ServerConfig"]["properties"]["throughput"]["deprecated"],
        true
    );
    for of_type in WITH_FLAT_KEYS {
        let flat = types[of_type]["patternProperties"].as_object().unwrap();
        assert!(flat.contains_key(FLAT_KEYS), "{of_type}");
    }
}

#[test]
fn every_metric_has_a_name_of_its_own_and_is_told_about() {
    let described = metrics::described();
    assert!(described.len() > 40, "{}", described.len());
    for (index, metric) in described.iter().enumerate() {
        assert!(metric.name.starts_with("spanmill_"), "{metric:?}");
        assert!(!metric.help.is_empty(), "{metric:?}");
        assert!(
            described
                .iter()
                .skip(index + 1)
                .all(|other| other.name != metric.name)
        );
    }
}

/// Metrics that people are told to look at exist.
#[test]
fn metrics_that_documents_name_are_registered() {
    let described = metrics::described();
    let documents = [
        include_str!("../../../../README.md"),
        include_str!("../../../../config/overrides.example.yaml"),
        include_str!("../../../../docs/differences.md"),
        include_str!("../../../../docs/overrides-api.md"),
        include_str!("../../../../docs/reference/tempo-keys.md"),
    ];
    let mut named = 0;
    for document in documents {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = document.split(|c| !is_part(c));
        let of_components = ["distributor", "generator", "overrides", "remote_write"];
        let is_metric = |word: &&str| {
            of_components
                .iter()
                .any(|part| word.starts_with(&format!("spanmill_{part}_")) && !word.ends_with('_'))
        };
        for word in words.filter(is_metric) {
            named += 1;
            assert!(
                described.iter().any(|metric| metric.name == word),
                "{word} is named and not registered"
            );
        }
    }
    assert!(named >= 5, "{named}");
}
