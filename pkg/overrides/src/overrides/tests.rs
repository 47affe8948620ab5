use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_snapshot;
use telemetry::{encode_metrics, new_metrics_registry};

use super::*;
use crate::config::OverridesConfig;
use crate::tenant_config::processors::{Processor, Processors};

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// A runtime file that is read again when a test says so.
struct Harness {
    file: tempfile::NamedTempFile,
    metrics: telemetry::MetricsRegistry,
    reloader: Reloader,
}

fn sources(config: &str, file: &std::path::Path) -> OverridesSources {
    let root = settings::read_str("config.yaml", config).unwrap();
    let config = OverridesConfig {
        per_tenant_override_config: file.to_owned(),
        ..OverridesConfig::default()
    };
    OverridesSources::from_config(&root, &config).unwrap()
}

impl Harness {
    fn new(config: &str, runtime: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), runtime).unwrap();
        let mut metrics = new_metrics_registry();
        let sources = sources(config, file.path());
        let mut reloader = Reloader::new(sources, OverridesMetrics::register(&mut metrics));
        reloader.reload();
        Self {
            file,
            metrics,
            reloader,
        }
    }

    fn reload(&mut self, runtime: &str) {
        std::fs::write(self.file.path(), runtime).unwrap();
        self.reloader.reload();
    }

    fn get(&self, id: &str) -> Arc<TenantConfig> {
        self.reloader.overrides.for_tenant(&tenant(id))
    }

    fn limit(&self, id: &str) -> u64 {
        self.get(id).registry.max_active_series
    }

    fn metric(&self, name: &str) -> String {
        let text = encode_metrics(&self.metrics);
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.to_owned()
    }
}

const CONFIG: &str = "metrics_generator: {registry: {external_labels: {cluster: x}}}
overrides: {defaults: {metrics_generator: {max_active_series: 1}}}";

#[test]
fn layers_go_from_the_process_to_the_tenant() {
    let harness = Harness::new(
        CONFIG,
        "overrides:
  '*': {metrics_generator: {max_active_series: 2, processors: [span-metrics]}}
  acme: {metrics_generator: {max_active_series: 3}}
  zero: {metrics_generator: {max_active_series: ~}}
",
    );
    let (other, acme) = (harness.get("other"), harness.get("acme"));
    assert_eq!(
        (
            harness.limit("other"),
            harness.limit("acme"),
            harness.limit("zero")
        ),
        (2, 3, 0)
    );
    let both = Processors::from([Processor::SpanMetrics]);
    assert_eq!((acme.processors, other.processors), (both, both));
    assert_eq!(acme.registry.external_labels["cluster"], "x");
    assert!(harness.reloader.overrides.any_processor_configured());
    assert_eq!(
        harness.metric("spanmill_overrides_tenants"),
        "spanmill_overrides_tenants 2"
    );
}

#[test]
fn a_change_reaches_its_tenant_and_leaves_the_others_as_they_are() {
    let mut harness = Harness::new(
        CONFIG,
        "overrides: {a: {metrics_generator: {max_active_series: 5}}, b: {}}",
    );
    let (a, b, c) = (harness.get("a"), harness.get("b"), harness.get("c"));
    assert!(Arc::ptr_eq(&a, &harness.get("a")));

    harness.reload("overrides: {a: {metrics_generator: {max_active_series: 6}}, c: {}}");
    assert_eq!(harness.limit("a"), 6);
    assert!(!Arc::ptr_eq(&a, &harness.get("a")));
    assert!(Arc::ptr_eq(&b, &harness.get("b")));
    assert!(Arc::ptr_eq(&c, &harness.get("c")));
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_state_until_it_is_mended() {
    let good = "overrides: {a: {metrics_generator: {max_active_series: 5}}}";
    let mut harness = Harness::new(CONFIG, good);
    let failed = |harness: &Harness| harness.metric("spanmill_overrides_reload_failed");
    assert_eq!(failed(&harness), "spanmill_overrides_reload_failed 0");

    harness.reload("overrides: {a: {metrics_generator: {max_active_series: many}}}");
    assert_eq!(failed(&harness), "spanmill_overrides_reload_failed 1");
    assert_eq!(harness.limit("a"), 5);

    harness.reload(good);
    assert_eq!(failed(&harness), "spanmill_overrides_reload_failed 0");

    std::fs::remove_file(harness.file.path()).unwrap();
    harness.reloader.reload();
    assert_eq!(failed(&harness), "spanmill_overrides_reload_failed 1");
    assert_eq!(harness.limit("a"), 5);
}

#[test]
fn problems_of_the_runtime_file_itself_keep_it_from_starting() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "overrids: {}
overrides:
  '*': {metrics_generator: {max_active_series: many}}
";
    std::fs::write(file.path(), text).unwrap();
    let start = || {
        Overrides::start(
            sources(CONFIG, file.path()),
            OverridesMetrics::default(),
            &TaskGroup::new(),
            &Shutdown::new(),
        )
        .map_err(|problems| {
            problems
                .to_string()
                .replace(&file.path().display().to_string(), "FILE")
        })
    };
    assert_snapshot!(start().unwrap_err(), @r#"
    FILE:1:1: overrids: unknown key; did you mean "overrides"?
      |
    1 | overrids: {}
      | ^^^^^^^^
    "#);
    std::fs::write(file.path(), text.replace("overrids: {}\n", "")).unwrap();
    assert_snapshot!(start().unwrap_err(), @r#"
    FILE:2:48: overrides.*.metrics_generator.max_active_series: "many" is not accepted; expected a whole number from 0
      |
    2 |   '*': {metrics_generator: {max_active_series: many}}
      |                                                ^^^^
    "#);
    std::fs::remove_file(file.path()).unwrap();
    assert_snapshot!(start().unwrap_err(), @r"FILE: cannot read the file: No such file or directory (os error 2)");
}

#[test]
fn started_overrides_follow_the_file_until_shutdown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "overrides: {a: {metrics_generator: {max_active_series: 5}}}",
    )
    .unwrap();
    let mut sources = sources(CONFIG, file.path());
    sources.period = Duration::from_millis(5);
    let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
    let overrides =
        Overrides::start(sources, OverridesMetrics::default(), &tasks, &shutdown).unwrap();
    assert_eq!(
        overrides
            .for_tenant(&tenant("a"))
            .registry
            .max_active_series,
        5
    );

    std::fs::write(
        file.path(),
        "overrides: {a: {metrics_generator: {max_active_series: 6}}}",
    )
    .unwrap();
    while overrides
        .for_tenant(&tenant("a"))
        .registry
        .max_active_series
        != 6
    {
        std::thread::yield_now();
    }
    shutdown.trigger();
    while tasks.running() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn the_rate_strategy_of_a_tenant_is_ignored_with_a_warning() {
    let root = settings::read_str(
        "r.yaml",
        "overrides: {a: {ingestion: {rate_strategy: global, tenant_shard_size: 1}}}",
    )
    .unwrap();
    let sources = sources("overrides: {}", std::path::Path::new(""));
    let snapshot = Snapshot::resolve(&sources, Some(&root), None).unwrap();
    assert_eq!(
        snapshot.warnings,
        [
            "r.yaml:1:44: overrides.a.ingestion.rate_strategy is ignored: it is the same for all \
          tenants, and set in overrides.defaults",
            "r.yaml:1:52: overrides.a.ingestion.tenant_shard_size has no effect here and is ignored"
        ]
    );
    let ingestion = &snapshot.for_tenant(&tenant("a")).ingestion;
    assert_eq!(ingestion.rate_strategy, crate::RateStrategy::Local);
}

#[test]
fn a_stale_duration_below_the_interval_is_warned_of() {
    let config = "metrics_generator: {registry: {stale_duration: 20s}}";
    let sources = sources(config, std::path::Path::new(""));
    let root = "overrides: {a: {metrics_generator: {collection_interval: 30s}}, b: {}}";
    let root = settings::read_str("r.yaml", root).unwrap();
    let snapshot = Snapshot::resolve(&sources, Some(&root), None).unwrap();
    assert_eq!(
        snapshot.warnings,
        [
            "tenant a: registry.stale_duration (20s) is shorter than collection_interval (30s): \
          series that get no span in time end uncollected"
        ]
    );
}

#[test]
fn what_this_version_lacks_is_named() {
    let root = settings::read_str(
        "r.yaml",
        "overrides: {a: {metrics_generator: {processors: [span-metrics, local-blocks, host-info]}}}",
    );
    let sources = sources("overrides: {}", std::path::Path::new(""));
    let snapshot = Snapshot::resolve(&sources, Some(&root.unwrap()), None).unwrap();
    assert_eq!(
        snapshot.unavailable(),
        BTreeMap::from([("local-blocks", 1)])
    );
}

#[test]
fn tenants_without_destinations_of_their_own_share_one_list() {
    let process = "metrics_generator: {storage: {remote_write: [{url: 'http://127.0.0.1/'}]}}";
    let mut harness = Harness::new(
        process,
        "overrides:
  a: {metrics_generator: {max_active_series: 1}}
  b: {metrics_generator: {remote_write: [{url: 'http://b/'}]}}",
    );
    let [a, b, default] = ["a", "b", "c"].map(|id| harness.get(id).remote_write.clone());
    assert!(Arc::ptr_eq(&a, &default));
    assert_eq!(b[0].url.expose(), "http://b/");
    assert!(default[0].author.allowed_addresses().is_none());
    assert!(b[0].author.allowed_addresses().is_some());

    harness.reload("overrides: {b: {metrics_generator: {max_active_series: 1}}}");
    assert_eq!(harness.get("b").remote_write, default);
}

#[test]
fn destinations_of_the_runtime_file_need_an_allowed_address() {
    let runtime = "overrides: {a: {metrics_generator: {remote_write: [{url: 'http://[::1]/'}]}}}";
    let mut harness = Harness::new("{}", "overrides: {}");
    harness.reload(runtime);
    assert!(harness.get("a").remote_write.is_empty());

    let file = tempfile::NamedTempFile::new().unwrap();
    let config = OverridesConfig {
        per_tenant_override_config: file.path().to_owned(),
        remote_write_allowed_addresses: serde_json::from_str("[\"loopback\"]").unwrap(),
        ..OverridesConfig::default()
    };
    let root = settings::read_str("config.yaml", "{}").unwrap();
    let sources = OverridesSources::from_config(&root, &config).unwrap();
    let snapshot = sources.resolve(Some(runtime), None).unwrap();
    assert_eq!(snapshot.for_tenant(&tenant("a")).remote_write.len(), 1);
}

#[test]
fn a_wrong_entry_keeps_its_last_good_state_and_harms_no_other_tenant() {
    let mut harness = Harness::new(
        CONFIG,
        "overrides:
  a: {metrics_generator: {max_active_series: 5, processors: [span-metrics]}}
  b: {metrics_generator: {max_active_series: 6}}",
    );
    let gauges = |harness: &Harness| {
        [
            "spanmill_overrides_reload_failed",
            "spanmill_overrides_refused_entries",
        ]
        .map(|name| harness.metric(name).replace(name, ""))
    };
    assert_eq!(gauges(&harness), [" 0", " 0"]);

    harness.reload(
        "overrides:
  '*': {metrics_generator: {processors: [host-info], disable_collection: true}}
  a: {metrics_generator: {max_active_series: many}}
  b: {metrics_generator: {max_active_series: 7}}
  new: {metrics_generator: {trace_id_label_name: 1-}}
  a/b: {}",
    );
    assert_eq!(gauges(&harness), [" 1", " 2"]);
    let a = harness.get("a");
    assert_eq!(a.registry.max_active_series, 5);
    assert_eq!(a.processors, Processors::from([Processor::SpanMetrics]));
    // What others say below it still counts.
    assert!(a.registry.disable_collection);
    assert_eq!(harness.limit("b"), 7);
    assert_eq!(harness.get("new"), harness.get("other"));

    harness.reload("overrides: {a: {metrics_generator: {max_active_series: 8}}}");
    assert_eq!(gauges(&harness), [" 0", " 0"]);
    assert_eq!(harness.limit("a"), 8);
}

#[test]
fn a_check_tells_every_problem_of_entries_which_a_start_survives() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "overrides:
  a: {metrics_generator: {max_active_series: many}}
  a/b: {}
  b: {metrics_generator: {max_active_series: 2}}
";
    std::fs::write(file.path(), text).unwrap();
    let sources = sources(CONFIG, file.path());
    let problems = sources.check().unwrap_err().to_string();
    let problems = problems.replace(&file.path().display().to_string(), "FILE");
    assert_snapshot!(problems, @r#"
    FILE:2:46: overrides.a.metrics_generator.max_active_series: "many" is not accepted; expected a whole number from 0
      |
    2 |   a: {metrics_generator: {max_active_series: many}}
      |                                              ^^^^
    FILE:3:3: overrides.a/b: tenant id has the character '/'; letters, digits and !-_.*'() are allowed
      |
    3 |   a/b: {}
      |   ^^^
    "#);
    let overrides = Overrides::start(
        sources,
        OverridesMetrics::default(),
        &TaskGroup::new(),
        &Shutdown::new(),
    )
    .unwrap();
    let limit = |id| overrides.for_tenant(&tenant(id)).registry.max_active_series;
    assert_eq!([limit("a"), limit("b")], [1, 2]);
}

#[test]
fn a_file_that_looks_changed_is_read_before_its_period_is_over() {
    let mut harness = Harness::new(CONFIG, "overrides: {}");
    harness.reloader.sources.period = Duration::from_secs(3600);
    harness.reloader.look(LOOK);
    let longer = "overrides: {a: {metrics_generator: {max_active_series: 5}}}";
    std::fs::write(harness.file.path(), longer).unwrap();
    harness.reloader.look(LOOK);
    assert_eq!(harness.limit("a"), 5);

    // As a mounted volume does: another file, of the same length and time.
    let modified = std::fs::metadata(harness.file.path()).unwrap().modified();
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), longer.replace('5', "6")).unwrap();
    other.as_file().set_modified(modified.unwrap()).unwrap();
    std::fs::rename(other.path(), harness.file.path()).unwrap();
    harness.reloader.look(LOOK);
    assert_eq!(harness.limit("a"), 6);
}

#[test]
fn a_file_that_looks_unchanged_is_read_each_period() {
    let text =
        |limit| format!("overrides: {{a: {{metrics_generator: {{max_active_series: {limit}}}}}}}");
    let mut harness = Harness::new(CONFIG, &text(5));
    harness.reloader.sources.period = 2 * LOOK;
    harness.reloader.look(2 * LOOK);
    let stamp = harness
        .file
        .as_file()
        .metadata()
        .unwrap()
        .modified()
        .unwrap();
    std::fs::write(harness.file.path(), text(6)).unwrap();
    harness.file.as_file().set_modified(stamp).unwrap();
    harness.reloader.look(LOOK);
    assert_eq!(harness.limit("a"), 5);
    harness.reloader.look(LOOK);
    assert_eq!(harness.limit("a"), 6);
}

#[test]
fn environment_variables_in_the_runtime_file_are_read_where_asked_for() {
    let text = "overrides: {a: {metrics_generator: {max_active_series: '${SPANMILL_NOT_SET:5}'}}}";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.replace('\'', "")).unwrap();
    let mut sources = sources(CONFIG, file.path());
    sources.expand_env(true);
    let read = sources.read().unwrap();
    let snapshot = sources.resolve(read.as_deref(), None).unwrap();
    assert_eq!(
        snapshot.for_tenant(&tenant("a")).registry.max_active_series,
        5
    );
    sources.expand_env(false);
    assert!(
        sources
            .read()
            .unwrap()
            .unwrap()
            .contains("${SPANMILL_NOT_SET:5}")
    );
}

#[test]
fn a_processor_that_this_version_lacks_is_told_and_has_a_gauge_while_it_is_asked_for() {
    let asked = "processors: [span-metrics, local-blocks]";
    let mut harness = Harness::new(
        CONFIG,
        &format!("overrides: {{'*': {{metrics_generator: {{{asked}}}}}, a: {{}}}}"),
    );
    assert_eq!(
        harness.metric("spanmill_overrides_unavailable_processors"),
        "spanmill_overrides_unavailable_processors{processor=\"local-blocks\"} 2"
    );
    assert_eq!(
        harness.reloader.sources.check().unwrap(),
        ["the processor local-blocks is not in this version, and is left out"]
    );
    harness.reload("overrides: {}");
    let text = encode_metrics(&harness.metrics);
    assert!(!text.contains("unavailable_processors{"), "{text}");
}

#[test]
fn only_forwarders_that_there_are_can_be_named() {
    let resolve = |defaults: &str, entries: &str| {
        let mut sources = sources(defaults, std::path::Path::new(""));
        sources.set_forwarders(["store".to_owned(), "copy".to_owned()]);
        let root = settings::read_str("r.yaml", entries).unwrap();
        Snapshot::resolve(&sources, Some(&root), None)
    };
    let snapshot = resolve(
        "overrides: {defaults: {forwarders: [store]}}",
        "overrides: {a: {forwarders: [store, none]}, b: {forwarders: [copy]}}",
    )
    .unwrap();
    assert_eq!(
        snapshot.refused.summary(),
        "overrides.a.forwarders[1]: there is no forwarder \"none\" in distributor.forwarders"
    );
    assert_eq!(snapshot.for_tenant(&tenant("a")).forwarders, ["store"]);
    assert_eq!(snapshot.for_tenant(&tenant("b")).forwarders, ["copy"]);
    let wrong = resolve(
        "overrides: {defaults: {forwarders: [none]}}",
        "overrides: {}",
    );
    assert_eq!(
        wrong.unwrap_err().summary(),
        "forwarders[0]: there is no forwarder \"none\" in distributor.forwarders"
    );
}

#[test]
fn keys_without_effect_are_told_once_for_all_entries() {
    let root = settings::read_str(
        "r.yaml",
        "overrides:
  a: {compaction: {x: 1}, metrics_generator: {ring_size: 2, max_active_series: 1}}
  b: {metrics_generator: {ring_size: 2, forwarder: {workers: 1}}}
  c: {read: , metrics_generator: {ring_size: 2}}",
    );
    let sources = sources("{}", std::path::Path::new(""));
    let snapshot = Snapshot::resolve(&sources, Some(&root.unwrap()), None).unwrap();
    assert_eq!(
        snapshot.warnings,
        [
            "r.yaml:2:7: overrides.a.compaction has no effect here and is ignored",
            "r.yaml:3:41: overrides.b.metrics_generator.forwarder has no effect here and is ignored",
            "r.yaml:2:47: overrides.a.metrics_generator.ring_size has no effect here and is \
             ignored, in 3 entries",
        ]
    );
}

#[test]
fn each_setting_of_a_tenant_is_explained_by_the_layer_that_decides() {
    let harness = Harness::new(
        "metrics_generator:
  registry: {collection_interval: 5s, external_labels: {cluster: x, zone: z}}
  processor: {service_graphs: {wait: 3s}}
overrides:
  defaults: {metrics_generator: {max_active_series: 1, trace_id_label_name: id}}
",
        "overrides:
  '*': {metrics_generator: {processors: [span-metrics], registry: {external_labels: {zone: y}}}}
  a:
    metrics_generator:
      trace_id_label_name:
      processor: {service_graphs: }
      remote_write_headers: {X-Key: hunter2}
",
    );
    let overrides = &harness.reloader.overrides;
    let explained = overrides.explain(&tenant("a")).unwrap();
    let file = harness.file.path().display().to_string();
    let of = |path: &str| {
        let found = explained.iter().find(|found| found.path == path).unwrap();
        let place = found.place.clone().unwrap_or_default();
        format!(
            "{} {} {}",
            found.value,
            found.layer,
            place.replace(&file, "FILE")
        )
    };
    for (path, want) in [
        (
            "metrics_generator.collection_interval",
            "\"5s\" metrics_generator config.yaml:2:14",
        ),
        (
            "metrics_generator.max_active_series",
            "1 overrides.defaults config.yaml:5:34",
        ),
        (
            "metrics_generator.processors",
            "[\"span-metrics\"] * FILE:2:29",
        ),
        (
            "metrics_generator.registry.external_labels.cluster",
            "\"x\" metrics_generator config.yaml:2:57",
        ),
        (
            "metrics_generator.registry.external_labels.zone",
            "\"y\" * FILE:2:86",
        ),
        (
            "metrics_generator.trace_id_label_name",
            "\"traceID\" built-in FILE:5:7",
        ),
        (
            "metrics_generator.processor.service_graphs.wait",
            "\"10s\" built-in FILE:6:19",
        ),
        (
            "metrics_generator.remote_write_headers.X-Key",
            "\"<secret>\" tenant FILE:7:30",
        ),
        ("metrics_generator.disable_collection", "false built-in "),
    ] {
        assert_eq!(of(path), want, "{path}");
    }
    for ignored in ["ingestion.tenant_shard_size", "metrics_generator.ring_size"] {
        assert!(
            !explained
                .iter()
                .any(|found| found.path.starts_with(ignored)),
            "{ignored}"
        );
    }
    let paths: std::collections::BTreeSet<_> = explained.iter().map(|found| &found.path).collect();
    assert_eq!(paths.len(), explained.len());
    assert_eq!(overrides.tenants(), [tenant("a")]);
}

/// A reload takes a while, and a tenant changes its own settings meanwhile.
#[test]
fn a_reload_keeps_what_a_tenant_has_set_since_it_began() {
    let mut harness = Harness::new(CONFIG, "overrides: {}");
    let overrides = harness.reloader.overrides.clone();
    let layer = |text: &str| {
        let node = settings::read_str("api", text).unwrap();
        let layer = Layer::from_overrides(&node, "", crate::Author::Operator);
        Some(Arc::new(layer.unwrap()))
    };
    let set = |id: &str, layer| overrides.set_api_layers(vec![(tenant(id), layer)]);
    set(
        "gone",
        layer("metrics_generator: {disable_collection: true}"),
    );
    let before = overrides.0.snapshot.load_full();
    let reloaded = harness
        .reloader
        .sources
        .resolve(Some("{}"), Some(&before))
        .unwrap();
    set("gone", None);
    set(
        "new",
        layer("metrics_generator: {disable_collection: true}"),
    );
    harness.reloader.put(reloaded);
    let is_off = |id: &str| harness.get(id).registry.disable_collection;
    assert_eq!((is_off("gone"), is_off("new")), (false, true));
}
