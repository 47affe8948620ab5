//! `spanmillctl spool`: what waits on disk to be sent, by tenant and destination.

use std::path::PathBuf;

use model::TenantId;
use remote_write::inspect::{Spooled, destination_key, inspect};

mod json;
mod table;

/// Shows what waits on disk to be sent by remote write
///
/// Reads the data directory of a stopped or running spanmill and changes nothing.
/// LOST are samples that cannot be read, UNREADABLE files of which nothing can.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory (storage.path), or the spool in it
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Name of a remote_write entry, or its URL if it has none: shown in place of
    /// the number that the spool knows it by; may be repeated
    #[arg(long = "destination", value_name = "NAME")]
    destinations: Vec<String>,

    /// JSON, with times in milliseconds since the Unix epoch
    #[arg(long)]
    json: bool,
}

/// Tenants with what is on disk of them.
type Tenants = [(TenantId, Spooled)];

/// Runs the command; gives the text to print.
pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    let below = args.directory.join("spool");
    let directory = match below.is_dir() {
        true => &below,
        false => &args.directory,
    };
    let tenants = inspect(directory)?;
    let names = Names(&args.destinations);
    Ok(match args.json {
        true => json::document(&tenants, names)?,
        false => table::text(&tenants, names),
    })
}

/// What destinations are called by who asks.
#[derive(Clone, Copy, Debug)]
struct Names<'a>(&'a [String]);

impl Names<'_> {
    fn of(self, key: u64) -> String {
        let mut names = self.0.iter();
        let name = names.find(|name| destination_key(name) == key);
        name.map_or_else(|| format!("{key:016x}"), String::clone)
    }
}

#[cfg(test)]
mod tests;
