//! What it costs to bring samples to a receiver, while it is there and after it was
//! not.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::scenarios::{megabytes, setup};
use crate::sink::Sink;
use crate::subject::Subject;
use crate::table::Table;
use crate::{Args, progress};

const SERIES: u64 = 100_000;

/// Collections follow each other so fast that hardly anything else is measured.
const INTERVAL: Duration = Duration::from_secs(1);

const STEADY: Duration = Duration::from_secs(30);
const OUTAGE: Duration = Duration::from_secs(60);

const SENT: &str = "spanmill_remote_write_samples_sent_total";
const SPOOLED: &str = "spanmill_remote_write_samples_spooled_total";
const PENDING: &str = "spanmill_remote_write_samples_pending";
const SPOOL_BYTES: &str = "spanmill_remote_write_spool_bytes";
const DROPPED: &str = "spanmill_remote_write_samples_dropped_total";

/// CPU of a sample from the registry to its acknowledgement, bytes of it on disk,
/// memory during an outage, and how fast what waited is sent after it.
pub(crate) async fn delivery(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    progress("delivery: starting");
    let sink = Sink::start().await?;
    let mut setup = setup(args, None, &sink);
    setup.collection_interval = INTERVAL;
    let subject = Subject::start(&setup).await?;
    Load {
        binary: &args.spangen,
        endpoint: &subject.otlp(),
        series: SERIES,
        churn: 0.0,
        rate: None,
        in_flight: 8,
        tenants: None,
        duration: Duration::from_secs(8),
        latency_log: None,
    }
    .run()
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;

    // No span comes any more: all that is done is to collect, to spool and to send.
    let (before, sent) = (subject.usage()?, subject.metric(SENT).await?);
    tokio::time::sleep(STEADY).await;
    let (after, sent) = (subject.usage()?, subject.metric(SENT).await? - sent);
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    progress(&format!("delivery: {sent} samples, {cpu:.2} CPU s"));
    table.row(
        "CPU of a sample, registry to acknowledged",
        format!("{:.3} us", cpu / sent * 1e6),
        "<= 0.4 us",
        "2.1 to 3.3",
    );

    sink.set_down(true);
    tokio::time::sleep(2 * INTERVAL).await;
    let (before, bytes) = (subject.usage()?, subject.metric(SPOOL_BYTES).await?);
    let spooled = subject.metric(SPOOLED).await?;
    tokio::time::sleep(OUTAGE).await;
    let (after, bytes) = (subject.usage()?, subject.metric(SPOOL_BYTES).await? - bytes);
    let spooled = subject.metric(SPOOLED).await? - spooled;
    table.row(
        "bytes of a sample in the spool",
        format!("{:.2}", bytes / spooled),
        "",
        "",
    );
    table.row(
        "memory during an outage",
        format!(
            "{} before, {} after {} s and {:.1} M samples",
            megabytes(before.resident),
            megabytes(after.resident),
            OUTAGE.as_secs(),
            spooled / 1e6
        ),
        "flat",
        "",
    );

    let (before, sent) = (after, subject.metric(SENT).await?);
    let start = Instant::now();
    sink.set_down(false);
    while subject.metric(PENDING).await? > SERIES as f64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (after, sent) = (subject.usage()?, subject.metric(SENT).await? - sent);
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    table.row(
        "catching up after it",
        format!(
            "{:.0} k samples/s, {:.0} k for each CPU s; memory {}, peak {}",
            sent / seconds / 1e3,
            sent / cpu / 1e3,
            megabytes(after.resident),
            megabytes(after.peak)
        ),
        ">= 500 k",
        "",
    );
    let dropped = subject.metric(DROPPED).await?;
    table.row("samples dropped", format!("{dropped}"), "0", "");
    Ok(())
}
