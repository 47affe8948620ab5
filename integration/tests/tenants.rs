//! With many tenants, each sees its own series and no one else's.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Exposition, Spanmill};

const CALLS: &str = "traces_spanmetrics_calls_total";

async fn multi_tenant() -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config("multitenancy_enabled: true")
        .start()
        .await
}

fn checkout(count: u64) -> Traces {
    Traces::of_service("checkout").spans("pay", count, Duration::from_millis(3), 1)
}

#[tokio::test]
async fn each_tenant_has_its_own_series_and_counts() -> anyhow::Result<()> {
    let spanmill = multi_tenant().await?;
    for (tenant, count) in [("acme", 5), ("globex", 7)] {
        post(
            &spanmill.otlp_http(),
            &checkout(count).request(),
            Some(tenant),
        )
        .await?
        .accepted()?;
    }
    for (tenant, count) in [("acme", 5.0), ("globex", 7.0)] {
        let by_header = spanmill.generated(tenant).await?;
        let page = spanmill.api(&format!("/metrics/generated?tenant={tenant}"));
        let by_query = Exposition::parse(&text_of(client().get(page)).await?)?;
        for generated in [by_header, by_query] {
            ensure!(
                generated.sum(CALLS, &[]) == count,
                "{tenant}: {generated:?}"
            );
        }
    }
    spanmill.finish(&[("acme", 5), ("globex", 7)]).await
}

#[tokio::test]
async fn push_without_a_tenant_is_refused_for_good() -> anyhow::Result<()> {
    let spanmill = multi_tenant().await?;
    for tenant in [None, Some("../acme")] {
        let answer = post(&spanmill.otlp_http(), &checkout(1).request(), tenant).await?;
        ensure!(answer.status == 401, "tenant {tenant:?}: {}", answer.status);
    }
    let scrape = client()
        .get(spanmill.api("/metrics/generated"))
        .send()
        .await?;
    ensure!(scrape.status() == 401, "scrape: {}", scrape.status());
    spanmill.finish(&[]).await
}

#[tokio::test]
async fn targets_list_every_tenant_for_http_sd() -> anyhow::Result<()> {
    let spanmill = multi_tenant().await?;
    for tenant in ["acme", "globex"] {
        post(&spanmill.otlp_http(), &checkout(1).request(), Some(tenant))
            .await?
            .accepted()?;
    }
    let text = text_of(client().get(spanmill.api("/metrics/generated/targets"))).await?;
    for tenant in ["acme", "globex"] {
        ensure!(
            text.contains(&format!("\"{tenant}\"")),
            "{tenant} is not in {text}"
        );
    }
    spanmill.finish(&[("acme", 1), ("globex", 1)]).await
}
