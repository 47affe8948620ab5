use telemetry::{encode_metrics, new_metrics_registry};

use super::*;

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// The names are an interface: dashboards and alerts query them.
#[test]
fn exported_names_and_labels_are_stable() {
    let mut registry = new_metrics_registry();
    let metrics = DistributorMetrics::register(&mut registry);
    let acme = metrics.for_tenant(&tenant("acme"));
    acme.received(5, 700);
    acme.pushed(3);
    acme.truncated(4);
    acme.refused(DiscardReason::InvalidTraceId, 2);
    acme.refused(DiscardReason::MalformedSpan, 0);
    let took = Duration::from_millis(1);
    metrics.push_answered(Receiver::OtlpGrpc, PushResult::Partial, took);
    let refused = PushResult::Refused(DiscardReason::TooLarge);
    metrics.push_answered(Receiver::OtlpHttp, refused, took);

    let text = encode_metrics(&registry);
    for line in [
        r#"spanmill_distributor_spans_received_total{tenant="acme"} 5"#,
        r#"spanmill_distributor_spans_pushed_total{tenant="acme"} 3"#,
        r#"spanmill_distributor_spans_refused_total{tenant="acme",reason="invalid_trace_id"} 2"#,
        r#"spanmill_distributor_bytes_received_total{tenant="acme"} 700"#,
        r#"spanmill_distributor_attributes_truncated_total{tenant="acme"} 4"#,
        r#"spanmill_distributor_pushes_total{receiver="otlp_grpc",result="partial"} 1"#,
        r#"spanmill_distributor_pushes_total{receiver="otlp_http",result="too_large"} 1"#,
        r#"spanmill_distributor_push_duration_seconds_count{receiver="otlp_grpc"} 1"#,
        r#"spanmill_distributor_push_duration_seconds_bucket{le="0.0005",receiver="otlp_grpc"} 0"#,
        r#"spanmill_distributor_push_duration_seconds_bucket{le="0.002",receiver="otlp_grpc"} 1"#,
    ] {
        assert!(text.contains(line), "missing {line}\n{text}");
    }
    assert!(!text.contains("malformed_span"), "{text}");
}

#[test]
fn intake_of_a_tenant_is_what_was_counted() {
    let metrics = DistributorMetrics::with_capacity(2);
    let acme = metrics.for_tenant(&tenant("acme"));
    acme.received(5, 700);
    acme.refused(DiscardReason::InvalidTraceId, 2);
    let want = TenantIntake {
        spans: 5,
        bytes: 700,
        refused: vec![("invalid_trace_id", 2)],
    };
    assert_eq!(metrics.intake(&tenant("acme")), Some(want));
    acme.pushed(3);
    assert_eq!(metrics.refused(), [(tenant("acme"), 2)]);
    assert_eq!(metrics.intake(&tenant("globex")), None);
}

#[test]
fn tenants_beyond_the_capacity_share_one_label() {
    let metrics = DistributorMetrics::with_capacity(2);
    let start = Instant::now();
    for (id, spans) in [("a", 1), ("b", 2), ("c", 4), ("d", 8), ("a", 16)] {
        metrics.for_tenant_at(&tenant(id), start).received(spans, 0);
    }
    assert_eq!(received(&metrics), [("<other>", 12), ("a", 17), ("b", 2)]);
}

#[test]
fn idle_tenants_make_room_and_are_no_longer_exported() {
    let metrics = DistributorMetrics::with_capacity(2);
    let start = Instant::now();
    let at = |sweeps: u32| start + sweeps * (IDLE + Duration::from_secs(1));
    metrics.for_tenant_at(&tenant("idle"), start).received(1, 0);
    let idle = metrics.for_tenant_at(&tenant("idle"), start);
    idle.refused(DiscardReason::Unavailable, 1);
    drop(idle);
    let under_way = metrics.for_tenant_at(&tenant("under-way"), start);
    under_way.received(2, 0);

    // The first sweep finds both used, the second none but the one in hand.
    metrics.for_tenant_at(&tenant("new"), at(1)).received(4, 0);
    assert_eq!(
        received(&metrics),
        [("<other>", 4), ("idle", 1), ("under-way", 2)]
    );
    metrics.for_tenant_at(&tenant("new"), at(2)).received(8, 0);
    assert_eq!(
        received(&metrics),
        [("<other>", 4), ("new", 8), ("under-way", 2)]
    );
    let again = metrics.for_tenant_at(&tenant("under-way"), at(2));
    assert!(Arc::ptr_eq(&again, &under_way));
    let refused = RefusedLabels {
        tenant: Arc::from("idle"),
        reason: DiscardReason::Unavailable,
    };
    assert!(metrics.families.spans_refused.get(&refused).is_none());
}

#[test]
fn tenant_is_forgotten_unless_a_push_is_under_way() {
    let metrics = DistributorMetrics::with_capacity(2);
    let a = metrics.for_tenant(&tenant("a"));
    a.received(5, 700);
    a.refused(DiscardReason::Unavailable, 5);
    assert!(!metrics.forget(&tenant("a")));
    assert_eq!(received(&metrics), [("a", 5)]);
    drop(a);
    assert!(metrics.forget(&tenant("a")));
    assert_eq!(received(&metrics), []);
    assert_eq!(metrics.refused(), []);
    assert!(metrics.forget(&tenant("a")));
}

fn received(metrics: &DistributorMetrics) -> Vec<(&'static str, u64)> {
    ["<other>", "a", "b", "c", "d", "idle", "new", "under-way"]
        .into_iter()
        .filter_map(|id| {
            let label = TenantLabel {
                tenant: Arc::from(id),
            };
            let counter = metrics.families.spans_received.get(&label)?;
            Some((id, counter.get()))
        })
        .collect()
}

#[test]
fn tenant_that_sends_nothing_from_one_look_to_the_next_is_forgotten() {
    let metrics = DistributorMetrics::with_capacity(9);
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let under_way = metrics.for_tenant(&acme);
    metrics.for_tenant(&globex);
    let known = || metrics.refused().into_iter().map(|(tenant, _)| tenant);
    metrics.forget_unused();
    assert_eq!(known().count(), 2, "they have come since the look before");
    metrics.for_tenant(&globex);
    metrics.forget_unused();
    assert_eq!(known().count(), 2, "one is under way");
    drop(under_way);
    metrics.forget_unused();
    assert_eq!(known().count(), 0);
}
