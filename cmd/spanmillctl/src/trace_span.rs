//! `trace-span`: what becomes of spans, rule by rule.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, anyhow, ensure};
use app::{Options, TraceSpanError};
use model::TenantId;

mod input;
mod text;

/// Says rule by rule which series spans reach, or why they are refused
///
/// The processors and the registry of spanmill take one span after the other, as those
/// of a tenant that has sent nothing before; nothing is sent anywhere. What they say is
/// what the ledger in /metrics would count.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// An OTLP request in protobuf or JSON, or one span in JSON, beside whose fields may
    /// stand its `resource`; `-` for standard input
    file: PathBuf,

    /// Whose spans they are
    #[arg(long, default_value = "single-tenant", value_parser = tenant)]
    tenant: TenantId,

    /// The configuration file, whose runtime file is read as well; without one,
    /// what spanmill runs without one
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// What the tenant has set itself, in JSON, as GET /api/overrides gives it
    #[arg(long, value_name = "FILE")]
    own_settings: Option<PathBuf>,

    /// Replace ${NAME} and ${NAME:default} in both files by environment variables
    #[arg(long = "config.expand-env")]
    expand_env: bool,

    /// When the spans arrive, such as 2026-01-31T12:00:00Z; by default each at its end
    #[arg(long, value_name = "TIME", value_parser = unix_nanos)]
    now: Option<u64>,

    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Runs the command; gives the text to print.
pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    let request = input::read(&args.file)?;
    let options = Options {
        config_file: args.config_file.clone(),
        expand_env: args.expand_env,
        target: None,
    };
    let own_settings = match &args.own_settings {
        Some(file) => {
            Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
        }
        None => None,
    };
    let explained = app::trace_span(
        &options,
        args.tenant.clone(),
        own_settings.as_deref(),
        &request,
        args.now,
    );
    let explanation = explained.map_err(|error| match error {
        TraceSpanError::Config(error) => anyhow!("{}", error.report()),
        TraceSpanError::Spans(error) => {
            anyhow::Error::new(error).context(args.file.display().to_string())
        }
    })?;
    ensure!(
        !explanation.spans.is_empty(),
        "{}: no spans",
        args.file.display()
    );
    match args.json {
        true => {
            let json = serde_json::to_string_pretty(&explanation);
            Ok(json.context("cannot write JSON")? + "\n")
        }
        false => Ok(text::of(&explanation)),
    }
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

fn unix_nanos(text: &str) -> Result<u64, String> {
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| "is before 1970".to_owned())?;
    u64::try_from(since.as_nanos()).map_err(|_| "is too far away".to_owned())
}

#[cfg(test)]
mod tests;
