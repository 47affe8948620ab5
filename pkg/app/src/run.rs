//! The life of the process, from its command line to its exit code.

use std::io::{Write, stdout};
use std::path::PathBuf;

use server::Authentication;
use telemetry::logging;

use crate::build::build;
use crate::config::{AppConfig, Loaded, Target};
use crate::error::StartError;
use crate::process::Process;
use crate::signals::Signals;
use crate::{file_limit, listening, version};

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The configuration file; `None` for what is built in.
    pub config_file: Option<PathBuf>,
    /// Whether `${NAME}` in it stands for an environment variable.
    pub expand_env: bool,
    /// Which parts run; `None` for what the configuration says.
    pub target: Option<Target>,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// In order, as it was asked to.
    Stopped,
    /// By a signal that did not let it start, or end in order.
    Interrupted {
        /// The exit code of that signal.
        code: u8,
    },
}

/// Runs until a signal asks it to end.
///
/// `SIGTERM` and `SIGINT` close the intake, collect and send what is there; a second
/// one ends it at once.
///
/// # Errors
///
/// Why it does not start.
pub async fn run(options: &Options) -> Result<Exit, StartError> {
    let mut signals = Signals::listen().map_err(StartError::Signals)?;
    let loaded = load(options)?;
    let server = &loaded.config.server;
    logging::init(&server.log_level, server.log_format())?;
    logging::log_panics();
    file_limit::raise();

    let process = tokio::select! {
        built = build(loaded) => built?,
        signal = signals.next() => {
            return Ok(Exit::Interrupted { code: signal.exit_code() });
        }
    };
    announce(&process);
    let signal = signals.next().await;
    tracing::info!(signal = signal.name(), "stopping");
    tokio::select! {
        () = process.stop() => Ok(Exit::Stopped),
        signal = signals.next() => {
            tracing::warn!(signal = signal.name(), "second signal, ending at once");
            Ok(Exit::Interrupted { code: signal.exit_code() })
        }
    }
}

/// Checks the configuration and every file that it names, and says so.
///
/// # Errors
///
/// What is wrong with it.
pub fn verify(options: &Options) -> Result<(), StartError> {
    let warnings = check(options)?;
    let mut out = stdout().lock();
    // Nothing is left to do if nobody reads it.
    for warning in &warnings {
        let _ = writeln!(out, "{warning}");
    }
    let _ = writeln!(out, "configuration can be used");
    Ok(())
}

/// Checks the configuration and every file that it names; gives what is in them without
/// effect. An entry of the runtime file that is wrong does not keep the process from
/// starting, and is an error here.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(options: &Options) -> Result<Vec<String>, StartError> {
    let loaded = load(options)?;
    listening::wanted(&loaded.config, std::time::Duration::ZERO)?;
    Authentication::check(&loaded.config.authentication).map_err(StartError::Config)?;
    let mut warnings = loaded.warnings;
    warnings.extend(loaded.overrides.check().map_err(StartError::Config)?);
    Ok(warnings)
}

/// Which settings [`print_config`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those in force.
    Effective,
    /// Those that hold where nothing is set.
    Defaults,
    /// Those in force that differ from the defaults.
    Difference,
}

/// Settings as YAML, without secrets.
///
/// # Errors
///
/// What is wrong with the configuration.
pub fn print_config(options: &Options, shown: Shown) -> Result<String, StartError> {
    match shown {
        Shown::Effective => load(options)?.config.to_yaml(),
        Shown::Defaults => AppConfig::default().to_yaml(),
        Shown::Difference => load(options)?.config.difference_to_yaml(),
    }
    .map_err(StartError::Config)
}

pub(crate) fn load(options: &Options) -> Result<Loaded, StartError> {
    let mut loaded = Loaded::load(options.config_file.as_deref(), options.expand_env)
        .map_err(StartError::Config)?;
    if let Some(target) = options.target {
        loaded.config.target = target;
    }
    Ok(loaded)
}

/// Tells whoever watches where to send and where to look.
fn announce(process: &Process) {
    let mut text = version::describe() + "\n";
    for address in &process.addresses {
        tracing::info!(address = %address.address, serves = address.face.name(), "listening");
        text.push_str(&format!("  {:15}{}\n", address.face.name(), address.shown));
    }
    text.push_str("ready\n");
    // The process serves whether or not someone reads this.
    let _ = stdout().lock().write_all(text.as_bytes());
}
