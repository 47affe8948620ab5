//! Which build this is.

use prometheus_client::metrics::info::Info;
use telemetry::MetricsRegistry;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, if whoever built it said so in the
/// environment variable `SPANMILL_COMMIT`.
pub const COMMIT: &str = match option_env!("SPANMILL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Version and commit, in one line.
pub fn describe() -> String {
    format!("spanmill, version {VERSION} (commit: {COMMIT})")
}

/// Registers `spanmill_build_info`.
pub(crate) fn register(registry: &mut MetricsRegistry) {
    registry.register(
        "build",
        "Which build this is; always 1",
        Info::new(vec![("version", VERSION), ("commit", COMMIT)]),
    );
}
