//! For programs.

use serde_json::{Value, json};

use super::{Names, Tenants};

/// All that is known, in one document.
pub(super) fn document(tenants: &Tenants, names: Names<'_>) -> serde_json::Result<String> {
    let tenants: Vec<Value> = tenants
        .iter()
        .map(|(tenant, spooled)| {
            let destinations = spooled.destinations.iter();
            let destinations: Vec<Value> = destinations
                .map(|destination| {
                    json!({
                        "destination": names.of(destination.key),
                        "pending_samples": destination.pending,
                        "oldest_pending_ms": destination.oldest_pending_ms,
                        "delivered_ms": destination.delivered_ms,
                        "shards": destination.shards,
                    })
                })
                .collect();
            json!({
                "tenant": tenant.as_str(),
                "segments": spooled.segments,
                "bytes": spooled.bytes,
                "samples": spooled.samples,
                "oldest_ms": spooled.oldest_ms,
                "newest_ms": spooled.newest_ms,
                "lost_samples": spooled.missing,
                "unreadable_files": spooled.unreadable_files,
                "destinations": destinations,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "tenants": tenants }))?;
    Ok(text + "\n")
}
