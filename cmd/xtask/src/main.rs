//! Chores of the workspace that need more than a shell line.
//!
//! `cargo run -p xtask -- layout` checks the layout rules; see [`layout`].

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

mod layout;

const USAGE: &str = "usage: cargo run -p xtask -- layout";

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("layout"), None) => check_layout(),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn check_layout() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("xtask does not lie two directories below the workspace")?;
    let violations = layout::check(root)?;
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
