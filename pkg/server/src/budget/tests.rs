use super::*;

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// Takes requests of so many bytes until one is refused.
fn flood(budget: &Budget, id: &str, bytes: u64) -> (Vec<Hold>, Overloaded) {
    let mut holds = Vec::new();
    loop {
        match budget.begin(&tenant(id), bytes) {
            Ok(hold) => holds.push(hold),
            Err(refused) => return (holds, refused),
        }
    }
}

#[test]
fn one_tenant_leaves_room_for_the_share_of_another() {
    let budget = Budget::new(100);
    let (noisy, refused) = flood(&budget, "noisy", 10);
    assert_eq!((noisy.len(), refused), (5, Overloaded::OverShare));
    let (quiet, refused) = flood(&budget, "quiet", 10);
    // A third is its share, and nobody else needs what is left of the room for one more.
    assert_eq!((quiet.len(), refused), (3, Overloaded::OverShare));
    let (third, refused) = flood(&budget, "third", 10);
    assert_eq!((third.len(), refused), (2, Overloaded::Full));
    assert_eq!(budget.used(), 100);
    drop((noisy, quiet, third));
    assert_eq!(budget.used(), 0);
    assert!(budget.0.state.lock().active.is_empty());
}

#[test]
fn who_has_more_than_its_share_gives_way_as_its_requests_end() {
    let budget = Budget::new(120);
    let (mut noisy, _) = flood(&budget, "noisy", 10);
    let (mut quiet, _) = flood(&budget, "quiet", 10);
    assert_eq!((noisy.len(), quiet.len()), (6, 4));
    while let Some(ended) = noisy.pop() {
        drop(ended);
        noisy.extend(budget.begin(&tenant("noisy"), 10));
        quiet.extend(budget.begin(&tenant("quiet"), 10));
        if noisy.len() <= 4 {
            break;
        }
    }
    assert_eq!((noisy.len(), quiet.len()), (4, 4));
}

#[test]
fn request_is_raised_as_it_grows_and_holds_on_when_refused() {
    let budget = Budget::new(100);
    let (growing, other) = (tenant("growing"), tenant("other"));
    let hold = budget.begin(&growing, 10).unwrap();
    let _first = budget.begin(&other, 10).unwrap();
    assert_eq!(hold.raise_to(70), Ok(()));
    assert_eq!(hold.raise_to(50), Ok(()));
    assert_eq!(budget.used(), 80);
    assert_eq!(hold.raise_to(91), Err(Overloaded::Full));
    assert_eq!(budget.used(), 80);
    let _second = budget.begin(&other, 20).unwrap();
    drop(hold);
    assert_eq!(budget.used(), 30);
}

#[test]
fn request_that_is_alone_is_taken_whatever_its_size() {
    let budget = Budget::new(100);
    let hold = budget.begin(&tenant("acme"), 10).unwrap();
    assert_eq!(hold.raise_to(500), Ok(()));
    let refused = budget.begin(&tenant("acme"), 1).unwrap_err();
    assert_eq!(refused, Overloaded::Full);
    drop(hold);
    assert!(budget.begin(&tenant("acme"), 200).is_ok());
}

#[test]
fn throttled_tenants_are_refused_in_part_and_others_are_not() {
    let budget = Budget::unlimited();
    let (half, all, none) = (tenant("half"), tenant("all"), tenant("none"));
    budget.throttle(&[(half.clone(), 0.5), (all.clone(), 1.0)]);
    let taken = |tenant| (0..10).filter(|_| budget.begin(tenant, 1).is_ok()).count();
    assert_eq!((taken(&half), taken(&all), taken(&none)), (5, 0, 10));
    budget.close();
    assert_eq!(taken(&none), 0);
    budget.throttle(&[]);
    assert_eq!((taken(&half), taken(&all)), (10, 10));
}

#[test]
fn refusals_are_retryable() {
    for (refused, seconds) in [
        (Overloaded::Full, 1),
        (Overloaded::OverShare, 1),
        (Overloaded::OutOfMemory, 2),
    ] {
        assert_eq!(refused.retry_after(), Duration::from_secs(seconds));
        assert_eq!(refused.http_status(), 503);
        let status = refused.to_grpc();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.details().is_empty());
    }
}
