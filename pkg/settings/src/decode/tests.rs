use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::{ByteSize, Secret, read_str};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Example {
    name: String,
    port: u16,
    enabled: bool,
    ratio: f64,
    #[serde(with = "crate::duration")]
    interval: Duration,
    #[serde(with = "crate::duration::option")]
    deadline: Option<Duration>,
    size: ByteSize,
    password: Secret,
    mode: Mode,
    names: Vec<String>,
    headers: BTreeMap<String, String>,
    #[serde(alias = "nestd")]
    nested: Nested,
    endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "present")]
    switch: Option<Nested>,
    free: serde_json::Value,
    ignored: serde::de::IgnoredAny,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Classic,
    Native,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Nested {
    collection_interval: i32,
}

impl Default for Nested {
    fn default() -> Self {
        Self {
            collection_interval: 7,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Endpoint {
    url: String,
}

fn example(text: &str) -> Result<Example, String> {
    let node = read_str("example.yaml", text).map_err(|problems| problems.to_string())?;
    decode(&node).map_err(|problems| problems.to_string())
}

#[test]
fn values_are_read_as_their_setting_wants_them() {
    let read = example(
        "name: no
port: 8.0e1
enabled: yes
ratio: 2
interval: 1m30s
deadline: 0
size: 32MiB
password: 0123
mode: native
names: [1.10, on, 'x', 0755, 2024-01-02]
headers: {1: 2, true: off}
nestd: {collection_interval: -3}
endpoints: [{url: a}]
switch:
free: {anything: [1, yes]}
ignored: {a: b}
",
    )
    .unwrap();

    let mut want = Example {
        name: "no".to_owned(),
        port: 80,
        enabled: true,
        ratio: 2.0,
        interval: Duration::from_secs(90),
        deadline: Some(Duration::ZERO),
        size: ByteSize::mib(32),
        password: Secret::new("0123"),
        mode: Mode::Native,
        names: ["1.10", "on", "x", "0755", "2024-01-02"]
            .map(str::to_owned)
            .into(),
        endpoints: vec![Endpoint {
            url: "a".to_owned(),
        }],
        switch: Some(Nested::default()),
        free: serde_json::json!({"anything": [1, "yes"]}),
        ..Example::default()
    };
    want.headers = [("1", "2"), ("true", "off")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    want.nested.collection_interval = -3;
    assert_eq!(read, want);
}

#[test]
fn what_has_no_value_keeps_its_default() {
    let keys = "name port enabled ratio interval deadline size password mode names headers nested \
                endpoints free";
    let nulls: String = keys.split(' ').map(|key| format!("{key}:\n")).collect();
    for text in [
        "",
        "# nothing\n",
        "{}",
        "~",
        &nulls,
        "nested: {collection_interval: }",
    ] {
        assert_eq!(example(text), Ok(Example::default()), "{text}");
    }
}

#[test]
fn every_problem_is_reported_at_once_in_order() {
    let message = example(
        "nane: x
port: 99999
enabled: maybe
interval: 15
size: big
mode: nativ
names: text
nested:
  collectionInterval: 5
endpoints:
  - url: a
  - uri: b
  - 7
headers: [a]
ratio: {a: 1}
zzz: 1
",
    )
    .unwrap_err();

    assert_snapshot!(message, @r#"
    example.yaml:1:1: nane: unknown key; did you mean "name"?
      |
    1 | nane: x
      | ^^^^
    example.yaml:2:7: port: 99999 is not accepted; expected a whole number from 0 to 65535
      |
    2 | port: 99999
      |       ^^^^^
    example.yaml:3:10: enabled: "maybe" is not accepted; expected true or false
      |
    3 | enabled: maybe
      |          ^^^^^
    example.yaml:4:11: interval: 15 has no unit; write 15s for seconds
      |
    4 | interval: 15
      |           ^^
    example.yaml:5:7: size: "big" is not accepted; expected a size such as 4194304, 32MiB or 10MB
      |
    5 | size: big
      |       ^^^
    example.yaml:6:7: mode: "nativ" is not accepted; expected one of classic, native; did you mean "native"?
      |
    6 | mode: nativ
      |       ^^^^^
    example.yaml:7:8: names: "text" is not accepted; expected a list
      |
    7 | names: text
      |        ^^^^
    example.yaml:9:3: nested.collectionInterval: unknown key; did you mean "collection_interval"?
      |
    9 |   collectionInterval: 5
      |   ^^^^^^^^^^^^^^^^^^
    example.yaml:12:5: endpoints[1].uri: unknown key; did you mean "url"?
       |
    12 |   - uri: b
       |     ^^^
    example.yaml:12:5: endpoints[1]: the key "url" is missing; it is required
       |
    12 |   - uri: b
       |     ^
    example.yaml:13:5: endpoints[2]: 7 is not accepted; expected a mapping with the key url
       |
    13 |   - 7
       |     ^
    example.yaml:14:1: headers: a list is not accepted; expected a mapping of keys to values
       |
    14 | headers: <secret>
       | ^^^^^^^
    example.yaml:15:1: ratio: a mapping is not accepted; expected a number
       |
    15 | ratio: {a: 1}
       | ^^^^^
    example.yaml:16:1: zzz: unknown key; accepted here: name, port, enabled, ratio, interval, deadline, size, password, mode, names, headers, nestd, nested, endpoints, switch, free, ignored
       |
    16 | zzz: 1
       | ^^^
    "#);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    assert_snapshot!(example("name: a\nport: 1\nname: b\n").unwrap_err(), @r#"
    example.yaml:3:1: the key "name" stands twice in its mapping; keep one
      |
    3 | name: b
      | ^^^^
    "#);
    assert_snapshot!(example("nested: {}\nnestd: {}\n").unwrap_err(), @r#"
    example.yaml:1:1: "nested" is set twice, under two of its names; keep one
      |
    1 | nested: {}
      | ^
    "#);
}

#[test]
fn what_is_not_yaml_is_refused_with_its_place() {
    assert_snapshot!(example("name: [a, b\nport: 1\n").unwrap_err(), @r"
    example.yaml:2:5: illegal placement of ':' indicator
      |
    2 | port: 1
      |     ^
    ");
    assert_snapshot!(example("name: a\n  port: 1\n").unwrap_err(), @r"
    example.yaml:2:7: mapping values are not allowed in this context
      |
    2 |   port: 1
      |       ^
    ");
    assert_snapshot!(example("name:\n\tx: 1\n").unwrap_err(), @r"
    example.yaml:2:2: tabs disallowed within this context (block indentation)
      |
    2 |  x: 1
      |  ^
    ");
    assert_snapshot!(example("a: *unknown\n").unwrap_err(), @r"
    example.yaml:1:4: reference to unknown value
      |
    1 | a: *unknown
      |    ^
    ");
    assert_snapshot!(example("a: 1\n---\nb: 2\n").unwrap_err(), @r"
    example.yaml:3:1: only single YAML document expected but multiple found
      |
    3 | b: 2
      | ^
    ");
}

#[test]
fn a_document_that_is_no_mapping_is_refused() {
    assert_snapshot!(example("just text\n").unwrap_err(), @r#"
    example.yaml:1:1: "just text" is not accepted; expected a mapping with the keys name, port, enabled, ratio, interval, deadline, size, password, mode, names, headers, nestd, nested, endpoints, switch, free, ignored
      |
    1 | just text
      | ^^^^^^^^^
    "#);
}

#[test]
fn a_problem_in_an_alias_is_shown_where_it_was_written() {
    let message = example("free: &a {collection_interval: x}\nnested: *a\nswitch: {<<: *a}\n");
    assert_snapshot!(message.unwrap_err(), @r#"
    example.yaml:1:32: nested.collection_interval: "x" is not accepted; expected a whole number from -2147483648 to 2147483647
      |
    1 | free: &a {collection_interval: x}
      |                                ^
    example.yaml:1:32: switch.collection_interval: "x" is not accepted; expected a whole number from -2147483648 to 2147483647
      |
    1 | free: &a {collection_interval: x}
      |                                ^
    "#);
}

#[test]
fn a_secret_is_not_shown_beside_its_problem() {
    let message = example("pasword: hunter2\npassword: [hunter2]\nheaders: hunter2\n").unwrap_err();
    assert!(!message.contains("hunter2"), "{message}");
    assert_snapshot!(message, @r#"
    example.yaml:1:1: pasword: unknown key; did you mean "password"?
      |
    1 | pasword: <secret>
      | ^^^^^^^
    example.yaml:2:1: password: a list is not accepted; expected text
      |
    2 | password: <secret>
      | ^^^^^^^^
    example.yaml:3:10: headers: a single value is not accepted; expected a mapping of keys to values
      |
    3 | headers: <secret>
      |          ^^^^^^^
    "#);
}

#[test]
fn quoted_words_are_no_booleans() {
    for text in [
        "enabled: 'yes'",
        "enabled: \"true\"",
        "enabled: 1",
        "enabled: yeah",
    ] {
        assert!(
            example(text)
                .unwrap_err()
                .contains("expected true or false"),
            "{text}"
        );
    }
    for (text, want) in [
        ("on", true),
        ("Off", false),
        ("y", true),
        ("N", false),
        ("TRUE", true),
    ] {
        assert_eq!(
            example(&format!("enabled: {text}")).unwrap().enabled,
            want,
            "{text}"
        );
    }
}

#[test]
fn a_path_leads_to_the_place_of_its_setting() {
    let node = read_str("x.yaml", "a:\n  b.c: [1, {d: 2}]\n  e:\n    f: 3\n").unwrap();
    for (path, line, column) in [
        ("a", 1, 1),
        ("a.b.c[0]", 2, 9),
        ("a.b.c[1].d", 2, 16),
        ("a.e", 3, 3),
        ("a.e.f", 4, 8),
        ("a.e.missing.too", 3, 3),
        ("missing", 1, 1),
    ] {
        let place = node.locate(path);
        assert_eq!((place.line(), place.column()), (line, column), "{path}");
    }
}

proptest! {
    /// forall texts: reading and decoding end without a panic.
    #[test]
    fn any_text_can_be_read(text in "(\\PC|[\n \t:{}\\[\\],&*#!|>'\"-]){0,200}") {
        let _ = example(&text).map_err(|message| message.len());
    }

    /// forall lines that look like settings: reading and decoding end without a panic.
    #[test]
    fn anything_like_a_setting_can_be_read(
        lines in prop::collection::vec(
            ("(  |    )?", "(- )?", "(name|port|enabled|interval|nested|<<|headers|free|a|'b')",
             "(: |:)", "(1|-1|1e9|yes|~|15s|&x|\\*x|\\[|\\{\\}|'|\"y\"|\\||x: y|!!str 1|😀)?"),
            0..12,
        )
    ) {
        let text: String = lines
            .into_iter()
            .map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}\n"))
            .collect();
        let _ = example(&text).map_err(|message| message.len());
    }
}
