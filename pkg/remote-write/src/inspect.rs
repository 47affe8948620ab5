//! What a spool on disk holds, for people; also while a process uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series, TenantId};
use xxhash_rust::xxh3::xxh3_64;

use crate::progress::Progress;
use crate::spool::cursor::{self, Cursor, Found};
use crate::spool::row::Values;
use crate::spool::tailer::{Next, Tailer};
use crate::spool::{Fsync, Shared, SpoolConfig, TenantSpool, recover_tenant};

/// Looks at a tenant while its files are removed; after that, what is gone counts as
/// missing.
const MAX_LOOKS: usize = 5;

/// What is on disk of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spooled {
    /// Files of samples that can be read.
    pub segments: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Samples that can be read, delivered ones among them: files go as a whole.
    pub samples: u64,
    /// The time of the earliest of these, in milliseconds since the Unix epoch;
    /// `None` if there are none.
    pub oldest_ms: Option<i64>,
    /// The time of the latest.
    pub newest_ms: Option<i64>,
    /// Samples between those that can be read which cannot, or are not there.
    pub missing: u64,
    /// Files that cannot be read, or are of a later version.
    pub unreadable_files: u64,
    /// How far each destination is. One to which nothing was ever tried to be sent
    /// is not here.
    pub destinations: Vec<SpooledFor>,
}

/// How far a destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledFor {
    /// Which one: see [`destination_key`].
    pub key: u64,
    /// Samples that are neither delivered nor dropped.
    pub pending: u64,
    /// The time of the oldest of these, to the file, in milliseconds since the Unix
    /// epoch; `None` if nothing is pending.
    pub oldest_pending_ms: Option<i64>,
    /// The time of the latest sample that was delivered, in milliseconds since the
    /// Unix epoch; `None` if none was.
    pub delivered_ms: Option<i64>,
    /// How many shards its samples are in.
    pub shards: usize,
}

/// A directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct InspectError {
    /// The directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What marks a destination's progress in a tenant's directory, from its name, or
/// its URL if it has no name. Of several with the same, the second has the next
/// number, and so on.
pub fn destination_key(name_or_url: &str) -> u64 {
    xxh3_64(name_or_url.as_bytes())
}

/// Reads everything in the directory of a spool, tenant by tenant, sorted by id.
/// Changes nothing.
///
/// # Errors
///
/// The first directory that cannot be read.
pub fn inspect(directory: &Path) -> Result<Vec<(TenantId, Spooled)>, InspectError> {
    let mut tenants = Vec::new();
    for name in names(directory)? {
        if let Some(tenant) = TenantId::from_directory(&name) {
            let spooled = inspect_tenant(&tenant, &directory.join(name))?;
            tenants.push((tenant, spooled));
        }
    }
    tenants.sort_by(|(first, _), (second, _)| first.cmp(second));
    Ok(tenants)
}

fn inspect_tenant(tenant: &TenantId, directory: &Path) -> Result<Spooled, InspectError> {
    let mut look = 1;
    loop {
        let before = names(directory)?;
        let spooled = read(tenant, directory).map_err(|source| InspectError {
            path: directory.to_owned(),
            source,
        })?;
        let after = names(directory)?;
        if look == MAX_LOOKS || before.iter().all(|name| after.contains(name)) {
            return Ok(spooled);
        }
        look += 1;
    }
}

fn names(directory: &Path) -> Result<Vec<String>, InspectError> {
    let names = std::fs::read_dir(directory).and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.collect::<io::Result<Vec<_>>>()
    });
    let names = names.map_err(|source| InspectError {
        path: directory.to_owned(),
        source,
    })?;
    Ok(names.into_iter().flatten().collect())
}

/// Reads as a start and a sender would.
fn read(tenant: &TenantId, directory: &Path) -> io::Result<Spooled> {
    let recovered = recover_tenant(tenant.clone(), directory)?;
    let mut spooled = Spooled {
        segments: recovered.segments.len(),
        unreadable_files: recovered.unreadable,
        ..Spooled::default()
    };
    // Nothing is appended or removed, so no bound of it counts.
    let config = SpoolConfig {
        directory: PathBuf::new(),
        max_bytes_per_tenant: u64::MAX,
        max_bytes: u64::MAX,
        max_age: Duration::ZERO,
        fsync: Fsync::Never,
    };
    let spool = Arc::new(TenantSpool::new(
        tenant.clone(),
        directory.to_owned(),
        Arc::new(Shared::new(config)),
        recovered.segments,
        recovered.next_segment,
    ));
    let mut destinations = Vec::new();
    for key in recovered.cursors {
        match Cursor::read(&cursor::path(directory, key)) {
            Found::Cursor(cursor) => {
                spool.raise(cursor.frontier, cursor.newest_ms);
                destinations.push((key, Progress::resume(cursor)));
            }
            Found::Nothing => {}
            Found::Damaged | Found::Other { .. } => spooled.unreadable_files += 1,
        }
    }
    let extent = spool.extent();
    spooled.bytes = extent.bytes;
    spooled.destinations = destinations
        .into_iter()
        .map(|(key, progress)| far(key, &progress, &spool))
        .collect();
    let mut times = Times::default();
    let mut values = Values::default();
    let mut tailer = Tailer::new(Arc::clone(&spool), extent.first, None, true);
    loop {
        let next = match tailer.next()? {
            Next::Record(next) => next,
            Next::End(end) => {
                spooled.missing += end.saturating_sub(tailer.position());
                break;
            }
        };
        let mut unread = next.end - next.position;
        if let Some((mut rows, definitions)) = tailer.rows() {
            while let Some(row) = rows.row(definitions)
                && let Some(samples) = rows.samples(row, definitions, &mut values, Some(&mut times))
            {
                unread = unread.saturating_sub(samples.into());
                spooled.samples += u64::from(samples);
            }
        }
        spooled.missing += next.missing + unread;
    }
    spooled.oldest_ms = times.oldest_ms;
    spooled.newest_ms = times.newest_ms;
    Ok(spooled)
}

fn far(key: u64, progress: &Progress, spool: &TenantSpool) -> SpooledFor {
    let pending = progress.pending(spool.extent().end);
    let delivered_ms = progress.newest_ms();
    SpooledFor {
        key,
        pending,
        oldest_pending_ms: match pending {
            0 => None,
            _ => spool.oldest_ms(progress.low()),
        },
        delivered_ms: (delivered_ms > i64::MIN).then_some(delivered_ms),
        shards: progress.shards(),
    }
}

/// Notes when samples are from.
#[derive(Debug, Default)]
struct Times {
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
}

impl Times {
    fn add(&mut self, time_ms: i64) {
        self.oldest_ms = Some(self.oldest_ms.map_or(time_ms, |known| known.min(time_ms)));
        self.newest_ms = Some(self.newest_ms.map_or(time_ms, |known| known.max(time_ms)));
    }
}

impl SampleSink for Times {
    fn label_set(&mut self, _: LabelSet<'_>) {}

    fn series(&mut self, _: Series<'_>, points: &[Point], _: Option<Exemplar>) {
        for point in points {
            self.add(point.timestamp_ms);
        }
    }

    fn histogram(&mut self, _: &str, samples: &[HistogramSample<'_>], _: Option<Exemplar>) {
        for sample in samples {
            self.add(sample.timestamp_ms);
        }
    }
}
