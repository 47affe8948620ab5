//! `spanmillctl` looks into a running spanmill, its configuration, and what it has on disk.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check_config;
mod explain;
mod exposition;
mod fetch;
mod red;
mod reference;
mod spool;

/// Looks into a running spanmill, its configuration, and what it has on disk.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CheckConfig(check_config::Args),
    Explain(explain::Args),
    Red(red::Args),
    Reference(reference::Args),
    Spool(spool::Args),
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
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Explain(args) => Ok(explain::run(&args)?),
        Command::Red(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(red::run(&args))
        }
        Command::Reference(args) => reference::run(&args),
        Command::Spool(args) => spool::run(&args),
    }
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
