use registry::Counts;

use super::*;

/// The names are an interface: dashboards and alerts query them.
#[test]
fn exported_names_and_labels_are_stable() {
    let mut registry = telemetry::new_metrics_registry();
    let metrics = GeneratorMetrics::register(&mut registry);
    let tenant = metrics.for_tenant(&TenantId::parse("acme").unwrap());
    tenant.processors(true, true, true);
    let counts = |counts: &[(DiscardReason, u64)]| {
        let mut discarded = Discarded::default();
        for (reason, spans) in counts {
            discarded.add(*reason, *spans);
        }
        discarded
    };
    tenant.pushed(
        1_000,
        &Ledger {
            received: 33,
            discarded: counts(&[
                (DiscardReason::OutsideMetricsIngestionSlack, 1),
                (DiscardReason::MalformedSpan, 2),
                (DiscardReason::InvalidId, 3),
                (DiscardReason::MetricsGenerationSkipped, 4),
                (DiscardReason::Duplicate, 12),
            ]),
            span_metrics: ProcessorLedger {
                counted: 5,
                discarded: counts(&[(DiscardReason::SpanMetricsFiltered, 6)]),
            },
            service_graphs: ProcessorLedger {
                counted: 1,
                discarded: counts(&[
                    (DiscardReason::KindNotApplicable, 2),
                    (DiscardReason::NoServiceName, 3),
                    (DiscardReason::StoreFull, 4),
                    (DiscardReason::Replaced, 5),
                    (DiscardReason::Unpaired, 6),
                    (DiscardReason::ServiceGraphsFiltered, 7),
                    (DiscardReason::HandedOver, 8),
                ]),
            },
            host_info: ProcessorLedger {
                counted: 4,
                discarded: counts(&[(DiscardReason::NoHost, 5)]),
            },
            invalid_weights: 7,
            overflowed: 8,
        },
    );
    tenant.edges(12, 11);
    tenant.edge_store_bytes(1_300);
    tenant.taken_over(18);
    tenant.names(NameStats {
        replaced: 14,
        label_sets: 15,
    });
    let counts = |series, entities| Counts { series, entities };
    let stats = RegistryStats {
        active: counts(9, 3),
        added: counts(10, 4),
        demand: counts(90, 30),
        updates_overflowed: 8,
    };
    let limits = Limits {
        max_active_series: 9,
        ..Limits::default()
    };
    let labels = [LabelStats {
        name: "route".to_owned(),
        demand: 70,
        limited: 60,
    }];
    tenant.collected(stats, limits, &labels);
    metrics.restored(16, 17);
    metrics.restore_failed();
    let text = telemetry::encode_metrics(&registry);
    let prefix = "spanmill_generator_";
    for line in [
        "spans_received_total{tenant=\"acme\"} 33",
        "bytes_received_total{tenant=\"acme\"} 1000",
        "spans_counted_total{tenant=\"acme\",processor=\"span-metrics\"} 5",
        "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"outside_metrics_ingestion_slack\"} 1",
        "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"malformed_span\"} 2",
        "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"invalid_id\"} 3",
        "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"metrics_generation_skipped\"} 4",
        "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"duplicate\"} 12",
        "spans_discarded_total{tenant=\"acme\",processor=\"span-metrics\",reason=\"span_metrics_filtered\"} 6",
        "spans_discarded_total{tenant=\"acme\",processor=\"span-metrics\",reason=\"invalid_utf8\"} 0",
        "spans_counted_total{tenant=\"acme\",processor=\"service-graphs\"} 1",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"kind_not_applicable\"} 2",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"no_service_name\"} 3",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"store_full\"} 4",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"replaced\"} 5",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"unpaired\"} 6",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"service_graphs_filtered\"} 7",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"processor_off\"} 0",
        "spans_counted_total{tenant=\"acme\",processor=\"host-info\"} 4",
        "spans_discarded_total{tenant=\"acme\",processor=\"host-info\",reason=\"no_host\"} 5",
        "spans_discarded_total{tenant=\"acme\",processor=\"host-info\",reason=\"invalid_utf8\"} 0",
        "processor_service_graphs_edges{tenant=\"acme\"} 12",
        "processor_service_graphs_waiting_spans{tenant=\"acme\"} 11",
        "processor_service_graphs_store_bytes{tenant=\"acme\"} 1300",
        "processor_service_graphs_spans_taken_over_total{tenant=\"acme\"} 18",
        "spans_discarded_total{tenant=\"acme\",processor=\"service-graphs\",reason=\"handed_over\"} 8",
        "invalid_weights_total{tenant=\"acme\"} 7",
        "registry_spans_sanitized_total{tenant=\"acme\"} 14",
        "registry_post_sanitization_demand_estimate{tenant=\"acme\"} 15",
        "registry_active_series{tenant=\"acme\"} 9",
        "registry_max_active_series{tenant=\"acme\"} 9",
        "registry_active_series_demand_estimate{tenant=\"acme\"} 90",
        "registry_active_entities{tenant=\"acme\"} 3",
        "registry_max_active_entities{tenant=\"acme\"} 0",
        "registry_entity_demand_estimate{tenant=\"acme\"} 30",
        "registry_entities_added_total{tenant=\"acme\"} 4",
        "registry_entities_removed_total{tenant=\"acme\"} 1",
        "registry_label_cardinality_demand_estimate{tenant=\"acme\",label_name=\"route\"} 70",
        "registry_label_values_limited_total{tenant=\"acme\",label_name=\"route\"} 60",
        "registry_series_added_total{tenant=\"acme\"} 10",
        "registry_series_removed_total{tenant=\"acme\"} 1",
        "registry_spans_overflowed_total{tenant=\"acme\"} 8",
        "registry_collections_total{tenant=\"acme\"} 1",
        "active_processors{tenant=\"acme\",processor=\"span-metrics\"} 1",
        "state_tenants_restored_total 16",
        "state_series_restored_total 17",
        "state_restore_failures_total 1",
    ] {
        assert!(
            text.contains(&format!("\n{prefix}{line}\n")),
            "missing {line}\n{text}"
        );
    }
    tenant.processors(false, false, false);
    tenant.names_off();
    let text = telemetry::encode_metrics(&registry);
    assert!(!text.contains("spans_counted_total{"), "{text}");
    assert!(!text.contains("service_graphs_edges{"), "{text}");
    assert!(!text.contains("taken_over_total{"), "{text}");
    assert!(!text.contains("sanitized_total{"), "{text}");
    assert!(!text.contains("sanitization_demand_estimate{"), "{text}");
    assert!(text.contains("active_processors{tenant=\"acme\",processor=\"span-metrics\"} 0"));
    // Switched on later, it has missed what was received before.
    tenant.processors(true, false, false);
    let text = telemetry::encode_metrics(&registry);
    assert!(text.contains("processor=\"span-metrics\",reason=\"processor_off\"} 11\n"));
    drop(tenant);
    assert!(!telemetry::encode_metrics(&registry).contains("acme"));
}
