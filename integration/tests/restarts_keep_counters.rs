//! Ten planned restarts under load: in a real Prometheus no counter resets, and
//! nothing is missing or counted twice.

use std::time::Duration;

use anyhow::ensure;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::Span;
use spanmill_integration::traces::{SpanKind, Traces};
use spanmill_integration::{Load, Prometheus, Spanmill, eventually};

const RESTARTS: usize = 10;
/// Calls of a request.
const CALLS: u64 = 20;

/// The clients' spans of some calls, and the servers' of those of the request before:
/// there are always edges that wait.
fn request(number: u64) -> ExportTraceServiceRequest {
    let of = |service: &str, number: u64| {
        let traces = Traces::of_service(service);
        let traces = traces.spans("pay", CALLS, Duration::from_millis(5), number * CALLS);
        traces.request()
    };
    let (mut clients, mut servers) = (of("front", number), of("shop", number - 1));
    for span in spans(&mut clients) {
        span.kind = SpanKind::Client.into();
    }
    for span in spans(&mut servers) {
        span.parent_span_id = span.span_id.clone();
        span.span_id.reverse();
    }
    if number > 1 {
        clients.resource_spans.extend(servers.resource_spans);
    }
    clients
}

fn spans(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    let resources = request.resource_spans.iter_mut();
    let scopes = resources.flat_map(|resource| &mut resource.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

async fn restart(mut spanmill: Spanmill, load: &Load) -> anyhow::Result<Spanmill> {
    for number in 1..=RESTARTS {
        load.more(100).await?;
        let log;
        (spanmill, log) = spanmill.restart().await?;
        ensure!(log.contains("series saved"), "restart {number}:\n{log}");
        let metrics = spanmill.metrics().await?;
        let restored = metrics.sum("spanmill_generator_state_tenants_restored_total", &[]);
        ensure!(restored == 1.0, "restart {number}: {restored} tenants");
    }
    load.more(100).await?;
    Ok(spanmill)
}

#[tokio::test]
async fn ten_restarts_under_load_neither_lose_nor_double_nor_reset() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}\n\
             overrides: {{defaults: {{metrics_generator: {{processors: [span-metrics, service-graphs]}}}}}}",
            prometheus.url("/api/v1/write")
        ))
        .start()
        .await?;
    let url = spanmill.otlp_http();
    let restarts = async |load: &Load| restart(spanmill, load).await;
    let (spanmill, requests) = Load::during(&url, None, request, restarts).await?;
    spanmill.ledger().await?;
    spanmill.stop().await?;

    // The last clients' spans have no counterpart.
    let pairs = ((requests - 1) * CALLS) as f64;
    let spans = pairs * 2.0 + CALLS as f64;
    for (counter, want) in [
        ("traces_spanmetrics_calls_total", spans),
        ("traces_spanmetrics_latency_count", spans),
        ("traces_spanmetrics_latency_bucket{le=\"0.008\"}", spans),
        ("traces_service_graph_request_total", pairs),
        ("traces_service_graph_request_client_seconds_count", pairs),
    ] {
        is_exact(&prometheus, counter, want).await?;
    }
    prometheus.stop().await
}

/// Checks that a counter has counted so much, with one zero at its beginning and no
/// reset.
async fn is_exact(prometheus: &Prometheus, counter: &str, want: f64) -> anyhow::Result<()> {
    let last = format!("sum(last_over_time({counter}[5m]))");
    eventually("all that was counted in Prometheus", || async {
        let value = prometheus.value(&last, None).await?;
        ensure!(value == want, "{counter} is {value}, and not {want}");
        Ok(())
    })
    .await?;
    let raw = prometheus.query(&format!("{counter}[5m]"), None).await?;
    for series in &raw {
        let zeros = series.values.iter().filter(|(_, value)| *value == 0.0);
        ensure!(zeros.count() == 1, "{counter}: {series:?}");
    }
    let ends = raw.iter().filter_map(|series| series.values.last());
    let end = ends.map(|(time, _)| *time).reduce(f64::max);
    let of = |function: &str| format!("sum({function}({counter}[5m]))");
    let resets = prometheus.value(&of("resets"), end).await?;
    ensure!(resets == 0.0, "{resets} resets of {counter}");
    let increase = prometheus.value(&of("increase"), end).await?;
    ensure!(
        (increase / want - 1.0).abs() < 0.001,
        "increase of {counter} is {increase}, and not {want}"
    );
    Ok(())
}
