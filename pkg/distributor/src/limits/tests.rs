use super::*;

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn limits(config: &DistributorConfig, capacity: usize, now: Instant) -> Limits {
    let overrides = Overrides::fixed(TenantConfig::default());
    Limits::with_capacity(overrides, Budget::unlimited(), config, capacity, now)
}

fn of(rate: u64, burst: u64) -> IngestionConfig {
    IngestionConfig {
        rate_limit_bytes: rate,
        burst_size_bytes: burst,
        ..IngestionConfig::default()
    }
}

fn wait(refused: Result<(), LimitError>) -> Option<Duration> {
    match refused.unwrap_err() {
        LimitError::RateLimited { retry_after, .. } => retry_after,
        other @ LimitError::LargerThanBurst { .. } => panic!("{other}"),
    }
}

#[test]
fn tenants_do_not_share_a_rate() {
    let now = Instant::now();
    let limits = limits(&DistributorConfig::default(), 10, now);
    let admit = |id, bytes| limits.admit(&tenant(id), &of(10, 100), bytes, now);
    assert_eq!(admit("acme", 100), Ok(()));
    let refused = admit("acme", 50);
    let want = LimitError::RateLimited {
        bytes: 50,
        rate: 10,
        burst: 100,
        retry_after: Some(Duration::from_secs(5)),
    };
    assert_eq!(refused, Err(want));
    assert_eq!(admit("globex", 100), Ok(()));
}

#[test]
fn push_that_never_fits_is_told_so() {
    let now = Instant::now();
    let limits = limits(&DistributorConfig::default(), 10, now);
    let refused = limits.admit(&tenant("acme"), &of(1_000, 100), 101, now);
    let error = refused.unwrap_err();
    assert_eq!(
        error.to_string(),
        "RATE_LIMITED: a push of 101 bytes is longer than what is ever taken at once, 100 bytes: \
         send fewer spans in a request, or raise the tenant's ingestion.burst_size_bytes"
    );
    let exact = limits.admit(&tenant("acme"), &of(1_000, 100), 100, now);
    assert_eq!(exact, Ok(()));
}

#[test]
fn clients_are_told_to_wait_as_the_settings_say() {
    let now = Instant::now();
    let acme = tenant("acme");
    let fixed = DistributorConfig {
        retry_after_on_resource_exhausted: Duration::from_secs(5),
        ..DistributorConfig::default()
    };
    let silent = IngestionConfig {
        retry_info_enabled: false,
        ..of(10, 100)
    };
    for (name, config, ingestion, want) in [
        (
            "until it fits",
            DistributorConfig::default(),
            of(10, 100),
            Some(Duration::from_secs(10)),
        ),
        (
            "a minute at most",
            DistributorConfig::default(),
            of(0, 100),
            Some(MAX_RETRY_AFTER),
        ),
        (
            "a fixed time",
            fixed.clone(),
            of(10, 100),
            Some(Duration::from_secs(5)),
        ),
        ("nothing", fixed, silent, None),
    ] {
        let limits = limits(&config, 10, now);
        limits.admit(&acme, &ingestion, 100, now).unwrap();
        let refused = limits.admit(&acme, &ingestion, 100, now);
        assert_eq!(wait(refused), want, "{name}");
    }
}

#[test]
fn global_rate_is_divided_and_local_is_not() {
    assert_eq!(of_each(RateStrategy::Local, 900, 3), 900);
    assert_eq!(of_each(RateStrategy::Global, 900, 3), 300);
}

#[test]
fn live_distributors_divide_a_global_rate_as_they_come_and_go() {
    let start = Instant::now();
    let limits = limits(&DistributorConfig::default(), 2, start);
    let global = IngestionConfig {
        rate_strategy: RateStrategy::Global,
        ..of(60, 60)
    };
    let wait_of = |id, live| {
        limits.set_live_distributors(live);
        assert_eq!(limits.admit(&tenant(id), &global, 60, start), Ok(()));
        wait(limits.admit(&tenant(id), &global, 60, start))
    };
    assert_eq!(wait_of("a", 0), Some(Duration::from_secs(1)));
    assert_eq!(wait_of("b", 3), Some(Duration::from_secs(3)));
}

#[test]
fn tenants_beyond_the_capacity_share_a_bucket_until_others_have_drained() {
    let start = Instant::now();
    let limits = limits(&DistributorConfig::default(), 2, start);
    let admit = |id, bytes, at| limits.admit(&tenant(id), &of(10, 100), bytes, at);
    for id in ["a", "b", "c"] {
        assert_eq!(admit(id, 60, start), Ok(()), "{id}");
    }
    assert_eq!(wait(admit("d", 60, start)), Some(Duration::from_secs(2)));
    // "a" and "b" are empty by now and forgotten, which makes room.
    let later = start + Duration::from_secs(7);
    assert_eq!(admit("d", 100, later), Ok(()));
    assert_eq!(limits.0.tenants.read().by_id.len(), 1);
    assert_eq!(admit("a", 100, later), Ok(()));
}
