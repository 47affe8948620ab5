use prost::Message;
use proto::otlp::common::{AnyValue, InstrumentationScope, KeyValue, any_value};
use proto::otlp::resource::Resource;
use proto::otlp::trace;

use super::*;

fn attributes(pairs: Vec<(&str, any_value::Value)>) -> Vec<KeyValue> {
    let attribute = |(key, value): (&str, _)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    pairs.into_iter().map(attribute).collect()
}

/// Whether a condition holds for a span of a shop, or its first event.
fn holds(condition: &str, context: Context) -> bool {
    use any_value::Value;
    let event = trace::span::Event {
        name: "exception".to_owned(),
        attributes: attributes(vec![("level", Value::StringValue("warn".to_owned()))]),
        ..Default::default()
    };
    let span = trace::Span {
        name: "GET /cart/7".to_owned(),
        kind: 2,
        attributes: attributes(vec![
            ("http.status", Value::IntValue(503)),
            ("ratio", Value::DoubleValue(0.5)),
            ("cached", Value::BoolValue(true)),
            ("user", Value::StringValue("ann \"x\"".to_owned())),
            ("raw", Value::BytesValue(vec![1])),
        ]),
        status: Some(trace::Status {
            code: 2,
            message: "timed out".to_owned(),
        }),
        events: vec![event.clone()],
        ..Default::default()
    };
    let scope = trace::ScopeSpans {
        scope: Some(InstrumentationScope {
            name: "lib".to_owned(),
            version: "1.2".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let resource = trace::ResourceSpans {
        resource: Some(Resource {
            attributes: attributes(vec![(
                "service.name",
                Value::StringValue("cart".to_owned()),
            )]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let (span, event) = (span.encode_to_vec(), event.encode_to_vec());
    let resource = resource.encode_to_vec();
    let scope_bytes = scope.encode_to_vec();
    let scope = {
        // A `ResourceSpans` is the only way to a `ScopeSpans`.
        let mut outer = vec![0x12, scope_bytes.len() as u8];
        outer.extend(&scope_bytes);
        outer
    };
    let subject = Subject {
        resource: ResourceSpans::new(&resource),
        scope: ResourceSpans::new(&scope)
            .scope_spans()
            .next()
            .unwrap()
            .unwrap(),
        span: Span::parse(&span).unwrap(),
        event: Event::parse(&event).unwrap(),
    };
    Condition::parse(condition, context)
        .unwrap()
        .holds(&subject)
}

#[test]
fn conditions_on_spans_hold_as_in_the_collector() {
    for (condition, want) in [
        (r#"name == "GET /cart/7""#, true),
        (r#"span.name != "GET /cart/7""#, false),
        (r#"attributes["http.status"] == 503"#, true),
        (r#"attributes["http.status"] == "503""#, false),
        (r#"attributes["http.status"] != "503""#, true),
        (
            r#"attributes["http.status"] >= 500 and attributes["http.status"] < 503.5"#,
            true,
        ),
        (
            r#"attributes["ratio"] > 0.5 or attributes["ratio"] <= 0"#,
            false,
        ),
        (r#"attributes["cached"] == true"#, true),
        (r#"attributes["user"] == "ann \"x\"""#, true),
        (r#"attributes["none"] == nil"#, true),
        (r#"attributes["none"] != "x""#, true),
        (r#"attributes["none"] < 1"#, false),
        (r#"attributes["raw"] == attributes["raw"]"#, false),
        (r#"resource.attributes["service.name"] == "cart""#, true),
        (r#"resource.attributes["service.name"] == nil"#, false),
        ("kind == SPAN_KIND_SERVER", true),
        (r#"kind.string == "Server""#, true),
        ("status.code == STATUS_CODE_ERROR", true),
        (r#"status.message == "timed out""#, true),
        (
            r#"instrumentation_scope.name == "lib" and scope.version == "1.2""#,
            true,
        ),
        (r#"IsMatch(name, "/cart/\\d+$")"#, true),
        (r#"IsMatch(attributes["http.status"], "^5..$")"#, true),
        (r#"IsMatch(attributes["none"], ".*")"#, false),
        ("IsRootSpan()", true),
        (r#"not (kind == 2 and name == "x") and not false"#, true),
        (r#"name == "x" and name == "y" or kind == 2"#, true),
        (r#"name == "x" and (name == "y" or kind == 2)"#, false),
        ("attributes[\"http.status\"] == -503", false),
    ] {
        assert_eq!(holds(condition, Context::Span), want, "{condition}");
    }
}

#[test]
fn conditions_on_events_reach_their_span() {
    for (condition, want) in [
        (r#"name == "exception""#, true),
        (r#"spanevent.attributes["level"] == "warn""#, true),
        (r#"attributes["level"] == nil"#, false),
        (r#"span.name == "exception""#, false),
        (
            r#"span.attributes["cached"] == true and span.kind == 2"#,
            true,
        ),
    ] {
        assert_eq!(holds(condition, Context::SpanEvent), want, "{condition}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_its_place() {
    for (condition, want) in [
        (
            "",
            "at character 1: expected a value or the name of a field",
        ),
        (
            "name",
            "at character 5: expected a comparison: == != < <= > >=",
        ),
        ("name = \"x\"", "at character 6: '=' is not known"),
        (
            "name == \"x",
            "at character 9: text has no end: a \" is missing",
        ),
        (
            "name == \"\\d\"",
            "at character 9: \\d is not known in text; a backslash is \\\\",
        ),
        ("name == 1.2.3", "at character 9: \"1.2.3\" is not a number"),
        (
            "name == nil kind",
            "at character 13: expected and, or, or the end",
        ),
        ("(name == nil", "at character 13: expected )"),
        (
            "Len(name) > 1",
            "at character 1: the function Len is not known; IsMatch and IsRootSpan are",
        ),
        (
            "IsMatch(name, \"(\")",
            "at character 15: is not a regular expression: unclosed group",
        ),
        (
            "IsMatch(name, name)",
            "at character 15: expected a regular expression in double quotes",
        ),
        (
            "attributes[1] == 2",
            "at character 12: expected the name of an attribute in double quotes",
        ),
        ("name == \"ä\" or §", "at character 16: '§' is not known"),
    ] {
        let error = Condition::parse(condition, Context::Span).unwrap_err();
        assert_eq!(error.to_string(), want, "{condition}");
    }
    for condition in [
        "duration > 5",
        "name[\"x\"] == 1",
        "spanevent.name == \"a\"",
    ] {
        let error = Condition::parse(condition, Context::Span)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("at character 1: "), "{error}");
        assert!(error.contains("resource.attributes"), "{error}");
    }
    assert!(Condition::parse("kind == 2", Context::SpanEvent).is_err());
    let deep = "(".repeat(MAX_TESTED_DEPTH) + "true" + &")".repeat(MAX_TESTED_DEPTH);
    let error = Condition::parse(&deep, Context::Span).unwrap_err();
    assert_eq!(error.problem, "nested deeper than 32 levels");
}

const MAX_TESTED_DEPTH: usize = 100_000;
