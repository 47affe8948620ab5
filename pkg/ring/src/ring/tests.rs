use super::*;
use crate::config::MemberlistConfig;

fn generator(state: MemberState, load: f64) -> MemberStatus {
    MemberStatus {
        member: Member {
            id: "g".into(),
            incarnation: 1,
            role: Role::Generator,
            state,
            zone: "".into(),
            address: ([127, 0, 0, 1], 9095).into(),
            token_seed: 1,
            tokens: 512,
            version: "".into(),
            is_alive: true,
        },
        gossip_address: ([127, 0, 0, 1], 7946).into(),
        heartbeat_age: Duration::ZERO,
        load,
        has_our_cluster_seed: true,
        protocols: Some(Protocols::OURS),
        is_self: false,
    }
}

#[test]
fn desired_generators_are_those_that_would_be_loaded_to_seven_tenths() {
    for (loads, want) in [
        (&[][..], 1),
        (&[0.0, 0.0], 1),
        (&[0.7, 0.7, 0.7], 3),
        (&[0.72, 0.7, 0.7], 4),
        (&[0.2, 0.2, 0.2], 1),
        (&[1.4], 2),
    ] {
        let members: Vec<_> = loads
            .iter()
            .map(|load| generator(MemberState::Active, *load))
            .chain([generator(MemberState::Leaving, 5.0)])
            .collect();
        assert_eq!(desired_generators(&members), want, "{loads:?}");
    }
}

/// One of the next version joins, then all are; a dead one does not count.
#[test]
fn members_agree_on_the_latest_protocol_that_all_of_them_speak() {
    let speaks = |protocols: &str, is_alive| {
        let mut status = generator(MemberState::Active, 0.0);
        status.protocols = protocols.parse().ok();
        status.member.is_alive = is_alive;
        status
    };
    for (members, want) in [
        (vec![speaks("1-1", true)], Some(1)),
        (vec![speaks("1-1", true), speaks("1-2", true)], Some(1)),
        (vec![speaks("1-2", true), speaks("1-2", true)], Some(2)),
        (vec![speaks("1-1", false), speaks("1-2", true)], Some(2)),
        (vec![speaks("1-1", true), speaks("2-2", true)], None),
        (vec![speaks("1-1", true), speaks("x", true)], None),
    ] {
        assert_eq!(common_protocol(&members), want, "{members:?}");
    }
}

#[test]
fn address_for_others_is_what_is_said_or_where_gossip_is_received() {
    let bound: SocketAddr = ([127, 0, 0, 1], 7000).into();
    let mut config = MemberlistConfig::default();
    let of = |config: &MemberlistConfig| {
        let settings = config.settings().unwrap();
        advertised(&settings, bound, &Resolved::default()).to_string()
    };
    assert_eq!(of(&config), "127.0.0.1:7000");
    config.advertise_addr = "10.0.0.1".to_owned();
    assert_eq!(of(&config), "10.0.0.1:7000");
    config.advertise_port = 7001;
    assert_eq!(of(&config), "10.0.0.1:7001");
    let any: SocketAddr = ([0, 0, 0, 0], 7000).into();
    let seeds = Resolved {
        addresses: BTreeSet::from([bound]),
        ..Resolved::default()
    };
    let settings = MemberlistConfig::default().settings().unwrap();
    assert_eq!(advertised(&settings, any, &seeds), bound);
}
