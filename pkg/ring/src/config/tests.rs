use super::*;

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    let node = settings::read_str("ring.yaml", yaml).unwrap();
    settings::decode(&node).unwrap()
}

fn problems(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(Problem::summary).collect()
}

#[test]
fn nothing_said_is_gossip_on_all_addresses_without_a_key() {
    let settings = MemberlistConfig::default().settings().unwrap();
    assert_eq!(settings.bind, ([0, 0, 0, 0], 7946).into());
    assert_eq!(settings.interval, Duration::from_millis(200));
    assert_eq!((settings.join.len(), settings.keys.len()), (0, 0));
}

#[test]
fn block_of_tempo_is_read() {
    let config: MemberlistConfig = read(
        "bind_addr: [127.0.0.1]\n\
         bind_port: 7000\n\
         advertise_addr: 10.0.0.1\n\
         advertise_port: 7001\n\
         join_members: [\"a:7000\", dns+b]\n\
         cluster_label: prod\n\
         gossip_interval: 1s\n",
    );
    let settings = config.settings().unwrap();
    assert_eq!(settings.bind, ([127, 0, 0, 1], 7000).into());
    assert_eq!(settings.advertise_address, Some([10, 0, 0, 1].into()));
    assert_eq!(settings.advertise_port, 7001);
    let want = ["a:7000", "b:7000"].map(|text| Seed::parse(text, 0).unwrap());
    assert_eq!(settings.join, want);
    assert_eq!(settings.cluster_label, "prod");
    assert_eq!(settings.interval, Duration::from_secs(1));
}

#[test]
fn all_that_is_wrong_is_said_at_once_without_showing_secrets() {
    let config: MemberlistConfig = read(
        "bind_addr: [localhost]\n\
         advertise_addr: 10.0.0.1:7946\n\
         join_members: [\"a:b\"]\n\
         secret_keys: [aHVudGVyMg==, \"?\", x]\n\
         gossip_interval: 10s\n",
    );
    let found = problems(config.validate());
    let key = "is not 32 bytes in base64; make one with \"openssl rand -base64 32\"";
    let want = [
        "memberlist.bind_addr: \"localhost\" is not accepted; expected an IP address without a port".to_owned(),
        "memberlist.advertise_addr: \"10.0.0.1:7946\" is not accepted; expected an IP address without a port".to_owned(),
        "memberlist.join_members[0]: \"a:b\" is not accepted; expected a name or an address, with a port or without".to_owned(),
        format!("memberlist.secret_keys[0]: {key}"),
        format!("memberlist.secret_keys[1]: {key}"),
        format!("memberlist.secret_keys[2]: {key}"),
        "memberlist.secret_keys: has more than 2 keys".to_owned(),
        "memberlist.gossip_interval: is not from 50ms to 5s".to_owned(),
    ];
    assert_eq!(found, want);
    let two: MemberlistConfig = read("bind_addr: [\"::1\", 127.0.0.1]");
    let want = ["memberlist.bind_addr: names more than one address"];
    assert_eq!(problems(two.validate()), want);
}

#[test]
fn keys_are_read_and_not_shown() {
    let key = STANDARD.encode([7; 32]);
    let config: MemberlistConfig = read(&format!("secret_keys: [{key}]"));
    assert_eq!(config.settings().unwrap().keys, [[7; 32]]);
    assert!(!format!("{config:?}").contains(&key));
    assert!(!settings::to_yaml(&config).unwrap().contains(&key));
}

#[test]
fn ring_block_of_tempo_is_read() {
    let config: RingConfig = read(
        "kvstore: {store: inmemory, prefix: collectors/}\n\
         heartbeat_period: 5s\n\
         instance_zone: b\n\
         instance_addr: 10.0.0.2\n",
    );
    assert_eq!(config.instance_availability_zone, "b");
    assert_eq!(config.address(), Ok(Some([10, 0, 0, 2].into())));
    let want = [
        "metrics_generator.ring.heartbeat_period",
        "metrics_generator.ring.kvstore.prefix",
    ];
    assert_eq!(config.without_effect(), want);
    let wrong: RingConfig = read("instance_addr: generator");
    let want = [
        "metrics_generator.ring.instance_addr: \"generator\" is not accepted; expected an IP address without a port",
    ];
    assert_eq!(problems(wrong.validate()), want);
}

#[test]
fn cluster_seed_is_the_label_unless_there_is_a_secret() {
    let open = RingConfig::default();
    let secret = RingConfig {
        cluster_seed: Secret::new("s"),
        ..RingConfig::default()
    };
    assert_eq!(open.cluster_seed("a"), ClusterSeed::from_text("a"));
    assert_eq!(secret.cluster_seed("a"), ClusterSeed::from_text("s"));
    assert_eq!(
        secret.cluster_seed_fingerprint("a"),
        secret.cluster_seed_fingerprint("b")
    );
    assert_ne!(
        open.cluster_seed_fingerprint("a"),
        open.cluster_seed_fingerprint("b")
    );
}
