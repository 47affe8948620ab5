//! The traces that the scripts of clients send: orders of a shop.

use anyhow::ensure;

use crate::patience::eventually;
use crate::spanmill::{SINGLE_TENANT, Spanmill};

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency_count";

/// The kinds that a client has words for.
#[derive(Clone, Copy, Debug)]
pub enum Kinds {
    /// Server, client and internal.
    All,
    /// Server and client.
    OfTwoSides,
    /// None at all.
    None,
}

/// Waits until every span of `orders` has come, and then checks that the series are
/// those of the orders and no others, and ends spanmill.
///
/// # Errors
///
/// The first count that differs.
pub async fn every_span_counts(
    spanmill: Spanmill,
    orders: u32,
    kinds: Kinds,
) -> anyhow::Result<()> {
    let whole = f64::from(orders);
    // What goes by UDP is on its way when the client has ended.
    eventually("every span to come", || async {
        let found = spanmill.generated(SINGLE_TENANT).await?.sum(CALLS, &[]);
        ensure!(found >= 3.0 * whole, "{found} of {} calls", 3.0 * whole);
        Ok(())
    })
    .await?;
    let unspecified = "SPAN_KIND_UNSPECIFIED";
    let (server, client) = match kinds {
        Kinds::All | Kinds::OfTwoSides => ("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"),
        Kinds::None => (unspecified, unspecified),
    };
    let internal = match kinds {
        Kinds::All => "SPAN_KIND_INTERNAL",
        Kinds::OfTwoSides | Kinds::None => unspecified,
    };
    let (unset, error) = ("STATUS_CODE_UNSET", "STATUS_CODE_ERROR");
    let generated = spanmill.generated(SINGLE_TENANT).await?;
    let series = [
        ("POST /orders", server, unset, whole * 0.75),
        ("POST /orders", server, error, whole * 0.25),
        ("SELECT", client, unset, whole),
        ("price", internal, unset, whole),
    ];
    for (span_name, kind, status, count) in series {
        let labels = [
            ("service", "shop"),
            ("span_name", span_name),
            ("span_kind", kind),
            ("status_code", status),
        ];
        for name in [CALLS, LATENCY] {
            let found = generated.sum(name, &labels);
            ensure!(found == count, "{name} {labels:?}: {found}, not {count}");
        }
    }
    let found = generated.select(CALLS, &[]).count();
    ensure!(found == series.len(), "{found} series of {CALLS}");
    let spans = 3 * u64::from(orders);
    spanmill.finish(&[(SINGLE_TENANT, spans)]).await
}
