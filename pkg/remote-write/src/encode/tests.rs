use std::collections::BTreeMap;

use model::{LabelSetBuf, Series};
use proptest::prelude::*;
use prost::Message;
use proto::remote_write as pb;

use super::v1::{SharedLabels, write_labelled_series};
use super::*;

#[derive(Clone, Debug)]
struct Case {
    own: Vec<(String, String)>,
    external: BTreeMap<String, String>,
    name: String,
    le: Option<String>,
    points: Vec<(i64, f64)>,
    exemplar: Option<([u8; 16], f64, i64)>,
}

fn case() -> impl Strategy<Value = Case> {
    // Names around both insertion points, and those two themselves.
    let name = prop_oneof![
        Just("__name__"),
        Just("le"),
        Just("A"),
        Just("__a"),
        Just("_"),
        Just("a"),
        Just("lf"),
        Just("z"),
    ]
    .prop_map(String::from);
    let value = prop_oneof!["[a-zé]{0,3}", "x{120,140}"];
    let timestamp = prop_oneof![Just(0), Just(-1), 1..i64::MAX, Just(1_700_000_000_123)];
    (
        prop::collection::vec((name.clone(), value.clone()), 0..6),
        prop::collection::btree_map(name, "[a-z]{1,3}", 0..4),
        "[a-z_]{1,20}",
        prop::option::of("[0-9.]{1,5}"),
        prop::collection::vec((timestamp.clone(), any::<f64>()), 1..3),
        prop::option::of((any::<[u8; 16]>(), any::<f64>(), timestamp)),
    )
        .prop_map(|(own, external, name, le, points, exemplar)| Case {
            own,
            external,
            name,
            le,
            points,
            exemplar,
        })
}

/// What the case must look like, made the plain way.
fn expected(case: &Case) -> pb::TimeSeries {
    let mut labels = case.external.clone();
    labels.remove("__name__");
    let mut own = BTreeMap::new();
    for (name, value) in &case.own {
        own.insert(name.clone(), value.clone());
    }
    own.retain(|_, value| !value.is_empty());
    labels.extend(own);
    labels.insert("__name__".into(), case.name.clone());
    if let Some(le) = &case.le {
        labels.insert("le".into(), le.clone());
    }
    pb::TimeSeries {
        labels: labels
            .into_iter()
            .map(|(name, value)| pb::Label { name, value })
            .collect(),
        samples: case
            .points
            .iter()
            .map(|&(timestamp, value)| pb::Sample { value, timestamp })
            .collect(),
        exemplars: case
            .exemplar
            .iter()
            .map(|(id, value, timestamp)| pb::Exemplar {
                labels: vec![pb::Label {
                    name: "traceID".into(),
                    value: id.iter().map(|byte| format!("{byte:02x}")).collect(),
                }],
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        histograms: vec![],
    }
}

/// Labels, points and exemplars with values as bits, so that NaNs compare.
type Bits = (
    Vec<pb::Label>,
    Vec<(i64, u64)>,
    Vec<(Vec<pb::Label>, i64, u64)>,
);

fn bits(series: &pb::TimeSeries) -> Bits {
    (
        series.labels.clone(),
        series
            .samples
            .iter()
            .map(|sample| (sample.timestamp, sample.value.to_bits()))
            .collect(),
        series
            .exemplars
            .iter()
            .map(|e| (e.labels.clone(), e.timestamp, e.value.to_bits()))
            .collect(),
    )
}

fn encode(cases: &[Case]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buf = LabelSetBuf::new();
    let mut labels = SharedLabels::default();
    for case in cases {
        buf.clear();
        for (name, value) in &case.own {
            buf.push(name, value);
        }
        let external: Vec<_> = case.external.clone().into_iter().collect();
        labels.set(buf.finish(), &external);
        let series = Series {
            name: &case.name,
            le: case.le.as_deref(),
        };
        let points: Vec<_> = case
            .points
            .iter()
            .map(|&(timestamp_ms, value)| Point {
                timestamp_ms,
                value,
            })
            .collect();
        let exemplar = case.exemplar.map(|(trace_id, value, timestamp_ms)| {
            (
                "traceID",
                Exemplar {
                    trace_id,
                    value,
                    timestamp_ms,
                },
            )
        });
        labels.write_series(&mut out, series, &points, exemplar);
    }
    out
}

proptest! {
    /// forall series: what we write, prost reads as the sorted map of own over
    /// external labels, with every point and exemplar bit for bit.
    #[test]
    fn encoding_reads_back_with_prost(cases in prop::collection::vec(case(), 1..4)) {
        let request = pb::WriteRequest::decode(encode(&cases).as_slice()).unwrap();
        prop_assert_eq!(request.timeseries.len(), cases.len());
        for (series, case) in request.timeseries.iter().zip(&cases) {
            prop_assert_eq!(bits(series), bits(&expected(case)));
        }
    }

    /// forall series without zero values: the bytes are prost's own.
    #[test]
    fn encoding_is_byte_for_byte_the_reference(mut case in case()) {
        for (timestamp, value) in &mut case.points {
            if *timestamp == 0 { *timestamp = 1; }
            if *value == 0.0 { *value = 1.0; }
        }
        if let Some((_, value, timestamp)) = &mut case.exemplar {
            if *timestamp == 0 { *timestamp = 1; }
            if *value == 0.0 { *value = 1.0; }
        }
        let request = pb::WriteRequest { timeseries: vec![expected(&case)], metadata: vec![] };
        prop_assert_eq!(encode(&[case]), request.encode_to_vec());
    }

    /// forall series: writing all labels one by one gives the same bytes.
    #[test]
    fn both_writers_agree(case in case()) {
        let want = expected(&case);
        let mut out = Vec::new();
        let points: Vec<_> = case.points.iter()
            .map(|&(timestamp_ms, value)| Point { timestamp_ms, value }).collect();
        let exemplar = case.exemplar
            .map(|(trace_id, value, timestamp_ms)| ("traceID", Exemplar { trace_id, value, timestamp_ms }));
        let labels = want.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        write_labelled_series(&mut out, labels, &points, exemplar);
        prop_assert_eq!(out, encode(&[case]));
    }
}

#[test]
fn batches_close_at_the_sample_limit_and_keep_a_series_together() {
    let mut batcher = Batcher::new(3, Scratch::default());
    let point = |timestamp_ms| Point {
        timestamp_ms,
        value: 1.0,
    };
    let batches = [
        batcher.add(&[point(1), point(9)], None, |raw| raw.push(1)),
        batcher.add(&[point(2), point(3)], None, |raw| raw.push(2)),
        batcher.add(&[point(4)], None, |raw| raw.push(3)),
        batcher.add(&[point(5)], None, |raw| raw.push(4)),
        batcher.finish().0,
    ];
    let batches: Vec<_> = batches
        .into_iter()
        .flatten()
        .map(|batch| {
            let raw = snap::raw::Decoder::new()
                .decompress_vec(&batch.body)
                .unwrap();
            (raw, batch.samples, batch.highest_timestamp_ms)
        })
        .collect();
    assert_eq!(
        batches,
        [(vec![1], 2, 9), (vec![2, 3], 3, 4), (vec![4], 1, 5)]
    );
}

#[test]
fn batches_close_at_the_byte_limit() {
    let mut batcher = Batcher::new(1000, Scratch::default());
    let mut add = || {
        let point = Point {
            timestamp_ms: 1,
            value: 1.0,
        };
        let half = |raw: &mut Vec<u8>| raw.resize(raw.len() + MAX_REQUEST_BYTES / 2, 0);
        batcher.add(&[point], None, half).map(|batch| batch.samples)
    };
    assert_eq!([add(), add(), add()], [None, None, Some(2)]);
    assert_eq!(batcher.finish().0.map(|batch| batch.samples), Some(1));
}
