use serde_json::json;

use super::*;

fn sent(document: &Value) -> Result<UserDocument, String> {
    UserDocument::from_request(document.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn patched(document: &Value, patch: &Value) -> Result<Value, String> {
    let document = sent(document).unwrap();
    let patched = document.patched(patch.to_string().as_bytes());
    patched
        .map(|document| document.0)
        .map_err(|error| error.to_string())
}

/// The examples of RFC 7386, appendix A, that patch an object with an object.
#[test]
fn patches_merge_as_in_the_rfc() {
    for (target, patch, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let mut merged = target.clone();
        merge_patch(&mut merged, patch.clone());
        assert_eq!(merged, want, "{target} {patch}");
    }
}

#[test]
fn a_null_in_a_patch_takes_only_the_tenants_own_setting_away() {
    let document = json!({"forwarders": [], "metrics_generator": {
        "collection_interval": "30s", "disable_collection": true}});
    assert_eq!(
        patched(
            &document,
            &json!({"metrics_generator": {"collection_interval": null}})
        ),
        Ok(json!({"forwarders": [], "metrics_generator": {"disable_collection": true}}))
    );
    assert_eq!(
        patched(&document, &json!({"metrics_generator": null})),
        Ok(json!({"forwarders": []}))
    );
    assert_eq!(
        patched(
            &document,
            &json!({"metrics_generator": {"max_active_series": null}})
        ),
        Err(
            "metrics_generator.max_active_series: is not for tenants to set; ask the operator"
                .to_owned()
        )
    );
    // In a whole document it means that nothing is set.
    let set = sent(&json!({"metrics_generator": {"collection_interval": null}})).unwrap();
    assert_eq!(set.0, json!({"metrics_generator": {}}));
}

#[test]
fn problems_name_the_dotted_path() {
    let generator = |block: Value| json!({ "metrics_generator": block });
    let span_metrics = |block: Value| generator(json!({"processor": {"span_metrics": block}}));
    for (document, want) in [
        (
            generator(json!({"max_active_series": 0, "collection_intervall": "15s"})),
            "metrics_generator.max_active_series: is not for tenants to set; ask the operator\n\
             metrics_generator.collection_intervall: unknown key; did you mean \
             \"collection_interval\"?",
        ),
        (
            json!({"ingestion": {"rate_limit_bytes": 1}}),
            "ingestion.rate_limit_bytes: is not for \
             tenants to set; ask the operator",
        ),
        (
            generator(json!({"remote_write": [{"url": "http://h"}]})),
            "metrics_generator.remote_write: is not for tenants to set; ask the operator",
        ),
        (
            generator(json!({"collection_interval": "5s"})),
            "metrics_generator.collection_interval: 5s is not accepted; expected 15s to 5m",
        ),
        (
            generator(json!({"collection_interval": "6m"})),
            "metrics_generator.collection_interval: 6m is not accepted; expected 15s to 5m",
        ),
        (
            generator(json!({"ingestion_time_range_slack": "13h"})),
            "metrics_generator.ingestion_time_range_slack: 13h is not accepted; expected 0s to 12h",
        ),
        (
            generator(json!({"native_histogram_bucket_factor": 0})),
            "metrics_generator.native_histogram_bucket_factor: 0 is not accepted; expected a \
             number above 1",
        ),
        (
            span_metrics(json!({"histogram_buckets": [1, 1]})),
            "metrics_generator.processor.span_metrics.histogram_buckets[1]: 1 is not above the \
             bound before it (1)",
        ),
        (
            span_metrics(json!({"dimensions": ["a.b", "c", "a_b"]})),
            "metrics_generator.processor.span_metrics.dimensions[2]: gives the label a_b, which \
             dimensions[0] gives as well",
        ),
        (
            span_metrics(json!({"dimensions": ["a"],
                "dimension_mapings": [{"name": "a", "source_labels": ["b"]}]})),
            "metrics_generator.processor.span_metrics.dimension_mappings[0].name: gives the label \
             a, which dimensions[0] gives as well",
        ),
        (
            generator(json!({"processor": {"host_info": {"metric_name": "a{b=\"c\"} 1\nd"}}})),
            "metrics_generator.processor.host_info.metric_name: \"a{b=\\\"c\\\"} 1\\nd\" is not a \
             metric name: letters, digits, _ and : are accepted, and no digit first",
        ),
    ] {
        assert_eq!(sent(&document), Err(want.to_owned()), "{document}");
    }
    let wrong = sent(&generator(
        json!({"processors": ["span-metric"], "processor": 5}),
    ));
    let wrong = wrong.unwrap_err();
    assert!(
        wrong.contains("metrics_generator.processors[0]: "),
        "{wrong}"
    );
    assert!(wrong.contains("metrics_generator.processor: "), "{wrong}");
}

/// In one block and in lists; also what patches add up to.
#[test]
fn a_document_has_so_many_values_and_no_more() {
    let wide = |from: usize, count: usize| {
        let entries = (from..from + count).map(|index| (index.to_string(), json!("a")));
        json!({"cost_attribution": {"dimensions": entries.collect::<Map<_, _>>()}})
    };
    let most = sent(&wide(0, MAX_VALUES - 2)).unwrap();
    let message = format!(
        "has {} entries and items; at most 4096 are accepted",
        MAX_VALUES + 1
    );
    assert_eq!(sent(&wide(0, MAX_VALUES - 1)), Err(message.clone()));
    let one_more = most.patched(wide(MAX_VALUES, 1).to_string().as_bytes());
    assert_eq!(one_more.unwrap_err().to_string(), message);
    let long = json!({"metrics_generator": {"processor": {"span_metrics": {
        "target_info_excluded_dimensions": vec!["a"; MAX_VALUES - 3]}}}});
    assert_eq!(sent(&long), Err(message));
}

#[test]
fn a_document_is_so_deep_and_no_deeper() {
    let deep = |levels: usize| {
        let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
        format!("{open}1{close}")
    };
    let refused = |levels: usize| {
        let sent = UserDocument::from_request(deep(levels).as_bytes());
        let stored = UserDocument::from_stored(deep(levels).as_bytes());
        let is_too_deep = stored.is_err();
        (sent.unwrap_err().to_string(), is_too_deep)
    };
    let message = "is nested too deeply; at most 32 levels are accepted";
    for levels in [MAX_DEPTH + 1, 127] {
        assert_eq!(refused(levels), (message.to_owned(), true), "{levels}");
    }
    let (unknown, is_too_deep) = refused(MAX_DEPTH);
    assert!(unknown != message && !is_too_deep, "{unknown}");
}

#[test]
fn regular_expressions_are_few_and_small() {
    let filters = |count: usize, expression: &str| {
        let attribute = json!({"key": "name", "value": expression});
        let spans = json!({"match_type": "regex", "attributes": vec![attribute; count]});
        let policies = json!([{ "include": spans }]);
        let processor = json!({"service_graphs": {"filter_policies": policies}});
        sent(&json!({"metrics_generator": {"processor": processor}})).map(drop)
    };
    assert_eq!(filters(32, r"^GET /\w+/[0-9a-f-]{36}$"), Ok(()));
    let many = filters(33, "a").unwrap_err();
    assert_eq!(many, "has 33 regular expressions; at most 32 are accepted");
    let large = filters(1, r"\w{900}").unwrap_err();
    assert_eq!(
        large,
        "metrics_generator.processor.service_graphs.filter_policies[0].include.attributes[0].value: \
         is too large a regular expression"
    );
    let wrong = filters(1, "(").unwrap_err();
    assert!(wrong.contains("is not a regular expression"), "{wrong}");
}

#[test]
fn only_objects_are_documents() {
    for body in ["", "null", "[]", "5", "{", "{} {}", "a: b"] {
        let error = UserDocument::from_request(body.as_bytes()).unwrap_err();
        assert!(matches!(error, UserOverridesError::NotJson(_)), "{body}");
        let error = UserDocument::empty().patched(body.as_bytes()).unwrap_err();
        assert!(matches!(error, UserOverridesError::NotJson(_)), "{body}");
    }
}

#[test]
fn tempos_misspelt_names_are_taken_for_the_right_ones() {
    let document = json!({"metrics_generator": {"processor": {
        "host_info": {"host_identifies": ["a"]},
        "span_metrics": {"dimension_mapings": [{"name": "b", "source_labels": ["c"]}]}}}});
    let want = json!({"metrics_generator": {"processor": {
        "host_info": {"host_identifiers": ["a"]},
        "span_metrics": {"dimension_mappings": [{"name": "b", "source_labels": ["c"]}]}}}});
    assert_eq!(sent(&document).unwrap().0, want);
    let patch =
        json!({"metrics_generator": {"processor": {"host_info": {"host_identifies": ["d"]}}}});
    let patched = patched(&document, &patch).unwrap();
    assert_eq!(
        patched["metrics_generator"]["processor"]["host_info"],
        json!({"host_identifiers": ["d"]})
    );
}

#[test]
fn what_is_stored_is_read_again_and_differs_from_write_to_write() {
    let document = sent(&json!({"metrics_generator": {"collection_interval": "30s"}})).unwrap();
    let (one, two) = (
        UserDocument::to_stored(Some(&document), 1),
        UserDocument::to_stored(Some(&document), 2),
    );
    assert_ne!(one, two);
    assert_eq!(UserDocument::from_stored(&one), Ok(Some(document.clone())));
    assert_eq!(UserDocument::from_stored(&two), Ok(Some(document)));
    let deleted = UserDocument::to_stored(None, u64::MAX);
    assert_eq!(UserDocument::from_stored(&deleted), Ok(None));
    assert!(UserDocument::from_stored(b"").is_err());
}

#[test]
fn what_is_stored_is_of_its_format_and_another_is_refused_by_its_number() {
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "overrides.json");
    let document = sent(&json!({
        "forwarders": ["f"],
        "metrics_generator": {
            "processors": ["span-metrics"],
            "collection_interval": "30s",
            "processor": {"span_metrics": {"dimensions": ["http.method"]}},
        },
    }));
    let document = document.unwrap();
    let written = UserDocument::to_stored(Some(&document), 0xabc);
    format.check(FORMAT, &written).unwrap();
    for (version, kept) in format.kept().unwrap() {
        let read = UserDocument::from_stored(&kept);
        assert_eq!(read, Ok(Some(document.clone())), "{version}");
    }
    let refused = UserDocument::from_stored(br#"{"format": 2, "whatever": []}"#);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "format: is 2, and this version of spanmill knows 1"
    );
}

#[test]
fn changes_are_told_by_path_with_both_values() {
    let before = sent(&json!({"forwarders": [], "metrics_generator": {
        "collection_interval": "30s", "disable_collection": true}}));
    let after = sent(&json!({"forwarders": [], "metrics_generator": {
        "collection_interval": "45s", "trace_id_label_name": "a\nb"}}));
    assert_eq!(
        after.clone().unwrap_err(),
        "metrics_generator.trace_id_label_name: \"a\\nb\" is not a label name: letters, digits and \
         _ are accepted, and no digit first"
    );
    let after = sent(&json!({"forwarders": [], "metrics_generator": {
        "collection_interval": "45s", "trace_id_label_name": "id"}}));
    let (before, after) = (before.unwrap(), after.unwrap());
    let changes = UserDocument::changes(Some(&before), Some(&after));
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            r#"metrics_generator.collection_interval: "30s" -> "45s""#,
            "metrics_generator.disable_collection: true -> unset",
            r#"metrics_generator.trace_id_label_name: unset -> "id""#,
        ]
    );
    assert_eq!(UserDocument::changes(Some(&before), Some(&before)), []);
    assert_eq!(UserDocument::changes(Some(&before), None).len(), 3);
}
