//! Log lines: one event is one line, whatever strings it holds.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod format;
mod line;

use format::LineFormat;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `ts=... level=info target=... msg="..." key=value`.
    #[default]
    Logfmt,
    /// One JSON object.
    Json,
}

/// Logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is neither a level nor a list of `target=level`.
    #[error(
        "{origin}: {filter:?} is not one of debug, info, warn, error, or a list of target=level"
    )]
    Filter {
        /// The setting or variable that holds it.
        origin: &'static str,
        /// What it holds.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// A format that is neither `logfmt` nor `json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of logfmt, json")]
pub struct UnknownLogFormat(pub String);

/// Libraries whose debug output is of use only when asked for by name.
const QUIET: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "reqwest",
    "rustls",
    "tonic",
    "tower",
];

/// Starts writing log lines to standard error.
///
/// `level` is the setting `server.log_level`; the environment variable
/// `RUST_LOG` wins over it. If the process has a logger already it stays.
///
/// # Errors
///
/// [`LoggingError`] if the level cannot be read.
pub fn init(level: &str, format: LogFormat) -> Result<(), LoggingError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => parse_filter("RUST_LOG", &directives)?,
        _ => parse_filter("server.log_level", &with_quiet_libraries(level))?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(LineFormat(format))
        .fmt_fields(LineFormat(format))
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // Fails only if a logger is set already: in tests that start many processes' worth.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    Ok(())
}

/// Logs panics as events, instead of the lines that Rust prints.
///
/// The backtrace is in the event if `RUST_BACKTRACE` asks for one.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic without a message");
        let location = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            location = location.as_deref(),
            backtrace = backtrace.map(tracing::field::display),
            "panic: {message}"
        );
    }));
}

fn parse_filter(origin: &'static str, directives: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LoggingError::Filter {
            origin,
            filter: directives.to_owned(),
            source,
        })
}

/// A plain level holds for our own code; libraries stay at `info` at most.
fn with_quiet_libraries(level: &str) -> String {
    let mut directives = level.to_owned();
    if matches!(level, "debug" | "trace") {
        for library in QUIET {
            directives.push_str(&format!(",{library}=info"));
        }
    }
    directives
}

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "logfmt" => Ok(Self::Logfmt),
            "json" => Ok(Self::Json),
            other => Err(UnknownLogFormat(other.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests;
