//! Chores of the workspace that need more than a shell line.
//!
//! `cargo run -p xtask -- layout` checks the layout rules, and the names of metrics under
//! `operations/`; see [`layout`] and [`operations`].
//! `cargo run -p xtask -- reference` makes the generated pages; see [`mod@reference`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use reference::Task;

mod layout;
mod operations;
mod reference;

const USAGE: &str = "usage: cargo run -p xtask -- layout | reference [--check]

SPANMILL_BIN_DIR may name the directory of a spanmillctl that is built already.";

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (command, option) = (arguments.next(), arguments.next());
    match (command.as_deref(), option.as_deref()) {
        (Some("layout"), None) => check_layout(),
        (Some("reference"), None) => make_reference(Task::Write),
        (Some("reference"), Some("--check")) => make_reference(Task::Check),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("xtask does not lie two directories below the workspace")
}

fn make_reference(task: Task) -> anyhow::Result<ExitCode> {
    let bin_dir = std::env::var_os("SPANMILL_BIN_DIR").map(PathBuf::from);
    let stale = reference::make(root()?, bin_dir, task)?;
    let done = match task {
        Task::Write => "written anew",
        Task::Check => "not as the types make it: run `cargo run -p xtask -- reference`",
    };
    for page in &stale {
        eprintln!("docs/reference/{page}: {done}");
    }
    if task == Task::Check && !stale.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    eprintln!("reference: every page is current");
    Ok(ExitCode::SUCCESS)
}

fn check_layout() -> anyhow::Result<ExitCode> {
    let mut violations = layout::check(root()?)?;
    violations.extend(operations::check(root()?)?);
    for violation in &violations {
        eprintln!("{violation}");
    }
    if violations.is_empty() {
        eprintln!("layout: every rule holds");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("layout: {} violations", violations.len());
    Ok(ExitCode::FAILURE)
}
