//! What is attributed at `/usage_metrics` adds up to the bytes and spans received.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Exposition, Spanmill};

const CONFIG: &str = "
multitenancy_enabled: true
distributor: {usage: {cost_attribution: {enabled: true}}}
overrides:
  defaults:
    cost_attribution: {dimensions: {resource.service.name: service, team: ''}}
";

#[tokio::test]
async fn what_is_attributed_is_what_was_received() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().config(CONFIG).start().await?;
    for (tenant, service, spans) in [("a", "cart", 3), ("a", "shop", 40), ("b", "cart", 7)] {
        let traces = Traces::of_service(service).spans("GET", spans, Duration::from_millis(3), 1);
        let answer = post(&spanmill.otlp_http(), &traces.request(), Some(tenant)).await?;
        answer.accepted()?;
    }
    let usage = Exposition::parse(&text_of(client().get(spanmill.api("/usage_metrics"))).await?)?;
    let metrics = spanmill.metrics().await?;
    for tenant in ["a", "b"] {
        let labels = [("tenant", tenant), ("tracker", "cost-attribution")];
        let attributed = usage.sum("tempo_usage_tracker_bytes_received_total", &labels);
        let labels = [("tenant", tenant)];
        let received = metrics.sum("spanmill_distributor_bytes_received_total", &labels);
        ensure!(
            attributed == received,
            "{tenant}: {attributed} of {received} bytes"
        );
    }
    let shop = [
        ("tenant", "a"),
        ("service", "shop"),
        ("team", "__missing__"),
    ];
    let spans = usage.sum("spanmill_usage_tracker_spans_received_total", &shop);
    ensure!(spans == 40.0, "{spans} spans");
    spanmill.finish(&[("a", 43), ("b", 7)]).await
}
