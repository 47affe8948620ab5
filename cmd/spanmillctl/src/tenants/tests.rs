use std::collections::BTreeMap;

use app::tenants_api::{
    DestinationAnswer, Discarded, Flow, Level, LimitedLabel, RemoteWriteAnswer,
};

use super::*;

fn acme() -> TenantAnswer {
    let discarded = |stage: &str, reason: &str, spans| Discarded {
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        spans,
    };
    TenantAnswer {
        tenant: "acme".to_owned(),
        processors: vec!["service-graphs".to_owned(), "span-metrics".to_owned()],
        series: Level {
            active: 100,
            limit: 100,
            demand: 250,
        },
        label_sets: Level {
            active: 5,
            limit: 0,
            demand: 5,
        },
        values_per_label_limit: 2,
        limited_labels: vec![LimitedLabel {
            name: "route".to_owned(),
            demand: 70,
            limited_label_sets: 60,
        }],
        spans: Flow {
            total: 1_234,
            per_second: 10.25,
        },
        bytes: Flow {
            total: 2_048,
            per_second: 100.0,
        },
        rate_over_seconds: 45.2,
        overflowed_spans: 7,
        waiting_spans: 3,
        discards: vec![
            discarded("distributor", "invalid_span_id", 2),
            discarded("all", "malformed_span", 3),
            discarded("span-metrics", "span_metrics_filtered", 40),
        ],
        remote_write: Some(RemoteWriteAnswer {
            spool_bytes: 4_096,
            unwritten_samples: 0,
            destinations: vec![DestinationAnswer {
                name: "first".to_owned(),
                pending_samples: 17,
                lag_seconds: 12.5,
                failures: 1,
                sent_samples: 500,
                dropped_samples: BTreeMap::from([("too_old".to_owned(), 4)]),
            }],
        }),
        last_collection_ms: Some(1_700_000_000_000),
        nodes: Vec::new(),
        missing: Vec::new(),
    }
}

#[test]
fn list_has_a_line_for_each_tenant_and_says_how_to_go_on() {
    let quiet = TenantAnswer {
        tenant: "quiet-one".to_owned(),
        ..TenantAnswer::default()
    };
    let answer = TenantsAnswer {
        total: 9,
        tenants: vec![acme(), quiet],
        next: Some("0:quiet-one".to_owned()),
        missing: Vec::new(),
    };
    let want = "\
TENANT     SERIES  LIMIT  DEMAND  SPANS/S     LAG  PENDING  DISCARDED  PROCESSORS
acme          100    100     250     10.2  12.5 s       17          5  service-graphs,span-metrics
quiet-one       0      -       0      0.0       -        -          0
(2 of 9 tenants; --after 0:quiet-one shows the next)
";
    assert_eq!(text::list(&answer), want);
    let empty = text::list(&TenantsAnswer::default());
    assert_eq!(empty, "No tenant has sent anything since the start.\n");
}

#[test]
fn one_tenant_has_all_of_it() {
    let want = "\
tenant            acme
processors        service-graphs, span-metrics
series            100 of 100, about 250 without limits
label sets        5, without a limit
spans             1234, 10.2 a second over 45 s
bytes             2.0 KiB, 100 B a second over 45 s
overflowed spans  7
waiting spans     3
last collection   2023-11-14T22:13:20Z

DISCARDED BY  REASON                 SPANS
distributor   invalid_span_id            2
all           malformed_span             3
span-metrics  span_metrics_filtered     40

LABEL  VALUES  LIMIT  LIMITED LABEL SETS
route      70      2                  60

DESTINATION  PENDING     LAG  FAILURES  SENT  DROPPED
first             17  12.5 s         1   500  4 too_old

spool on disk     4.0 KiB
";
    assert_eq!(text::one(&acme()), want);
}

#[test]
fn query_is_escaped_and_has_no_empty_values() {
    let path = path(
        "/api/v1/tenants",
        &[("sort", "lag"), ("after", "a:b c&d"), ("x", "")],
    );
    assert_eq!(path.unwrap(), "/api/v1/tenants?sort=lag&after=a%3Ab+c%26d");
}
