//! For people: a table of tenants, and one of their destinations.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::{Names, Tenants};

/// Both tables, or why there are none.
pub(super) fn text(tenants: &Tenants, names: Names<'_>) -> String {
    if tenants.is_empty() {
        return "No tenant has anything in this spool.\n".to_owned();
    }
    let all = tenants.iter().map(|(tenant, spooled)| {
        [
            tenant.to_string(),
            spooled.segments.to_string(),
            size(spooled.bytes),
            spooled.samples.to_string(),
            time(spooled.oldest_ms),
            time(spooled.newest_ms),
            spooled.missing.to_string(),
            spooled.unreadable_files.to_string(),
        ]
    });
    let heads = [
        "TENANT",
        "SEGMENTS",
        "SIZE",
        "SAMPLES",
        "OLDEST",
        "NEWEST",
        "LOST",
        "UNREADABLE",
    ];
    let mut text = table(heads, all.collect());
    let destinations = tenants.iter().flat_map(|(tenant, spooled)| {
        spooled.destinations.iter().map(|destination| {
            [
                tenant.to_string(),
                names.of(destination.key),
                destination.pending.to_string(),
                time(destination.oldest_pending_ms),
                time(destination.delivered_ms),
                destination.shards.to_string(),
            ]
        })
    });
    let destinations: Vec<_> = destinations.collect();
    if destinations.is_empty() {
        text.push_str("\nNothing says that any of it was ever tried to be sent.\n");
        return text;
    }
    let heads = [
        "TENANT",
        "DESTINATION",
        "PENDING",
        "SINCE",
        "DELIVERED UP TO",
        "SHARDS",
    ];
    text.push('\n');
    text + &table(heads, destinations)
}

/// Columns as wide as they need, numbers to the right.
fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let is_number = heads.map(|head| {
        !matches!(
            head,
            "TENANT" | "DESTINATION" | "OLDEST" | "NEWEST" | "SINCE" | "DELIVERED UP TO"
        )
    });
    let mut text = String::new();
    let heads = heads.map(str::to_owned);
    for row in std::iter::once(heads).chain(rows) {
        let mut line = String::new();
        for ((cell, width), is_number) in row.iter().zip(widths).zip(is_number) {
            let _ = match is_number {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn size(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if scaled < 1024.0 {
            let decimals = usize::from(unit != "B");
            return format!("{scaled:.decimals$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} GiB")
}

fn time(time_ms: Option<i64>) -> String {
    let since = time_ms.and_then(|ms| u64::try_from(ms).ok());
    // Beyond the year 9999 it could not be written.
    let time = since
        .filter(|ms| *ms < 253_402_300_800_000)
        .and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or_else(
        || "-".to_owned(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
