use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lifecycle::TaskGroup;
use model::{Clock, LabelSetBuf, Point, SampleSink as _, Series};
use remote_write::{
    Fsync, RemoteWrite, RemoteWriteConfig, RemoteWriteMetrics, SpoolConfig, TenantDestinations,
};

use super::*;

/// Leaves two samples of one tenant for a receiver that is not there.
async fn fill(directory: &Path) {
    // Nobody listens on port 0.
    let endpoint = serde_json::json!({"name": "archive", "url": "http://127.0.0.1:0/write"});
    let endpoint = serde_json::from_value(endpoint).unwrap();
    let config = RemoteWriteConfig {
        endpoints: Vec::new(),
        add_org_id_header: false,
        spool: SpoolConfig {
            directory: directory.to_owned(),
            max_bytes_per_tenant: 1 << 20,
            max_bytes: 1 << 20,
            max_age: Duration::ZERO,
            fsync: Fsync::Never,
        },
    };
    let metrics = RemoteWriteMetrics::register(&mut telemetry::new_metrics_registry());
    let tasks = TaskGroup::new();
    let remote_write = RemoteWrite::start(config, metrics, Clock::system(), &tasks).unwrap();
    let destinations = TenantDestinations {
        endpoints: vec![endpoint].into(),
        headers: BTreeMap::new(),
    };
    let writer = remote_write.writer(&TenantId::parse("acme").unwrap(), &destinations);
    for second in [0, 15] {
        let mut append = writer.append(&[], "traceID");
        let mut labels = LabelSetBuf::new();
        labels.push("service", "web");
        append.label_set(labels.finish());
        let calls = Series {
            name: "calls",
            le: None,
        };
        let point = Point {
            timestamp_ms: 1_700_000_000_000 + 1_000 * second,
            value: second as f64,
        };
        append.series(calls, &[point], None);
        append.commit();
    }
    remote_write.stop();
    drop(writer);
    assert!(tasks.join(Duration::from_secs(60)).await.is_empty());
}

fn args(directory: &Path, json: bool) -> Args {
    Args {
        directory: directory.to_owned(),
        destinations: vec!["other".to_owned(), "archive".to_owned()],
        json,
    }
}

#[tokio::test]
async fn what_waits_is_shown_by_tenant_and_destination() {
    let data = tempfile::tempdir().unwrap();
    fill(&data.path().join("spool")).await;
    let tenant = TenantId::parse("acme").unwrap().directory();
    let segment = data
        .path()
        .join("spool")
        .join(tenant)
        .join("0000000000000000.segment");
    let bytes = std::fs::metadata(segment).unwrap().len();
    let want = format!(
        "\
TENANT  SEGMENTS   SIZE  SAMPLES  OLDEST                NEWEST                LOST  UNREADABLE
acme           1  {bytes} B        2  2023-11-14T22:13:20Z  2023-11-14T22:13:35Z     0           0

TENANT  DESTINATION  PENDING  SINCE                 DELIVERED UP TO  SHARDS
acme    archive            2  2023-11-14T22:13:20Z  -                     1
"
    );
    assert_eq!(run(&args(data.path(), false)).unwrap(), want);

    let text = run(&args(&data.path().join("spool"), true)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let want = serde_json::json!({"tenants": [{
        "tenant": "acme",
        "segments": 1,
        "bytes": bytes,
        "samples": 2,
        "oldest_ms": 1_700_000_000_000_i64,
        "newest_ms": 1_700_000_015_000_i64,
        "lost_samples": 0,
        "unreadable_files": 0,
        "destinations": [{
            "destination": "archive",
            "pending_samples": 2,
            "oldest_pending_ms": 1_700_000_000_000_i64,
            "delivered_ms": null,
            "shards": 1,
        }],
    }]});
    assert_eq!(document, want);
}

#[test]
fn directory_without_a_spool_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let text = run(&args(empty.path(), false)).unwrap();
    assert_eq!(text, "No tenant has anything in this spool.\n");
    let missing = run(&args(&empty.path().join("gone"), false)).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
}
