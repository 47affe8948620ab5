//! `spanmillctl red`: rates, errors and durations by service.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::fetch::Api;

mod services;
mod table;

use services::{Scrape, Services};

/// Shows requests, errors and latencies of each service
///
/// Looks at the generated series twice and shows what happened in between, as
/// Prometheus' rate() and histogram_quantile() would.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Spanmill's HTTP API
    #[arg(long, default_value = "http://127.0.0.1:3200")]
    url: String,

    /// Whose series, where there are several tenants
    #[arg(long)]
    tenant: Option<String>,

    /// Time between the two looks
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// How long to wait for the first series
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    wait: Duration,

    /// Which spans count as requests
    #[arg(long, value_enum, default_value = "served")]
    kinds: Kinds,
}

/// Spans by what they tell about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kinds {
    /// What the service was asked for: SERVER and CONSUMER spans.
    Served,
    /// Every span.
    All,
}

/// Where the series are.
const PATH: &str = "/metrics/generated";

/// Runs the command; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let api = Api::new(&args.url, args.tenant.as_deref())?;
    let first = first_scrape(&api, args).await?;
    let started = Instant::now();
    tokio::time::sleep(args.interval).await;
    let second = scrape(&api, args.kinds).await?;
    let elapsed = started.elapsed();
    if second.is_empty() {
        return Ok(nothing(&args.url));
    }
    let between = Services::between(&first, &second);
    if !first.is_empty() && !between.is_quiet() {
        return Ok(table::rates(&between, elapsed));
    }
    let note = if first.is_empty() {
        "the first series have only just appeared".to_owned()
    } else {
        let interval = humantime::format_duration(args.interval);
        format!("no requests in the last {interval}")
    };
    let totals = Services::between(&Scrape::default(), &second);
    Ok(table::totals(&totals, &note))
}

/// Looks until there is something to see or patience ends.
async fn first_scrape(api: &Api, args: &Args) -> anyhow::Result<Scrape> {
    let deadline = Instant::now() + args.wait;
    let mut told = false;
    loop {
        let scrape = scrape(api, args.kinds).await?;
        if !scrape.is_empty() || Instant::now() >= deadline {
            return Ok(scrape);
        }
        if !told {
            told = true;
            let _ = writeln!(std::io::stderr(), "waiting for the first series ...");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn scrape(api: &Api, kinds: Kinds) -> anyhow::Result<Scrape> {
    Ok(Scrape::read(&api.text(PATH).await?, kinds)?)
}

fn nothing(url: &str) -> String {
    format!(
        "No request series at {url}{PATH} yet.\n\
         Are spans arriving? \"spangen --duration 1m\" sends some. Series appear with the first \
         SERVER or CONSUMER span;\n\
         --kinds all shows every span, --tenant NAME those of one tenant.\n"
    )
}
