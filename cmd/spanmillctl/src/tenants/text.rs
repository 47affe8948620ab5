//! For people: tables of tenants.

use std::fmt::Write as _;

use app::tenants_api::{Level, MissingNode, RemoteWriteAnswer, TenantAnswer, TenantsAnswer};

use crate::table::{size, table, time};

/// Stages before any processor.
const BEFORE_PROCESSORS: [&str; 2] = ["distributor", "all"];

/// The table of tenants, and how to go on.
pub(super) fn list(answer: &TenantsAnswer) -> String {
    if answer.total == 0 {
        let mut text = "No tenant has sent anything since the start.\n".to_owned();
        missing(&mut text, &answer.missing);
        return text;
    }
    let rows = answer.tenants.iter().map(|tenant| {
        let remote_write = tenant.remote_write.as_ref();
        let discards = tenant.discards.iter();
        let unseen = discards.filter(|of| BEFORE_PROCESSORS.contains(&of.stage.as_str()));
        [
            tenant.tenant.clone(),
            tenant.series.active.to_string(),
            limit(tenant.series.limit),
            tenant.series.demand.to_string(),
            format!("{:.1}", tenant.spans.per_second),
            remote_write.map_or_else(|| "-".to_owned(), |of| seconds(longest_lag(of))),
            remote_write.map_or_else(|| "-".to_owned(), |of| pending(of).to_string()),
            unseen.map(|of| of.spans).sum::<u64>().to_string(),
            tenant.processors.join(","),
        ]
    });
    let heads = [
        "TENANT",
        "SERIES",
        "LIMIT",
        "DEMAND",
        "SPANS/S",
        "LAG",
        "PENDING",
        "DISCARDED",
        "PROCESSORS",
    ];
    let mut text = table(heads, &["TENANT", "PROCESSORS"], rows.collect());
    if let Some(next) = &answer.next {
        let (shown, total) = (answer.tenants.len(), answer.total);
        let _ = writeln!(
            text,
            "({shown} of {total} tenants; --after {next} shows the next)"
        );
    }
    missing(&mut text, &answer.missing);
    text
}

/// Says of which nodes nothing is in an answer.
pub(crate) fn missing(text: &mut String, nodes: &[MissingNode]) {
    for MissingNode { node, why } in nodes {
        let _ = writeln!(text, "without {node}: {why}");
    }
}

/// One tenant.
pub(super) fn one(tenant: &TenantAnswer) -> String {
    let flow = |total: String, per_second: String| {
        let over = tenant.rate_over_seconds;
        format!("{total}, {per_second} a second over {over:.0} s")
    };
    let rows = [
        ("tenant", tenant.tenant.clone()),
        ("processors", none_if_empty(tenant.processors.join(", "))),
        ("series", level(tenant.series)),
        ("label sets", level(tenant.label_sets)),
        (
            "spans",
            flow(
                tenant.spans.total.to_string(),
                format!("{:.1}", tenant.spans.per_second),
            ),
        ),
        (
            "bytes",
            flow(
                size(tenant.bytes.total),
                size(tenant.bytes.per_second as u64),
            ),
        ),
        ("overflowed spans", tenant.overflowed_spans.to_string()),
        ("waiting spans", tenant.waiting_spans.to_string()),
        ("last collection", time(tenant.last_collection_ms)),
    ];
    let mut text = String::new();
    for (what, value) in rows {
        let _ = writeln!(text, "{what:<18}{value}");
    }
    let discards = tenant.discards.iter().map(|discards| {
        [
            discards.stage.clone(),
            discards.reason.clone(),
            discards.spans.to_string(),
        ]
    });
    add(
        &mut text,
        ["DISCARDED BY", "REASON", "SPANS"],
        &["DISCARDED BY", "REASON"],
        discards.collect(),
    );
    let labels = tenant.limited_labels.iter().map(|label| {
        [
            label.name.clone(),
            label.demand.to_string(),
            tenant.values_per_label_limit.to_string(),
            label.limited_label_sets.to_string(),
        ]
    });
    add(
        &mut text,
        ["LABEL", "VALUES", "LIMIT", "LIMITED LABEL SETS"],
        &["LABEL"],
        labels.collect(),
    );
    if let Some(remote_write) = &tenant.remote_write {
        destinations(&mut text, remote_write);
    }
    let nodes = tenant.nodes.iter().map(|node| {
        [
            node.node.clone(),
            node.series.to_string(),
            format!("{:.1}", node.spans_per_second),
        ]
    });
    add(
        &mut text,
        ["NODE", "SERIES", "SPANS/S"],
        &["NODE"],
        nodes.collect(),
    );
    missing(&mut text, &tenant.missing);
    text
}

fn destinations(text: &mut String, remote_write: &RemoteWriteAnswer) {
    let rows = remote_write.destinations.iter().map(|destination| {
        let dropped = destination.dropped_samples.iter();
        let dropped: Vec<_> = dropped
            .map(|(reason, samples)| format!("{samples} {reason}"))
            .collect();
        [
            destination.name.clone(),
            destination.pending_samples.to_string(),
            seconds(destination.lag_seconds),
            destination.failures.to_string(),
            destination.sent_samples.to_string(),
            none_if_empty(dropped.join(", ")),
        ]
    });
    add(
        text,
        [
            "DESTINATION",
            "PENDING",
            "LAG",
            "FAILURES",
            "SENT",
            "DROPPED",
        ],
        &["DESTINATION", "DROPPED"],
        rows.collect(),
    );
    let _ = writeln!(
        text,
        "\nspool on disk     {}",
        size(remote_write.spool_bytes)
    );
}

/// Adds a table, unless it would have no rows.
pub(crate) fn add<const N: usize>(
    text: &mut String,
    heads: [&str; N],
    left: &[&str],
    rows: Vec<[String; N]>,
) {
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(heads, left, rows));
    }
}

fn level(level: Level) -> String {
    let mut text = match level.limit {
        0 => format!("{}, without a limit", level.active),
        limit => format!("{} of {limit}", level.active),
    };
    if level.demand > level.active {
        let _ = write!(text, ", about {} without limits", level.demand);
    }
    text
}

fn limit(limit: u64) -> String {
    match limit {
        0 => "-".to_owned(),
        limit => limit.to_string(),
    }
}

fn none_if_empty(text: String) -> String {
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

fn longest_lag(remote_write: &RemoteWriteAnswer) -> f64 {
    let destinations = remote_write.destinations.iter();
    let lags = destinations.map(|destination| destination.lag_seconds);
    lags.fold(0.0, f64::max)
}

fn pending(remote_write: &RemoteWriteAnswer) -> u64 {
    let destinations = remote_write.destinations.iter();
    destinations
        .map(|destination| destination.pending_samples)
        .sum()
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}
