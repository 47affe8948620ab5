//! `reference`: pages on settings and metrics, and schemas, as they are in `docs/reference`.

use anyhow::Context as _;
use app::reference::{configuration_page, configuration_schema, metrics_page, runtime_file_schema};
use clap::ValueEnum;

/// Writes a page of the reference, or a JSON schema for editors.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which.
    document: Document,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Document {
    /// Every setting.
    #[value(name = "configuration.md")]
    Configuration,
    /// The JSON schema of the configuration file.
    #[value(name = "configuration.schema.json")]
    ConfigurationSchema,
    /// Every metric of spanmill's own.
    #[value(name = "metrics.md")]
    Metrics,
    /// The JSON schema of the runtime file.
    #[value(name = "overrides.schema.json")]
    RuntimeFileSchema,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    let schema = match args.document {
        Document::Configuration => return Ok(configuration_page()),
        Document::Metrics => return Ok(metrics_page()),
        Document::ConfigurationSchema => configuration_schema(),
        Document::RuntimeFileSchema => runtime_file_schema(),
    };
    let text = serde_json::to_string_pretty(&schema).context("cannot write the schema")?;
    Ok(text + "\n")
}
