//! Harness of the integration tests: real processes, real sockets, exact numbers.
//!
//! Each file in `tests/` shows one behaviour. A test starts what it needs with
//! [`Spanmill`], [`Prometheus`] and [`python`], and ends with
//! [`Spanmill::finish`], which checks the [`ledger`] and that the process stops
//! cleanly.

pub mod authority;
pub mod binaries;
pub mod cgroup;
pub mod cluster;
pub mod deliveries;
pub mod expected;
pub mod exposition;
pub mod http;
pub mod ledger;
pub mod load;
pub mod native_histogram;
pub mod network;
pub mod orders;
pub mod patience;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod push_spans;
pub mod python;
pub mod remote_write_sink;
pub mod spangen;
pub mod spanmill;
pub mod traces;
pub mod truth;
pub mod victoria_metrics;

pub use cluster::{Clients, ClusterConfig, Counted, Node, Sent, Target};
pub use deliveries::Deliveries;
pub use exposition::{Exposition, Sample};
pub use load::Load;
pub use network::{Host, Network};
pub use patience::eventually;
pub use prometheus::Prometheus;
pub use remote_write_sink::RemoteWriteSink;
pub use spanmill::Spanmill;
pub use truth::Truth;
pub use victoria_metrics::VictoriaMetrics;
