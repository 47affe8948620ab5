//! Pushes in, series out: the generator as its callers have it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod duplicate_pushes;
mod exemplars;
mod explained;
mod handover;
mod harness;
mod moving_edges;
mod restarts;
mod seeing_tenants;
mod service_graphs;
mod span_metrics;
