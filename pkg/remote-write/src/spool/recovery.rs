//! What a start finds on disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use model::TenantId;

use super::cursor;
use super::segment::{self, Head, SegmentReader};
use super::tenant::Segment;

/// What is on disk of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    pub(crate) tenant: TenantId,
    pub(crate) segments: Vec<Segment>,
    /// A number that no file has.
    pub(crate) next_segment: u64,
    /// The keys of its cursors.
    pub(crate) cursors: Vec<u64>,
    /// Files that a later version wrote, or that no record could be read from.
    pub(crate) unreadable: u64,
}

/// Looks through the directory of a spool, tenant by tenant.
///
/// # Errors
///
/// What the system says of the directory itself. What it says of a tenant's is
/// logged, and that tenant starts without.
pub(crate) fn recover(root: &Path) -> io::Result<Vec<Recovered>> {
    std::fs::create_dir_all(root)?;
    let mut tenants = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(tenant) = name.to_str().and_then(TenantId::from_directory) else {
            continue;
        };
        match recover_tenant(tenant, &entry.path()) {
            Ok(recovered) => tenants.push(recovered),
            Err(error) => log_unreadable(&entry.path(), &error),
        }
    }
    Ok(tenants)
}

/// Says that a tenant's directory cannot be read.
pub(crate) fn log_unreadable(directory: &Path, error: &io::Error) {
    tracing::error!(
        directory = %directory.display(),
        error = %telemetry::error_chain(error),
        "cannot read a tenant's spool, what is in it is not sent"
    );
}

/// Looks through the directory of one tenant.
///
/// # Errors
///
/// What the system says, also that there is none.
pub(crate) fn recover_tenant(tenant: TenantId, directory: &Path) -> io::Result<Recovered> {
    let mut numbers = Vec::new();
    let mut cursors = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        numbers.extend(segment::number_of(name));
        cursors.extend(cursor::key_of(name));
    }
    numbers.sort_unstable();
    cursors.sort_unstable();
    let mut recovered = Recovered {
        tenant,
        segments: Vec::new(),
        next_segment: numbers.last().map_or(0, |last| last + 1),
        cursors,
        unreadable: 0,
    };
    // From the end: whether a segment is the last depends on those that can be read.
    for number in numbers.iter().rev() {
        let path = segment::path(directory, *number);
        let next = recovered.segments.last().map(|next| next.first);
        match inspect(&path, *number, next) {
            Ok(Some(segment)) => recovered.segments.push(segment),
            Ok(None) => recovered.unreadable += 1,
            Err(error) => {
                recovered.unreadable += 1;
                tracing::error!(
                    segment = %path.display(),
                    error = %telemetry::error_chain(&error),
                    "cannot read a segment of the spool, its samples are not sent"
                );
            }
        }
    }
    recovered.segments.reverse();
    Ok(recovered)
}

/// Looks into a segment before the one that begins at `next`; `None` if there is
/// nothing to read.
fn inspect(path: &Path, number: u64, next: Option<u64>) -> io::Result<Option<Segment>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let bytes = metadata.len();
    let modified = metadata.modified().ok();
    let modified_ms = modified
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(i64::MAX, |since| since.as_millis() as i64);
    let head = Head::read(&file)?;
    let mut reader = SegmentReader::open(path)?;
    let first = match head {
        Head::Segment { first } => first,
        Head::Later { version } => {
            tracing::error!(
                segment = %path.display(),
                version,
                "segment of the spool was written by a later version, its samples are not sent"
            );
            return Ok(None);
        }
        Head::Damaged => match reader.next(bytes)? {
            Some(record) => record.header.position,
            None => {
                tracing::error!(
                    segment = %path.display(),
                    bytes,
                    "no record of a segment of the spool can be read"
                );
                return Ok(None);
            }
        },
    };
    reader.seek(0);
    let mut segment = Segment {
        number,
        first,
        // What is missing before the next is found when this is read.
        end: next.unwrap_or(first).max(first),
        bytes,
        newest_ms: modified_ms,
        oldest_ms: modified_ms,
        definitions: None,
    };
    if let Some(record) = reader.next(bytes)? {
        segment.oldest_ms = record.header.newest_ms;
    }
    if next.is_none() {
        segment.newest_ms = i64::MIN;
        reader.seek(0);
        while let Some(record) = reader.next(bytes)? {
            segment.end = segment.end.max(record.header.end());
            segment.newest_ms = segment.newest_ms.max(record.header.newest_ms);
        }
    }
    Ok(Some(segment))
}
