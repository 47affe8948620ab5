//! `explain`: what a key of the configuration is.

use app::reference::{UnknownKey, explain};

/// Says what a key of the configuration is: type, default, meaning.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A dotted path, such as `metrics_generator.registry.stale_duration`, or its end.
    key: String,
}

pub(crate) fn run(args: &Args) -> Result<String, UnknownKey> {
    explain(&args.key)
}
