//! A tenant's live series.
//!
//! Spans become [`Update`]s, which go into a *lane*: a table of deltas that one
//! push holds alone. Lanes merge into *tables* of cumulative series, where label
//! sets get their identity and limits act. Collections and scrapes walk the
//! tables a few slots at a time, so that pushes never wait for them.

mod admission;
mod bucket_pages;
mod cardinality;
mod collect;
mod delta;
mod demand;
mod exemplars;
mod fingerprint;
mod going;
mod key_table;
mod label_arena;
mod label_limiter;
mod lane;
mod lanes;
mod limiter;
mod merge;
mod merge_natives;
mod native_buckets;
mod native_histogram;
pub mod records;
mod relabel;
mod replace;
mod room;
mod schema;
mod snapshot;
mod state;
mod survey;
mod table;
mod top_values;
mod update;

pub use cardinality::{Cardinality, RecentCardinality};
pub use collect::{CollectStats, Collection, Consumer, Family};
pub use delta::{Delta, DeltaBatch};
pub use fingerprint::{KeyHasher, LaneKey};
pub use label_limiter::{LABEL_OVERFLOW, LabelStats};
pub use limiter::{Counts, Limits};
pub use native_buckets::NativeBuckets;
pub use native_histogram::NativeDelta;
pub use records::RestoreError;
pub use relabel::Relabelled;
pub use schema::{Metric, MetricKind, Schema};
pub use snapshot::{Snapshot, SnapshotHeader, SnapshotStats};
pub use state::{Registry, RegistryStats, TableId};
pub use survey::{
    DecodeSurveyError, FamilySurvey, LabelSurvey, MergeSurveysError, MetricSurvey, Survey,
    series_of,
};
pub use top_values::TopValues;
pub use update::{Applied, InvalidLabels, MAX_METRICS, Update};
