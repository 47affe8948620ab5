//! A disk that takes no more, or fails, costs no span and stops nobody: samples are
//! kept in memory, then dropped and counted, and spooled again once there is room.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Deliveries, RemoteWriteSink, Spanmill, eventually};
use tempfile::TempDir;

const CALLS: &str = "traces_spanmetrics_calls_total";
/// Who has much on disk, and who has much to write when it is full.
const LARGE: &str = "acme";
const LATE: &str = "globex";
/// Who needs little.
const SMALL: &str = "initech";
/// Operations of the former two, and bytes of their names: more than a mebibyte, as
/// names stand twice.
const OPERATIONS: u64 = 300;
const NAME_BYTES: usize = 2_000;
/// Operations of the latter: several pages for a collection.
const FEW: u64 = 100;

/// A small disk of its own, until it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .status()
            .context("there is no mount")?;
        ensure!(
            status.success(),
            "this test mounts a tmpfs, which it may not: run it as root"
        );
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What fills the rest of a disk, until it is dropped.
struct Filler(std::path::PathBuf);

impl Filler {
    fn fill(disk: &SmallDisk) -> anyhow::Result<Self> {
        let path = disk.path().join("filler");
        let filled = std::fs::write(&path, vec![1; 64 << 20]).map_err(|error| error.kind());
        ensure!(
            filled == Err(std::io::ErrorKind::StorageFull),
            "the disk is not full: {filled:?}"
        );
        Ok(Self(path))
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.path().display());
        }
    }
}

async fn start(sink: &RemoteWriteSink, spool: &Path) -> anyhow::Result<Spanmill> {
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": {
            "path": spool,
            "remote_write": [{"name": "sink", "url": sink.url()}],
            "remote_write_flush_deadline": "10s",
        }},
    });
    Spanmill::builder()
        .config(&config.to_string())
        .start()
        .await
}

/// One call of each of so many operations.
async fn push(
    spanmill: &Spanmill,
    tenant: &str,
    round: u64,
    operations: u64,
) -> anyhow::Result<()> {
    let mut traces = Traces::of_service(tenant);
    for number in 0..operations {
        let mut name = format!("operation {number} ");
        if operations == OPERATIONS {
            name.extend(std::iter::repeat_n('x', NAME_BYTES));
        }
        let trace = round * operations + number;
        traces = traces.spans(&name, 1, Duration::from_millis(3), trace);
    }
    let (url, request) = (spanmill.otlp_http(), traces.request());
    post(&url, &request, Some(tenant)).await?.accepted()?;
    Ok(())
}

/// Samples of a tenant by what became of them on the way to the disk.
#[derive(Debug)]
struct Spooling {
    collected: u64,
    spooled: u64,
    dropped: u64,
}

async fn spooling(spanmill: &Spanmill, tenant: &str) -> anyhow::Result<Spooling> {
    let metrics = spanmill.metrics().await?;
    let of_tenant = ("tenant", tenant);
    let count = |name: &str, labels: &[_]| {
        metrics.sum(
            &format!("spanmill_remote_write_samples_{name}_total"),
            labels,
        ) as u64
    };
    Ok(Spooling {
        collected: count("collected", &[of_tenant]),
        spooled: count("spooled", &[of_tenant]),
        dropped: count("dropped", &[of_tenant, ("reason", "spool_error")]),
    })
}

/// Waits until that can be said of them.
async fn spooling_where(
    spanmill: &Spanmill,
    tenant: &str,
    holds: impl Fn(&Spooling) -> bool,
) -> anyhow::Result<()> {
    eventually(&format!("samples of {tenant}"), || async {
        let now = spooling(spanmill, tenant).await?;
        ensure!(holds(&now), "{now:?}");
        Ok(())
    })
    .await
}

/// Waits until all that has been collected of a tenant is delivered that was not
/// dropped, while collections go on; gives what it is then.
async fn recovered(spanmill: &Spanmill, tenant: &str) -> anyhow::Result<Spooling> {
    spooling_where(spanmill, tenant, |now| now.collected > 0).await?;
    let due = spooling(spanmill, tenant).await?.collected;
    eventually(&format!("{tenant} to recover"), || async {
        let now = spooling(spanmill, tenant).await?;
        ensure!(now.collected == now.spooled + now.dropped, "{now:?}");
        let metrics = spanmill.metrics().await?;
        let deliveries = Deliveries::read(&metrics, &[("tenant", tenant)]);
        let is_delivered = deliveries.sent + deliveries.dropped >= due;
        ensure!(
            is_delivered && deliveries.dropped == now.dropped,
            "{due} are due: {now:?} {deliveries:?}"
        );
        Ok(now)
    })
    .await
}

#[tokio::test]
async fn disk_that_is_full_costs_what_is_counted_and_goes_on_when_there_is_room()
-> anyhow::Result<()> {
    let disk = SmallDisk::mount("8m")?;
    let sink = RemoteWriteSink::start().await?;
    sink.take_down();
    let spanmill = start(&sink, disk.path()).await?;
    push(&spanmill, LARGE, 1, OPERATIONS).await?;
    push(&spanmill, SMALL, 1, FEW).await?;
    // In what is more than one collection of the large one, the small one's has room.
    spooling_where(&spanmill, LARGE, |now| now.spooled > 60_000).await?;
    spooling_where(&spanmill, SMALL, |now| now.spooled > 0).await?;
    let filler = Filler::fill(&disk)?;
    push(&spanmill, LATE, 1, OPERATIONS).await?;
    spooling_where(&spanmill, LATE, |now| now.dropped > 0).await?;
    for tenant in [LARGE, SMALL] {
        push(
            &spanmill,
            tenant,
            2,
            if tenant == LARGE { OPERATIONS } else { FEW },
        )
        .await?;
        let is_kept = |now: &Spooling| now.collected > now.spooled && now.dropped == 0;
        spooling_where(&spanmill, tenant, is_kept).await?;
    }
    ensure!(spanmill.log().contains("cannot write to the spool"));

    // Nobody but the large one can make room.
    sink.bring_up().await?;
    let small = recovered(&spanmill, SMALL).await?;
    ensure!(small.dropped == 0, "{small:?}");
    drop(filler);
    push(&spanmill, LATE, 2, OPERATIONS).await?;
    for tenant in [LARGE, LATE] {
        recovered(&spanmill, tenant).await?;
    }
    let calls = [
        (LARGE, 2 * OPERATIONS),
        (LATE, 2 * OPERATIONS),
        (SMALL, 2 * FEW),
    ];
    for (tenant, calls) in calls {
        sink.eventually(&format!("{calls} calls of {tenant}"), |received| {
            let came = received.sum(tenant, CALLS, &[]);
            ensure!(came == calls as f64, "{came}");
            Ok(())
        })
        .await?;
    }
    sink.check_protocol()?;
    spanmill.finish(&calls).await?;
    let received = sink.received();
    let (distinct, all) = (received.distinct_samples(), received.acknowledged_samples());
    ensure!(distinct == all, "{} samples came twice", all - distinct);
    Ok(())
}

/// The tenant's directory has become a file, and then is gone.
#[tokio::test]
async fn directory_that_fails_costs_its_tenant_only_what_is_counted() -> anyhow::Result<()> {
    let spool = TempDir::new()?;
    let sink = RemoteWriteSink::start().await?;
    let spanmill = start(&sink, spool.path()).await?;
    push(&spanmill, SMALL, 1, 3).await?;
    recovered(&spanmill, SMALL).await?;
    let directories = std::fs::read_dir(spool.path())?;
    let directories = directories.map(|entry| Ok(entry?.path()));
    let directories: Vec<_> = directories.collect::<anyhow::Result<_>>()?;
    let [directory] = directories.as_slice() else {
        anyhow::bail!("{directories:?}");
    };
    std::fs::remove_dir_all(directory)?;
    std::fs::write(directory, b"")?;
    push(&spanmill, SMALL, 2, 3).await?;
    eventually("an error", || async {
        let metrics = spanmill.metrics().await?;
        let errors = metrics.sum("spanmill_remote_write_spool_write_errors_total", &[]);
        ensure!(errors > 0.0);
        Ok(())
    })
    .await?;
    push(&spanmill, LARGE, 1, 3).await?;
    recovered(&spanmill, LARGE).await?;

    std::fs::remove_file(directory)?;
    push(&spanmill, SMALL, 3, 3).await?;
    sink.eventually("the calls", |received| {
        let calls = received.sum(SMALL, CALLS, &[]);
        ensure!(calls == 9.0, "{calls}");
        Ok(())
    })
    .await?;
    recovered(&spanmill, SMALL).await?;
    sink.check_protocol()?;
    spanmill.finish(&[(SMALL, 9), (LARGE, 3)]).await
}
