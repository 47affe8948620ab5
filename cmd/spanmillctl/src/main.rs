//! `spanmillctl` looks into a running spanmill, its configuration, and what it has on disk.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cardinality;
mod check_config;
mod explain;
mod exposition;
mod fetch;
mod hash_credential;
mod overrides;
mod prepare_downscale;
mod red;
mod reference;
mod ring;
mod spool;
mod table;
mod tenants;
mod trace_span;

/// Looks into a running spanmill, its configuration, and what it has on disk.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Cardinality(cardinality::Args),
    CheckConfig(check_config::Args),
    Explain(explain::Args),
    HashCredential(hash_credential::Args),
    Overrides(overrides::Args),
    PrepareDownscale(prepare_downscale::Args),
    Red(red::Args),
    Reference(reference::Args),
    Ring(ring::Args),
    Spool(spool::Args),
    Tenant(tenants::OneArgs),
    Tenants(tenants::Args),
    TraceSpan(trace_span::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "spanmillctl: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<String> {
    match args.command {
        Command::Cardinality(args) => waited(cardinality::run(&args)),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Explain(args) => Ok(explain::run(&args)?),
        Command::HashCredential(args) => hash_credential::run(&args),
        Command::Overrides(args) => waited(overrides::run(&args)),
        Command::PrepareDownscale(args) => waited(prepare_downscale::run(&args)),
        Command::Red(args) => waited(red::run(&args)),
        Command::Reference(args) => reference::run(&args),
        Command::Ring(args) => waited(ring::run(&args)),
        Command::Spool(args) => spool::run(&args),
        Command::Tenant(args) => waited(tenants::one(&args)),
        Command::Tenants(args) => waited(tenants::run(&args)),
        Command::TraceSpan(args) => trace_span::run(&args),
    }
}

/// What a command that asks spanmill says.
fn waited(command: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
