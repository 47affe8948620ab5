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
        let overrides = Overrides::from_snapshot(Snapshot::default());
        let mut reloader = Reloader {
            overrides,
            sources,
            metrics: OverridesMetrics::register(&mut metrics),
            seen: Seen::Good(None),
            unavailable: BTreeSet::new(),
        };
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
fn every_problem_of_a_runtime_file_keeps_it_from_starting() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "overrids: {}
overrides:
  a: {metrics_generator: {max_active_series: many}}
  a/b: {}
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
    FILE:2:46: overrides.a.metrics_generator.max_active_series: "many" is not accepted; expected a whole number from 0
      |
    2 |   a: {metrics_generator: {max_active_series: many}}
      |                                              ^^^^
    FILE:3:3: overrides.a/b: tenant id has the character '/'; letters, digits and !-_.*'() are allowed
      |
    3 |   a/b: {}
      |   ^^^
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
        "overrides: {a: {ingestion: {rate_strategy: global, rate_limit_bytes: 1}}}",
    )
    .unwrap();
    let sources = sources("overrides: {}", std::path::Path::new(""));
    let snapshot = Snapshot::resolve(&sources, Some(&root)).unwrap();
    assert_eq!(
        snapshot.warnings,
        [
            "r.yaml:1:44: overrides.a.ingestion.rate_strategy is ignored: it is the same for all \
          tenants, and set in overrides.defaults"
        ]
    );
    let ingestion = &snapshot.for_tenant(&tenant("a")).ingestion;
    assert_eq!(ingestion.rate_strategy, crate::RateStrategy::Local);
    assert_eq!(ingestion.rate_limit_bytes, 1);
}

#[test]
fn a_stale_duration_below_the_interval_is_warned_of() {
    let config = "metrics_generator: {registry: {stale_duration: 20s}}";
    let sources = sources(config, std::path::Path::new(""));
    let root = "overrides: {a: {metrics_generator: {collection_interval: 30s}}, b: {}}";
    let root = settings::read_str("r.yaml", root).unwrap();
    let snapshot = Snapshot::resolve(&sources, Some(&root)).unwrap();
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
    let snapshot = Snapshot::resolve(&sources, Some(&root.unwrap())).unwrap();
    let names: Vec<_> = snapshot.unavailable().into_iter().collect();
    assert_eq!(names, ["local-blocks"]);
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
    let snapshot = resolve(&sources, Some(runtime)).unwrap();
    assert_eq!(snapshot.for_tenant(&tenant("a")).remote_write.len(), 1);
}
