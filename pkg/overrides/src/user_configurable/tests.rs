use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::OverridesConfig;
use crate::provenance::LayerName;
use crate::sources::OverridesSources;
use crate::tenant_config::processors::{Processor, Processors};

/// Processes that share a directory, each with the same runtime file.
struct Host {
    store: TempDir,
    runtime_file: tempfile::NamedTempFile,
}

/// One of them.
struct Process {
    overrides: Overrides,
    api: UserOverrides,
    registry: telemetry::MetricsRegistry,
    tasks: TaskGroup,
    shutdown: Shutdown,
}

impl Host {
    fn new(runtime: &str) -> Self {
        let runtime_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(runtime_file.path(), runtime).unwrap();
        Self {
            store: tempfile::tempdir().unwrap(),
            runtime_file,
        }
    }

    async fn start(&self, config: serde_json::Value) -> Process {
        let text = "overrides: {defaults: {metrics_generator: {max_active_series: 7}}}";
        let root = settings::read_str("config.yaml", text).unwrap();
        let of_overrides = OverridesConfig {
            per_tenant_override_config: self.runtime_file.path().to_owned(),
            ..OverridesConfig::default()
        };
        let sources = OverridesSources::from_config(&root, &of_overrides).unwrap();
        let mut registry = telemetry::new_metrics_registry();
        let metrics = OverridesMetrics::register(&mut registry);
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        let overrides = Overrides::start(sources, metrics.clone(), &tasks, &shutdown).unwrap();
        let config: UserConfigurableConfig = serde_json::from_value(config).unwrap();
        let started = UserOverrides::start(
            &config,
            self.store.path(),
            overrides.clone(),
            &metrics,
            &tasks,
            &shutdown,
        );
        let api = started.await.unwrap();
        Process {
            overrides,
            api,
            registry,
            tasks,
            shutdown,
        }
    }

    /// The file of a tenant in the store.
    fn file(&self, id: &str) -> std::path::PathBuf {
        let directory = self.store.path().join(tenant(id).directory());
        directory.join("overrides.json")
    }
}

impl Process {
    async fn replace(
        &self,
        id: &str,
        document: serde_json::Value,
        if_match: &str,
    ) -> Result<Changed, UserOverridesError> {
        let change = Change::Replace(document.to_string().into());
        let if_match = Some(IfMatch::parse(if_match));
        self.api
            .change(&tenant(id), change, if_match, false, |_| ())
            .await
    }

    async fn patch(
        &self,
        id: &str,
        patch: serde_json::Value,
        if_match: Option<&Version>,
    ) -> Result<Changed, UserOverridesError> {
        let change = Change::Patch(patch.to_string().into());
        let if_match = if_match.map(|version| IfMatch::parse(&version.to_string()));
        self.api
            .change(&tenant(id), change, if_match, false, |_| ())
            .await
    }

    fn interval(&self, id: &str) -> Duration {
        let config = self.overrides.for_tenant(&tenant(id));
        config.registry.collection_interval
    }

    fn metric(&self, name: &str) -> String {
        let text = telemetry::encode_metrics(&self.registry);
        let name = format!("spanmill_overrides_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().to_owned()
    }

    async fn end(self) {
        self.shutdown.trigger();
        assert!(self.tasks.join(Duration::from_secs(30)).await.is_empty());
    }
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn interval(seconds: u64) -> serde_json::Value {
    json!({"metrics_generator": {"collection_interval": format!("{seconds}s")}})
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_settings_are_above_all_and_leave_the_rest() {
    let host = Host::new(
        "overrides:
  acme: {metrics_generator: {
    collection_interval: 20s, max_active_series: 9, processors: [span-metrics]}}",
    );
    let process = host.start(json!({"enabled": true})).await;
    let before = process.overrides.for_tenant(&tenant("acme"));
    let other = process.overrides.for_tenant(&tenant("other"));
    let document = json!({"metrics_generator": {
        "collection_interval": "30s", "processors": ["service-graphs"]}});
    let changed = process
        .replace("acme", document.clone(), "0")
        .await
        .unwrap();
    assert_eq!(changed.before, None);

    let config = process.overrides.for_tenant(&tenant("acme"));
    assert_eq!(config.registry.collection_interval, seconds(30));
    assert_eq!(config.registry.max_active_series, 9);
    // As in Tempo 2.10, they are added up.
    let both = Processors::from([Processor::SpanMetrics, Processor::ServiceGraphs]);
    assert_eq!(config.processors, both);
    assert!(Arc::ptr_eq(
        &other,
        &process.overrides.for_tenant(&tenant("other"))
    ));

    let stored = process.api.stored(&tenant("acme")).await.unwrap();
    assert_eq!(stored.document.as_json(), &document);
    let (merged, version) = process.api.merged(&tenant("acme")).unwrap();
    assert_eq!(version, Some(stored.version.clone()));
    assert_eq!(merged["metrics_generator"]["collection_interval"], "30s");
    assert_eq!(
        merged["metrics_generator"]["max_active_series"],
        json!(null)
    );
    let (settings, _) = process.api.explained(&tenant("acme")).unwrap();
    let layer = |path: &str| {
        settings
            .iter()
            .find(|found| found.path == path)
            .map(|s| s.layer)
    };
    assert_eq!(
        layer("metrics_generator.collection_interval"),
        Some(LayerName::Api)
    );
    assert_eq!(
        layer("metrics_generator.disable_collection"),
        Some(LayerName::BuiltIn)
    );
    assert_eq!(layer("metrics_generator.max_active_series"), None);
    assert!(settings.iter().all(|setting| setting.place.is_none()));

    let if_match = Some(IfMatch::Any);
    let deleted = process
        .api
        .change(&tenant("acme"), Change::Delete, if_match, false, |_| ())
        .await;
    let deleted = deleted.unwrap();
    assert!(deleted.now.is_none());
    assert_eq!(deleted.before, Some(stored.version));
    let gone = process.api.stored(&tenant("acme")).await;
    assert!(
        matches!(gone, Err(UserOverridesError::NotFound)),
        "{gone:?}"
    );
    assert_eq!(*process.overrides.for_tenant(&tenant("acme")), *before);
    // A deletion leaves something in the store, and it is new again nevertheless.
    process.replace("acme", interval(45), "0").await.unwrap();
    assert_eq!(process.interval("acme"), seconds(45));
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_whose_client_has_gone_is_told_nevertheless() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    let (tell, told) = oneshot::channel();
    let patch = Change::Patch(interval(45).to_string().into());
    let acme = tenant("acme");
    let changed = process
        .api
        .change(&acme, patch, None, false, move |changed| {
            tell.send(changed.changes.len()).unwrap();
        });
    tokio::select! {
        biased;
        _ = changed => {}
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(told.await, Ok(1));
    assert_eq!(process.interval("acme"), seconds(45));
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_wait_hold_no_more_than_their_room() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    let acme = tenant("acme");
    let turn = process.api.turn(&acme, 0).await.unwrap();
    let long = Change::Patch(vec![b' '; 1 << 20].into());
    let wait = |_| Box::pin(process.api.change(&acme, long.clone(), None, false, |_| ()));
    let mut waiting: Vec<_> = (0..7).map(wait).collect();
    for change in &mut waiting {
        assert!(change.as_mut().now_or_never().is_none());
    }
    let refused = process.api.change(&acme, long.clone(), None, false, |_| ());
    let refused = refused.await;
    assert!(
        matches!(refused, Err(UserOverridesError::Busy)),
        "{refused:?}"
    );
    // Those whose clients go make room, and a small one had some all along.
    drop(waiting);
    drop(turn);
    let refused = process.api.change(&acme, long, None, false, |_| ()).await;
    assert!(
        matches!(refused, Err(UserOverridesError::NotJson(_))),
        "{refused:?}"
    );
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tenants_than_may_set_overrides_are_refused() {
    let host = Host::new("{}");
    let settings = json!({"enabled": true, "api": {"max_tenants": 2}});
    let process = host.start(settings.clone()).await;
    for id in ["acme", "globex"] {
        process.replace(id, interval(45), "0").await.unwrap();
    }
    let refused = process.replace("initech", interval(45), "0").await;
    assert!(
        matches!(
            refused,
            Err(UserOverridesError::TooManyTenants { limit: 2 })
        ),
        "{refused:?}"
    );
    assert!(!host.file("initech").exists());
    // Those who are in go on, and one who has deleted its own is in.
    process.replace("acme", interval(60), "*").await.unwrap();
    let (globex, any) = (tenant("globex"), Some(IfMatch::Any));
    let deleted = process
        .api
        .change(&globex, Change::Delete, any, false, |_| ());
    deleted.await.unwrap();
    assert!(process.replace("initech", interval(45), "0").await.is_err());
    process.replace("globex", interval(45), "0").await.unwrap();
    process.end().await;

    // What is stored counts after a restart.
    let process = host.start(settings).await;
    assert!(process.replace("initech", interval(45), "0").await.is_err());
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_asked_for_and_checked() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    let without = |change: Change| process.api.change(&TENANT_A, change, None, false, |_| ());
    static TENANT_A: std::sync::LazyLock<TenantId> = std::sync::LazyLock::new(|| tenant("a"));
    for change in [Change::Replace("{}".into()), Change::Delete] {
        let refused = without(change).await;
        assert!(
            matches!(refused, Err(UserOverridesError::VersionRequired)),
            "{refused:?}"
        );
    }
    let missing = process
        .api
        .change(&TENANT_A, Change::Delete, Some(IfMatch::New), false, |_| ())
        .await;
    assert!(
        matches!(missing, Err(UserOverridesError::NotFound)),
        "{missing:?}"
    );

    let first = process
        .replace("a", interval(30), "0")
        .await
        .unwrap()
        .now
        .unwrap();
    let again = process.replace("a", interval(31), "0").await;
    assert!(
        matches!(again, Err(UserOverridesError::VersionMismatch)),
        "{again:?}"
    );
    // The same once more is another version.
    let text = first.version.to_string();
    let second = process.replace("a", interval(30), &text).await.unwrap();
    assert_eq!(second.before.as_ref(), Some(&first.version));
    assert!(second.changes.is_empty());
    let second = second.now.unwrap();
    assert_ne!(second.version, first.version);
    let late = process.patch("a", interval(32), Some(&first.version)).await;
    assert!(
        matches!(late, Err(UserOverridesError::VersionMismatch)),
        "{late:?}"
    );
    process
        .patch("a", interval(33), Some(&second.version))
        .await
        .unwrap();
    process.patch("a", interval(34), None).await.unwrap();
    assert_eq!(process.interval("a"), seconds(34));
    assert_eq!(process.metric("user_configurable_conflicts_total"), "2");
    assert_eq!(process.metric("user_configurable_writes_total"), "4");
    assert_eq!(process.metric("user_configurable_documents"), "1");
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_stores_comes_with_a_poll_and_stays_over_a_restart() {
    let host = Host::new("{}");
    let (one, two) = (
        host.start(json!({"enabled": true})).await,
        host.start(json!({"enabled": true})).await,
    );
    one.replace("a", interval(30), "0").await.unwrap();
    assert_eq!(
        (one.interval("a"), two.interval("a")),
        (seconds(30), seconds(15))
    );
    two.api.poll().await.unwrap();
    assert_eq!(two.interval("a"), seconds(30));
    // A patch begins with what is stored, not with what is in force here.
    one.patch(
        "a",
        json!({"metrics_generator": {"disable_collection": true}}),
        None,
    )
    .await
    .unwrap();
    two.patch("a", interval(40), None).await.unwrap();
    assert!(
        two.overrides
            .for_tenant(&tenant("a"))
            .registry
            .disable_collection
    );
    one.api.poll().await.unwrap();
    assert_eq!(one.interval("a"), seconds(40));
    let fetches = one.metric("user_configurable_fetches_total");
    one.api.poll().await.unwrap();
    // What has not changed is not fetched again.
    assert_eq!(one.metric("user_configurable_fetches_total"), fetches);
    one.end().await;
    two.end().await;

    let again = host.start(json!({"enabled": true})).await;
    assert_eq!(again.interval("a"), seconds(40));
    std::fs::remove_file(host.file("a")).unwrap();
    again.api.poll().await.unwrap();
    assert_eq!(again.interval("a"), seconds(15));
    assert_eq!(again.metric("user_configurable_documents"), "0");
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_poll_is_under_way_stays() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    process.replace("a", interval(30), "0").await.unwrap();
    // A poll that began after the first write has found it, and comes late.
    let found = process.api.find(tenant("a"), "mark".to_owned()).await;
    let found = found.map_err(|(_, error)| error).unwrap();
    process.patch("a", interval(40), None).await.unwrap();
    process.api.put_found_in_force(vec![found], 1);
    assert_eq!(process.interval("a"), seconds(40));
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_document_keeps_that_tenants_last_good_one() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    process.replace("a", interval(30), "0").await.unwrap();
    process.replace("b", interval(30), "0").await.unwrap();
    for broken in [
        "{",
        "[]",
        r#"{"metrics_generator": {"max_active_series": 0}}"#,
        r#"{"metrics_generator": {"collection_interval": "often"}}"#,
    ] {
        std::fs::write(host.file("a"), broken).unwrap();
        std::fs::write(host.file("b"), interval(50).to_string()).unwrap();
        process.api.poll().await.unwrap();
        assert_eq!(process.interval("a"), seconds(30), "{broken}");
        assert_eq!(process.interval("b"), seconds(50), "{broken}");
        assert_eq!(process.metric("user_configurable_refused_documents"), "1");
    }
    std::fs::write(host.file("b"), "{").unwrap();
    let broken = process.api.stored(&tenant("b")).await.unwrap_err();
    assert_eq!(broken.http_status(), 500);
    let broken = process.patch("b", interval(31), None).await.unwrap_err();
    assert_eq!(broken.http_status(), 500);
    process.replace("b", interval(32), "*").await.unwrap();
    assert_eq!(process.interval("b"), seconds(32));

    std::fs::write(host.file("a"), interval(60).to_string()).unwrap();
    process.api.poll().await.unwrap();
    assert_eq!(process.interval("a"), seconds(60));
    assert_eq!(process.metric("user_configurable_refused_documents"), "0");
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_leaves_what_is_in_force() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    process.replace("a", interval(30), "0").await.unwrap();
    let (store, away) = (
        host.store.path(),
        host.runtime_file.path().with_extension("away"),
    );
    std::fs::rename(store, &away).unwrap();
    std::fs::write(store, "no directory").unwrap();
    assert!(process.api.poll().await.is_err());
    assert_eq!(process.interval("a"), seconds(30));
    for refused in [
        process.patch("a", interval(31), None).await.err(),
        process.api.stored(&tenant("a")).await.err(),
    ] {
        let status = refused.unwrap().http_status();
        assert_eq!(status, 503);
    }
    assert_eq!(
        process.metric("user_configurable_fetch_failures_total"),
        "2"
    );
    std::fs::remove_file(store).unwrap();
    std::fs::rename(&away, store).unwrap();
    process.patch("a", interval(32), None).await.unwrap();
    assert_eq!(process.interval("a"), seconds(32));
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_runtime_file_sets_conflicts_where_that_is_checked() {
    let host = Host::new(
        "overrides:
  '*': {metrics_generator: {disable_collection: true}}
  a: {metrics_generator: {collection_interval: 20s, processors: [span-metrics]}}",
    );
    let checks = json!({
        "enabled": true, "api": {"check_for_conflicting_runtime_overrides": true}});
    let process = host.start(checks).await;
    let refused = process.patch("a", interval(30), None).await.unwrap_err();
    assert_eq!(refused.http_status(), 409);
    assert!(
        refused
            .to_string()
            .contains(" metrics_generator.collection_interval;"),
        "{refused}"
    );
    let patch = json!({"metrics_generator": {
        "processors": ["host-info"], "disable_collection": false}});
    process.patch("a", patch, None).await.unwrap();
    let change = Change::Patch(interval(30).to_string().into());
    process
        .api
        .change(&tenant("a"), change, None, true, |_| ())
        .await
        .unwrap();
    assert_eq!(process.interval("a"), seconds(30));
    // What is set already is no conflict of a later request.
    let patch = json!({"metrics_generator": {"trace_id_label_name": "id"}});
    process.patch("a", patch, None).await.unwrap();
    process.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_the_runtime_file_keeps_what_tenants_set() {
    let host = Host::new("{}");
    let process = host.start(json!({"enabled": true})).await;
    process.replace("a", interval(30), "0").await.unwrap();
    let text = "overrides: {a: {metrics_generator: {max_active_series: 3}}}";
    std::fs::write(host.runtime_file.path(), text).unwrap();
    let has_come = || {
        let config = process.overrides.for_tenant(&tenant("a"));
        config.registry.max_active_series == 3
    };
    while !has_come() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.interval("a"), seconds(30));
    assert_eq!(process.overrides.tenants(), [tenant("a")]);
    process.end().await;
}
