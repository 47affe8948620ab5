//! `spanmillctl cardinality`: what a tenant's series are made of.

use std::fmt::Write as _;
use std::time::Duration;

use app::tenants_api::{CardinalityAnswer, DropAnswer, EnableAnswer, FamilyAnswer, MetricAnswer};
use model::TenantId;

use crate::table::printable;
use crate::tenants::{Source, add, missing, path, tenant_id};

/// Values of a label that a table has.
const VALUES: usize = 3;

/// Shows which metrics, labels and values a tenant's series come from
///
/// And what there would be without a label, or with a processor that is off.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The tenant
    #[arg(value_parser = tenant_id)]
    tenant: TenantId,

    #[command(flatten)]
    source: Source,

    /// How many metrics and labels
    #[arg(long, default_value_t = 20)]
    limit: usize,

    /// What if series did not have this label; may be repeated
    #[arg(long, value_name = "LABEL")]
    drop: Vec<String>,

    /// What if this processor were on
    #[arg(long, value_name = "PROCESSOR")]
    enable: Option<String>,

    /// How long to try the processor, if need be
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

/// Runs the command; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let tries = args.enable.is_some();
    let duration = match tries {
        true => format!("{}ms", args.duration.as_millis()),
        false => String::new(),
    };
    let path = path(
        &format!("/api/v1/tenants/{}/cardinality", args.tenant),
        &[
            ("limit", &args.limit.to_string()),
            ("drop", &args.drop.join(",")),
            ("enable", args.enable.as_deref().unwrap_or_default()),
            ("for", &duration),
        ],
    )?;
    let longer = tries.then_some(args.duration);
    args.source
        .show(&path, longer, |body| Ok(text(&serde_json::from_str(body)?)))
        .await
}

fn text(answer: &CardinalityAnswer) -> String {
    let CardinalityAnswer {
        tenant,
        series,
        label_sets,
        ..
    } = answer;
    let mut text = format!("{tenant}: {series} series of {label_sets} label sets\n");
    add_metrics(&mut text, &answer.metrics);
    add_labels(&mut text, &answer.families);
    if let Some(drop) = &answer.drop {
        text.push('\n');
        text.push_str(&without(drop, answer.standard_error));
    }
    if let Some(enable) = &answer.enable {
        text.push('\n');
        text.push_str(&added(enable));
    }
    missing(&mut text, &answer.missing);
    text
}

fn add_metrics(text: &mut String, metrics: &[MetricAnswer]) {
    let rows = metrics.iter().map(|metric| {
        [
            metric.name.clone(),
            metric.series.to_string(),
            metric.series_per_label_set.to_string(),
        ]
    });
    let heads = ["METRIC", "SERIES", "PER LABEL SET"];
    add(text, heads, &["METRIC"], rows.collect());
}

fn add_labels(text: &mut String, families: &[FamilyAnswer]) {
    for family in families.iter().filter(|family| !family.labels.is_empty()) {
        let names = family.metrics.iter().map(|metric| metric.name.as_str());
        let names: Vec<_> = names.collect();
        let _ = write!(
            text,
            "\n{}: {} label sets",
            names.join(", "),
            family.label_sets
        );
        if family.refused_label_sets > 0 {
            let _ = write!(text, ", about {} more refused", family.refused_label_sets);
        }
        text.push('\n');
        let rows = family.labels.iter().map(|label| {
            let top = label.top.iter().take(VALUES);
            let top = top.map(|value| {
                let (text, series) = (printable(&value.value), value.series);
                match label.top_error {
                    0 => format!("{text} ({series})"),
                    error => format!("{text} ({series} to {})", series + error),
                }
            });
            let top: Vec<_> = top.collect();
            [
                label.name.clone(),
                label.values.to_string(),
                label.series.to_string(),
                top.join(", "),
            ]
        });
        let heads = ["LABEL", "VALUES", "SERIES", "MOST SERIES HAVE"];
        let table = crate::table::table(heads, &["LABEL", "MOST SERIES HAVE"], rows.collect());
        text.push_str(&table);
    }
}

fn without(drop: &DropAnswer, standard_error: f64) -> String {
    let DropAnswer {
        series,
        series_without,
        ..
    } = drop;
    let labels = printable(&drop.labels.join(", "));
    let mut text = String::new();
    if drop.families.is_empty() {
        let _ = writeln!(text, "Without {labels}: {series} series as now.");
    } else {
        let percent = standard_error * 100.0;
        let _ = writeln!(
            text,
            "Without {labels}: about {series_without} series instead of {series} (standard error {percent:.2} %)."
        );
    }
    if !drop.unknown_labels.is_empty() {
        let unknown = printable(&drop.unknown_labels.join(", "));
        let _ = writeln!(text, "No series has {unknown}.");
    }
    text
}

fn added(enable: &EnableAnswer) -> String {
    let EnableAnswer {
        processor,
        series,
        label_sets,
        ..
    } = enable;
    let mut text = match &enable.trial {
        None => format!(
            "With {processor}: {series} series more, of {label_sets} label sets that there are.\n"
        ),
        Some(trial) => format!(
            "With {processor}: {series} series more, of {label_sets} label sets, from {} spans in {} s; \
             {} series at half time.\nThere will be more as long as new label sets come.\n",
            trial.spans, trial.seconds, trial.series_at_half_time
        ),
    };
    let metrics = enable.families.iter().flat_map(|family| &family.metrics);
    let metrics: Vec<_> = metrics.cloned().collect();
    add_metrics(&mut text, &metrics);
    if !enable.known {
        add_labels(&mut text, &enable.families);
    }
    text
}

#[cfg(test)]
mod tests;
