//! The words of the field that every other crate shares: tenants, time, label
//! sets, samples, and the boundary between distributor and generator.
//!
//! Nothing here does I/O.

pub mod clock;
pub mod labels;
pub mod push;
pub mod sample;
pub mod tenant;
pub mod token;

pub use clock::Clock;
pub use labels::{LabelSet, LabelSetBuf};
pub use push::{Push, PushError, PushOutcome, PushSpans};
pub use sample::{
    BucketSpan, Exemplar, HistogramSample, Metadata, MetricType, Point, SampleSink, Series,
};
pub use tenant::{InvalidTenantId, TenantId};
pub use token::{ClusterSeed, Token, TraceTokens};
