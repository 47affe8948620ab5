//! `spanmillctl tenants` and `spanmillctl tenant`: what tenants have, send, and are
//! behind with; and how one leaves.

use anyhow::Context as _;
use app::tenants_api::{TenantAnswer, TenantsAnswer};
use clap::ValueEnum;
use model::TenantId;
use reqwest::Url;
use serde_json::Value;

use crate::fetch::Api;

mod delete;
mod text;

pub(crate) use self::text::{add, missing};

/// Shows the tenants that send spans
///
/// LAG is how long the oldest sample waits to be sent. DISCARDED are spans that no
/// processor saw.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,

    /// What the list is ordered by, the highest first
    #[arg(long, value_enum, default_value = "series")]
    sort: Sort,

    /// How many tenants
    #[arg(long, default_value_t = 50)]
    limit: usize,

    /// After which one to begin, as the page before says
    #[arg(long, value_name = "PLACE", default_value = "")]
    after: String,
}

/// Shows one tenant: series, limits, rates, discards by reason, destinations
///
/// `spanmillctl tenant -- delete` shows a tenant with the id delete.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct OneArgs {
    #[command(subcommand)]
    command: Option<OneCommand>,

    /// The tenant
    #[arg(value_parser = tenant_id, required = true)]
    tenant: Option<TenantId>,

    #[command(flatten)]
    source: Source,
}

/// What can be done with one tenant besides.
#[derive(Clone, Debug, clap::Subcommand)]
enum OneCommand {
    Delete(delete::Args),
}

/// Where to ask, and how to show it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Source {
    /// Spanmill's admin address; with one tenant its HTTP API does as well
    #[arg(long, default_value = "http://127.0.0.1:3201")]
    pub(crate) url: String,

    /// JSON, as spanmill answers
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the list is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Sort {
    Name,
    Series,
    Rate,
    Lag,
    Discards,
}

/// Reads a tenant's id from the command line.
pub(crate) fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

/// Runs `tenants`; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let limit = args.limit.to_string();
    let path = path(
        "/api/v1/tenants",
        &[
            ("sort", args.sort.into()),
            ("limit", &limit),
            ("after", &args.after),
        ],
    )?;
    args.source
        .show(&path, None, |body| {
            let answer: TenantsAnswer = serde_json::from_str(body)?;
            Ok(text::list(&answer))
        })
        .await
}

/// Runs `tenant`; gives the text to print.
pub(crate) async fn one(args: &OneArgs) -> anyhow::Result<String> {
    if let Some(OneCommand::Delete(args)) = &args.command {
        return delete::run(args).await;
    }
    let tenant = args.tenant.as_ref().context("no tenant is named")?;
    let path = format!("/api/v1/tenants/{tenant}");
    args.source
        .show(&path, None, |body| {
            let answer: TenantAnswer = serde_json::from_str(body)?;
            Ok(text::one(&answer))
        })
        .await
}

/// A path with a query, from which empty values are left out.
pub(crate) fn path(path: &str, query: &[(&str, &str)]) -> anyhow::Result<String> {
    let given = query.iter().filter(|(_, value)| !value.is_empty());
    let url = Url::parse_with_params(&format!("http://localhost{path}"), given)?;
    let query = url.query().map(|query| format!("?{query}"));
    Ok(format!("{}{}", url.path(), query.unwrap_or_default()))
}

impl Source {
    /// Asks, for something that may take `longer` than usual, and writes it down.
    pub(crate) async fn show(
        &self,
        path: &str,
        longer: Option<std::time::Duration>,
        table: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let api = Api::new(&self.url, None)?.waiting(longer.unwrap_or_default());
        let body = api.text(path).await?;
        self.written(path, &body, table)
    }

    /// Writes an answer down.
    pub(crate) fn written(
        &self,
        path: &str,
        body: &str,
        table: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        if self.json {
            let answer: Value = serde_json::from_str(body)?;
            return Ok(format!("{answer:#}\n"));
        }
        let url = &self.url;
        table(body).with_context(|| format!("{url}{path} did not answer as expected"))
    }
}

#[cfg(test)]
mod tests;
