//! A spool that was damaged while nobody ran: the next process starts, sends all
//! that can be read, says what is lost, and goes on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use spanmill_integration::deliveries::left_in_spool;
use spanmill_integration::exposition::Labels;
use spanmill_integration::remote_write_sink::Received;
use spanmill_integration::spanmill::Stopped;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Deliveries, RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const ACME: &str = "acme";
const PROCESSES: u64 = 4;
/// Bytes of a segment's head before those that its checksum is of, which begin with
/// the version.
const HEAD: usize = 16;
/// Bytes of a record before its payload.
const HEADER: usize = 33;

/// A record of a segment, by its header.
struct Record {
    at: usize,
    is_samples: bool,
    samples: u64,
    newest_ms: i64,
}

/// The records of a segment.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = 0;
    while at + HEADER < bytes.len() {
        if bytes[at..at + 4] != *b"\xf5SpR" {
            at += 1;
            continue;
        }
        let field = |from: usize| u32::from_le_bytes(bytes[at + from..][..4].try_into().unwrap());
        records.push(Record {
            at,
            is_samples: bytes[at + 12] == 2,
            samples: field(21).into(),
            newest_ms: i64::from_le_bytes(bytes[at + 25..][..8].try_into().unwrap()),
        });
        at += HEADER + field(4) as usize;
    }
    records
}

/// What was done to a spool.
#[derive(Default)]
struct Damage {
    /// When samples were collected that are lost.
    lost_ms: BTreeSet<i64>,
    /// How many are counted as damaged.
    lost: u64,
    /// Whether it may be unknown that they were ever there: a cursor tells, if it was
    /// written after them.
    may_be_unknown: bool,
    /// Files that cannot be read as a whole.
    unreadable: u64,
    /// What is logged.
    log: &'static str,
}

impl Damage {
    fn loses<'a>(mut self, records: impl IntoIterator<Item = &'a Record>) -> Self {
        for record in records {
            if record.is_samples {
                self.lost_ms.insert(record.newest_ms);
                self.lost += record.samples;
            }
        }
        self.log = "samples in the spool cannot be read, they are lost";
        self
    }

    /// Nothing follows that says how much is missing.
    fn at_the_end(self) -> Self {
        Self {
            may_be_unknown: true,
            log: "",
            ..self
        }
    }
}

/// The directory of the one tenant's spool.
struct Directory {
    segments: Vec<PathBuf>,
    cursor: PathBuf,
}

impl Directory {
    fn find(data: &Path) -> Self {
        let tenant = std::fs::read_dir(data.join("spool")).unwrap();
        let tenant = tenant.map(|entry| entry.unwrap().path()).next().unwrap();
        let files = std::fs::read_dir(tenant).unwrap();
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let (cursors, segments): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|path| path.extension().unwrap() == "cursor");
        assert_eq!((cursors.len(), segments.len() as u64), (1, PROCESSES));
        Self {
            segments,
            cursor: cursors[0].clone(),
        }
    }

    fn records(&self, segment: usize) -> Vec<Record> {
        records(&std::fs::read(&self.segments[segment]).unwrap())
    }

    /// Changes the bytes of a segment.
    fn change(&self, segment: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = &self.segments[segment];
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

type Case = (&'static str, fn(&Directory) -> Damage);

const CASES: [Case; 12] = [
    ("nothing", |_| Damage::default()),
    ("torn tail", |directory| {
        let records = directory.records(3);
        directory.change(3, |bytes| bytes.truncate(bytes.len() - 10));
        Damage::default().loses(records.last()).at_the_end()
    }),
    ("flipped byte in samples", |directory| {
        let records = directory.records(1);
        let record = records.last().unwrap();
        directory.change(1, |bytes| bytes[record.at + HEADER + 30] ^= 1);
        Damage::default().loses([record])
    }),
    ("flipped byte in the length of a record", |directory| {
        let records = directory.records(1);
        let samples: Vec<_> = records.iter().filter(|record| record.is_samples).collect();
        directory.change(1, |bytes| bytes[samples[0].at + 6] ^= 1);
        Damage::default().loses([samples[0]])
    }),
    ("flipped byte in definitions", |directory| {
        let record = &directory.records(1)[0];
        directory.change(1, |bytes| bytes[record.at + HEADER + 30] ^= 1);
        Damage::default()
    }),
    ("flipped byte in the head", |directory| {
        directory.change(1, |bytes| bytes[HEAD + 5] ^= 1);
        Damage::default()
    }),
    ("missing segment", |directory| {
        let damage = Damage::default().loses(&directory.records(1));
        std::fs::remove_file(&directory.segments[1]).unwrap();
        damage
    }),
    ("segment of a later version", |directory| {
        let records = directory.records(1);
        directory.change(1, |bytes| {
            let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
            bytes[HEAD] = 2;
            let mut checksum = flate2::Crc::new();
            checksum.update(&bytes[HEAD..HEAD + length]);
            bytes[12..HEAD].copy_from_slice(&checksum.sum().to_le_bytes());
        });
        Damage {
            unreadable: 1,
            log: "segment of the spool was written by a later version",
            ..Damage::default().loses(&records)
        }
    }),
    ("segment of noughts", |directory| {
        let records = directory.records(1);
        directory.change(1, |bytes| bytes.fill(0));
        Damage {
            unreadable: 1,
            log: "no record of a segment of the spool can be read",
            ..Damage::default().loses(&records)
        }
    }),
    // As after a crash right when it was begun.
    ("last segment with nothing but its head", |directory| {
        let records = directory.records(3);
        directory.change(3, |bytes| bytes.truncate(records[0].at));
        Damage::default().loses(&records).at_the_end()
    }),
    ("empty cursor", |directory| {
        std::fs::write(&directory.cursor, b"").unwrap();
        Damage {
            unreadable: 1,
            log: "cannot read up to where samples were sent",
            ..Damage::default()
        }
    }),
    ("missing cursor", |directory| {
        std::fs::remove_file(&directory.cursor).unwrap();
        Damage::default()
    }),
];

async fn push(spanmill: &Spanmill, round: u64) -> anyhow::Result<()> {
    let traces = Traces::of_service("shop").spans("pay", 5, Duration::from_millis(3), round * 5);
    let answer = post(&spanmill.otlp_http(), &traces.request(), Some(ACME)).await?;
    answer.accepted().map(drop)
}

/// A spanmill that has left a segment of each of its processes, and sent nothing.
async fn fill(sink: &RemoteWriteSink) -> anyhow::Result<Stopped> {
    sink.take_down();
    let mut spanmill = Spanmill::builder()
        .config("multitenancy_enabled: true")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write_flush_deadline: 1s, remote_write: \
             [{{url: '{}'}}]}}}}",
            sink.url()
        ))
        .start()
        .await?;
    for process in 1..=PROCESSES {
        push(&spanmill, process).await?;
        eventually("a collection", || async {
            let now = Deliveries::read(&spanmill.metrics().await?, &[]);
            ensure!(now.spooled > 0);
            Ok(())
        })
        .await?;
        // The last collection is the second.
        let stopped = spanmill.stop_for_now().await?;
        if process == PROCESSES {
            return Ok(stopped);
        }
        spanmill = stopped.start().await?;
    }
    anyhow::bail!("no process")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

type Points = BTreeMap<(String, Labels), Vec<(i64, f64)>>;

fn points(received: &Received, wanted: impl Fn(i64) -> bool) -> Points {
    let series = received.every_series().map(|series| {
        let points = series.points.iter().filter(|(time, _)| wanted(*time));
        let id = (series.name.clone(), series.labels.clone());
        (id, points.copied().collect())
    });
    series.collect()
}

/// Starts on a spool, and waits until all is sent; then counts anew. Gives what came
/// of the spool.
async fn recover(
    stopped: Stopped,
    sink: &RemoteWriteSink,
    damage: &Damage,
) -> anyhow::Result<(Stopped, Points)> {
    *sink.received() = Received::default();
    let spanmill = stopped.start().await?;
    let left = left_in_spool(&spanmill.log())?;
    let deliveries = Deliveries::settled(&spanmill, &[], left).await?;
    let came = points(&sink.received(), |_| true);
    let metrics = spanmill.metrics().await?;
    let dropped = "spanmill_remote_write_samples_dropped_total";
    let reasons = metrics.values_of(dropped, "reason");
    let is_right = match damage.may_be_unknown {
        true => deliveries.dropped <= damage.lost,
        false => deliveries.dropped == damage.lost,
    };
    let reason = (deliveries.dropped > 0).then_some("damaged");
    ensure!(
        is_right && reasons == Vec::from_iter(reason),
        "{deliveries:?} {reasons:?}, but {} should be lost",
        damage.lost
    );
    let unreadable = metrics.sum("spanmill_remote_write_spool_unreadable_files_total", &[]);
    ensure!(unreadable == damage.unreadable as f64, "{unreadable} files");
    let log = spanmill.log();
    ensure!(log.contains(damage.log), "{log}");
    ensure!(
        damage.lost > 0 || damage.unreadable > 0 || !log.contains("level=error"),
        "{log}"
    );

    push(&spanmill, 100).await?;
    sink.eventually("the calls of the new process", |received| {
        let last = received.sum(ACME, CALLS, &[]);
        ensure!(last == 5.0, "{last} calls");
        Ok(())
    })
    .await?;
    let stopped = spanmill.stop_for_now().await?;
    sink.check_protocol()?;
    Ok((stopped, came))
}

#[tokio::test]
async fn damaged_spool_costs_what_cannot_be_read_and_no_more() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let mut stopped = fill(&sink).await?;
    sink.bring_up().await?;
    let data = stopped.directory().join("data");
    // Counters begin anew, as after a crash.
    std::fs::remove_dir_all(data.join("state"))?;
    let before = tempfile::tempdir()?;
    copy(&data, before.path())?;

    let mut whole: Option<Points> = None;
    for (name, case) in CASES {
        std::fs::remove_dir_all(&data)?;
        copy(before.path(), &data)?;
        let damage = case(&Directory::find(&data));
        let (next, came) = recover(stopped, &sink, &damage)
            .await
            .with_context(|| name)?;
        stopped = next;
        let mut want = whole.get_or_insert_with(|| came.clone()).clone();
        for points in want.values_mut() {
            points.retain(|(time, _)| !damage.lost_ms.contains(time));
        }
        ensure!(came == want, "{name}: {came:#?}, but should be {want:#?}");
        ensure!(came.values().all(|points| points.len() > 1), "{came:#?}");
    }
    Ok(())
}
