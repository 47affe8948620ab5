//! The process: reads its configuration, wires every part, listens, and ends
//! without losing what it took.

pub mod config;
pub mod error;
pub mod reference;
pub mod ring_api;
pub mod tenants_api;
pub mod version;

mod authentication;
mod build;
mod cluster;
mod data_dir;
mod deletion;
mod downscale;
mod file_limit;
mod listening;
mod memory;
mod node_calls;
mod own_metrics;
mod pages;
mod ports;
mod process;
mod pusher;
mod readiness;
mod routes;
mod run;
mod signals;
mod tempo_names;
mod trace_span;
mod warnings;

pub use config::Target;
pub use error::StartError;
pub use run::{Exit, Options, Shown, check, print_config, run, verify};
pub use trace_span::{TraceSpanError, trace_span};
