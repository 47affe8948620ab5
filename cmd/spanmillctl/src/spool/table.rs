//! For people: a table of tenants, and one of their destinations.

use super::{Names, Tenants};
use crate::table::{size, table, time};

/// Columns that are no numbers.
const LEFT: [&str; 6] = [
    "TENANT",
    "DESTINATION",
    "OLDEST",
    "NEWEST",
    "SINCE",
    "DELIVERED UP TO",
];

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
    let mut text = table(heads, &LEFT, all.collect());
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
    text + &table(heads, &LEFT, destinations)
}
