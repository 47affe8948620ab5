//! A distributor and the generators of its cluster, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod certificates;
mod connections;
mod failing;
mod harness;
mod own_share;
mod owners;
mod refusing;
mod together;
