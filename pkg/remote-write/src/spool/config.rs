//! How much the spool may hold, and how safely.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq)]
pub struct SpoolConfig {
    /// Where the directories of tenants are.
    pub directory: PathBuf,
    /// Bytes on disk of one tenant; over it its oldest samples are dropped.
    pub max_bytes_per_tenant: u64,
    /// Bytes on disk of all tenants; over it the tenant that has most loses its
    /// oldest.
    pub max_bytes: u64,
    /// How old samples may become that are not delivered. Zero: any age.
    pub max_age: Duration,
    /// When samples are made durable.
    pub fsync: Fsync,
}

/// When what was written is forced to the disk. What was collected survives the end
/// of the process, however it ends, with any of them; they differ in what survives
/// a loss of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// After each collection of a tenant: nothing collected is lost, at the price of
    /// about a millisecond of disk a tenant and collection.
    Append,
    /// When a segment is full, and at a stop: the last half minute or so may be lost.
    #[default]
    Segment,
    /// When the system sees fit.
    Never,
}

/// The longest segment.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;

/// The shortest bound of a segment: a record or two.
const MIN_SEGMENT_BYTES: u64 = 128 << 10;

impl SpoolConfig {
    /// Bytes after which another segment is begun, with so many tenants. The oldest
    /// segment goes as a whole, and the last one never, so each is a small part of
    /// what a tenant may have.
    pub(crate) fn segment_bytes(&self, tenants: u64) -> u64 {
        let share = self.max_bytes / (2 * tenants.max(1));
        (self.max_bytes_per_tenant / 8)
            .min(share)
            .clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// How long a segment is appended to, in milliseconds, so that it can become too
    /// old.
    pub(crate) fn segment_ms(&self) -> i64 {
        match i64::try_from(self.max_age.as_millis() / 8) {
            Ok(0) | Err(_) => i64::MAX,
            Ok(age) => age,
        }
    }
}
