//! Given the inputs and settings of recorded cases, we write what Tempo wrote,
//! but for the differences of `docs/differences.md`.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use spanmill_integration::expected::{Case, Comparison, Input, Outcome, PushedSpan, pushed_spans};
use spanmill_integration::ledger::Ledger;
use spanmill_integration::push_spans::PushSpans;
use spanmill_integration::remote_write_sink::Version;
use spanmill_integration::{RemoteWriteSink, Spanmill};
use tempfile::NamedTempFile;

const CALLS: &str = "traces_spanmetrics_calls_total";

/// What is compared.
const COMPARED: [&str; 4] = [
    "traces_spanmetrics_",
    "traces_target_info",
    "traces_service_graph_",
    "traces_host_info",
];

/// Cases that differ in the tenant's overrides alone: tenants of one process.
const OVERRIDES: &[&str] = &[
    "buckets-sg",
    "buckets-sm",
    "defaults-edge",
    "defaults-real",
    "dims",
    "dims-intrinsic-names",
    "filter-inc-kind",
    "filter-inc-regex",
    "filter-regex-kind-status",
    "filter-status-strict",
    "filter-types-bool",
    "filter-types-int",
    "hostinfo",
    "instance-label-only",
    "intrinsic-no-service",
    "intrinsic-no-spanname",
    "intrinsic-statusmsg",
    "limit-native",
    "limit-sm",
    "limit-tiny",
    "mappings",
    "native-edge",
    "native-real",
    "nativeboth-edge",
    "nativeboth-real",
    "no-processors",
    "rw-headers",
    "sg-dims",
    "sg-messaging",
    "sg-only-edge",
    "sg-peer-attrs",
    "slack-5m",
    "sm-only-edge",
    "subproc-and-full",
    "subproc-count",
    "subproc-count-size",
    "subproc-latency",
    "subproc-size",
    "target-info",
    "target-info-both-procs",
    "target-info-excluded",
    "traceid-label",
];

/// Cases with settings of the whole process.
const PROCESS: &[&[&str]] = &[
    &["base-only", "base-subproc-latency"],
    &["entity-nolimit"],
    &["ext-and-maxlen"],
    &["multiplier", "multiplier-native"],
    &["multiplier-resource"],
    &["rw-relabel"],
    &["sg-dbattrs"],
    &["sg-virtual-label"],
    &["rw2-classic"],
];

#[test]
fn every_recorded_case_is_run() -> anyhow::Result<()> {
    let process = PROCESS.iter().flat_map(|group| group.iter());
    let listed: Vec<_> = OVERRIDES.iter().chain(process).collect();
    let unique: BTreeSet<String> = listed.iter().map(|name| (**name).to_owned()).collect();
    ensure!(unique.len() == listed.len(), "a case is listed twice");
    ensure!(
        unique == Case::names()?,
        "not the recorded cases: {unique:?}"
    );
    Ok(())
}

#[tokio::test]
async fn overrides_give_what_tempo_gave() -> anyhow::Result<()> {
    run(OVERRIDES).await
}

#[tokio::test]
async fn base_configuration_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[0]).await
}

#[tokio::test]
async fn limiter_of_entities_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[1]).await
}

#[tokio::test]
async fn external_labels_and_length_limits_give_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[2]).await
}

#[tokio::test]
async fn multiplier_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[3]).await
}

#[tokio::test]
async fn multiplier_of_the_resource_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[4]).await
}

#[tokio::test]
async fn database_attributes_give_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[6]).await
}

#[tokio::test]
async fn label_of_virtual_nodes_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[7]).await
}

#[tokio::test]
async fn relabelling_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[5]).await
}

#[tokio::test]
async fn remote_write_2_0_gives_what_tempo_gave() -> anyhow::Result<()> {
    run(PROCESS[8]).await
}

/// Tempo panics on these: differences, D28.
#[tokio::test]
async fn missing_resource_and_missing_value_are_taken_as_empty() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let case = Case::load("sm-only-edge")?;
    let (spanmill, _overrides) = start(&sink, &[case]).await?;
    let mut generator = PushSpans::connect(&spanmill.internal_grpc()).await?;
    for input in [Input::CrashNilResource, Input::CrashNilValue] {
        for request in input.requests(unix_nanos()?)? {
            generator.push("sm-only-edge", request).await?;
        }
    }
    let counted = spanmill
        .ledger()
        .await?
        .counted("sm-only-edge", "span-metrics");
    ensure!(counted == 2, "{counted} spans counted");
    spanmill.stop().await?;
    let calls = sink.received().sum("sm-only-edge", CALLS, &[]);
    ensure!(calls == 2.0, "{calls} calls");
    sink.check_protocol()
}

/// Runs cases as tenants of one process and compares each.
async fn run(names: &[&str]) -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let cases: Vec<Case> = names
        .iter()
        .map(|name| Case::load(name))
        .collect::<anyhow::Result<_>>()?;
    let (spanmill, _overrides) = start(&sink, &cases).await?;
    let mut generator = PushSpans::connect(&spanmill.internal_grpc()).await?;
    let mut spans = Vec::new();
    for case in &cases {
        let mut of_case = Vec::new();
        for request in case.input.requests(unix_nanos()?)? {
            of_case.extend(pushed_spans(&request)?);
            generator.push(&case.name, request).await?;
        }
        spans.push(of_case);
    }
    edges_expired(&spanmill, &cases).await?;
    let metrics = spanmill.metrics().await?;
    let ledger = spanmill.ledger().await;
    collected(&sink, &cases).await?;
    // The last collection and what still waits.
    spanmill.stop().await?;

    let mut differences = Vec::new();
    if let Err(error) = &ledger {
        differences.push(format!("{error:#}"));
    }
    for case in &cases {
        let ours = {
            let received = sink.received();
            Outcome::of_tenant(&case.name, &org_id(case), &received, &metrics)
        };
        let found = compare(case, &ours, ledger.as_ref().ok())?;
        if !found.is_empty() {
            let shown = found
                .iter()
                .take(12)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n  ");
            differences.push(format!("{}: {}\n  {shown}", case.name, found.len()));
        }
    }
    ensure!(
        differences.is_empty(),
        "differences:\n{}",
        differences.join("\n")
    );
    for (case, spans) in cases.iter().zip(&spans) {
        check_exemplar_times(&sink, case, spans)?;
        check_native_exemplars(&sink, case, spans)?;
    }
    check_headers(&sink, &cases)?;
    check_version(&sink, &cases)?;
    sink.check_protocol()
}

fn compare(case: &Case, ours: &Outcome, ledger: Option<&Ledger>) -> anyhow::Result<Vec<String>> {
    let recorded = case.recorded()?;
    let mut comparison = Comparison::of(case);
    comparison.only = COMPARED.into();
    let mut found = comparison.differences(&recorded, ours);
    found.extend(comparison.counter_differences(&recorded, ours));
    let weighted = case
        .metrics_generator
        .to_string()
        .contains("span_multiplier_key");
    let calls: Vec<f64> = ours
        .samples
        .iter()
        .filter(|((name, _), _)| name == CALLS)
        .map(|(_, value)| *value)
        .collect();
    let total: f64 = calls.iter().sum();
    if let Some(ledger) = ledger
        && !weighted
        && !calls.is_empty()
    {
        let counted = ledger.counted(&case.name, "span-metrics");
        if total != counted as f64 {
            found.push(format!(
                "{counted} spans counted, but {total} calls arrived"
            ));
        }
    }
    Ok(found)
}

/// Starts a spanmill with the settings of cases, which are its tenants. Gives
/// the file of their overrides as well, which it reads again and again.
async fn start(
    sink: &RemoteWriteSink,
    cases: &[Case],
) -> anyhow::Result<(Spanmill, NamedTempFile)> {
    let first = cases.first().context("no cases")?;
    let mut remote_write = json!({ "url": sink.url() });
    for (key, value) in first.remote_write.as_object().into_iter().flatten() {
        if let Some(entry) = remote_write.as_object_mut() {
            entry.insert(key.clone(), value.clone());
        }
    }
    let mut tenants = serde_json::Map::new();
    for case in cases {
        ensure!(
            case.metrics_generator == first.metrics_generator
                && case.remote_write == first.remote_write,
            "{} and {} need processes of their own",
            case.name,
            first.name
        );
        tenants.insert(case.name.clone(), with_absent_side(&case.tenant_overrides));
    }
    let overrides = NamedTempFile::new()?;
    std::fs::write(
        overrides.path(),
        json!({ "overrides": tenants }).to_string(),
    )?;
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": first.metrics_generator,
        "overrides": {
            // As without a file, so that the case's own settings hold.
            "defaults": { "metrics_generator": { "processors": [], "collection_interval": "0s" } },
            "per_tenant_override_config": overrides.path(),
        },
    });
    let storage = json!({ "metrics_generator": { "storage": { "remote_write": [remote_write] } } });
    let spanmill = Spanmill::builder()
        .config(&config.to_string())
        .config(&storage.to_string())
        .start()
        .await?;
    Ok((spanmill, overrides))
}

/// D6: the cases were recorded with 0 s observed for sides that are not there.
fn with_absent_side(overrides: &Value) -> Value {
    let mut overrides = overrides.clone();
    let mut place = &mut overrides;
    for key in ["metrics_generator", "processor", "service_graphs"] {
        if place.get(key).is_none_or(Value::is_null) {
            place[key] = json!({});
        }
        place = &mut place[key];
    }
    place["observe_absent_side"] = json!(true);
    overrides
}

/// Waits until no span waits for its counterpart any more.
async fn edges_expired(spanmill: &Spanmill, cases: &[Case]) -> anyhow::Result<()> {
    const WAITING: &str = "spanmill_generator_processor_service_graphs_waiting_spans";
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let metrics = spanmill.metrics().await?;
        let waiting = |case: &Case| metrics.sum(WAITING, &[("tenant", &case.name)]);
        if cases.iter().map(waiting).sum::<f64>() == 0.0 {
            return Ok(());
        }
    }
    bail!("spans wait for their counterparts after half a minute")
}

/// Waits until every case that gives series has been collected after now.
async fn collected(sink: &RemoteWriteSink, cases: &[Case]) -> anyhow::Result<()> {
    let now_ms = i64::try_from(unix_nanos()? / 1_000_000)?;
    for case in cases.iter().filter(|case| !case.processors().is_empty()) {
        let what = format!("a collection of {}", case.name);
        sink.eventually(&what, |received| {
            let org_id = org_id(case);
            let mut points = received
                .all_series(&org_id)
                .filter_map(|series| series.points.last());
            ensure!(points.any(|(time, _)| *time >= now_ms), "not yet");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The tenant that the receiver sees: a configured header wins.
fn org_id(case: &Case) -> String {
    case.remote_write
        .pointer("/headers/X-Scope-OrgID")
        .and_then(Value::as_str)
        .unwrap_or(&case.name)
        .to_owned()
}

/// Exemplars have the end time of a span, in milliseconds, but never one later
/// than their sample's (D13).
fn check_exemplar_times(
    sink: &RemoteWriteSink,
    case: &Case,
    spans: &[PushedSpan],
) -> anyhow::Result<()> {
    let ends = spans.iter().map(|span| span.end / 1_000_000);
    let span_ends: BTreeSet<u64> = ends.collect();
    let received = sink.received();
    for series in received.all_series(&org_id(case)) {
        for exemplar in &series.exemplars {
            let time = exemplar.timestamp_ms;
            let of_span = span_ends.contains(&u64::try_from(time)?);
            let points = series.points.iter().map(|(time, _)| *time);
            let mut times = points.chain(series.histograms.iter().map(|(time, _)| *time));
            let of_sample = times.any(|sample| sample == time);
            ensure!(
                of_span || of_sample,
                "{}: no span ends at {time}, {}{:?}",
                case.name,
                series.name,
                series.labels
            );
        }
    }
    Ok(())
}

/// An exemplar of a native histogram is a span of its series (D13, D27).
fn check_native_exemplars(
    sink: &RemoteWriteSink,
    case: &Case,
    spans: &[PushedSpan],
) -> anyhow::Result<()> {
    let received = sink.received();
    let org_id = org_id(case);
    let all = received.all_series(&org_id);
    for series in all.filter(|series| !series.histograms.is_empty()) {
        for exemplar in &series.exemplars {
            let is_it = |span: &&PushedSpan| {
                let seconds = span.end.saturating_sub(span.start) as f64 / 1e9;
                let name = series.labels.get("span_name");
                exemplar.labels.values().eq([&span.trace_id])
                    // A side that is absent has no duration (D6).
                    && (exemplar.value == seconds || name.is_none() && exemplar.value == 0.0)
                    // Long names are cut.
                    && name.is_none_or(|name| span.name.starts_with(name))
            };
            ensure!(
                spans.iter().any(|span| is_it(&span)),
                "{}: no span has {exemplar:?}, {}{:?}",
                case.name,
                series.name,
                series.labels
            );
        }
    }
    Ok(())
}

/// A tenant's own headers go with its requests and no one else's.
fn check_headers(sink: &RemoteWriteSink, cases: &[Case]) -> anyhow::Result<()> {
    let received = sink.received();
    for case in cases {
        let headers = case.tenant_setting("/remote_write_headers");
        let wanted = headers
            .and_then(|h| h.get("X-Extra"))
            .and_then(Value::as_str);
        for request in &received.requests {
            if request
                .headers
                .get("x-scope-orgid")
                .is_some_and(|id| *id == *org_id(case))
            {
                let got = request
                    .headers
                    .get("x-extra")
                    .map(|v| v.to_str())
                    .transpose()?;
                ensure!(got == wanted, "{}: X-Extra is {got:?}", case.name);
            }
        }
    }
    Ok(())
}

/// Requests are in the version that is set, 1.0 if none is. In 2.0 every series
/// says what it is.
fn check_version(sink: &RemoteWriteSink, cases: &[Case]) -> anyhow::Result<()> {
    let received = sink.received();
    let message = cases
        .first()
        .and_then(|case| case.remote_write.get("protobuf_message"));
    let wanted = match message.and_then(Value::as_str) {
        Some("io.prometheus.write.v2.Request") => Version::V2,
        _ => Version::V1,
    };
    for request in &received.requests {
        ensure!(request.version == wanted, "{:?} is sent", request.version);
    }
    for case in cases {
        for series in received.all_series(&org_id(case)) {
            let is_told = series.metadata.is_some();
            ensure!(is_told == (wanted == Version::V2), "{series:?}");
        }
    }
    Ok(())
}

fn unix_nanos() -> anyhow::Result<u64> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the program under test reads the machine's clock, too"
    )]
    let now = SystemTime::now();
    Ok(u64::try_from(now.duration_since(UNIX_EPOCH)?.as_nanos())?)
}
