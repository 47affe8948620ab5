use std::collections::BTreeMap;

use model::{HistogramSample, LabelSet, LabelSetBuf, Metadata, MetricType, Series};
use proptest::prelude::*;
use prost::Message;
use proto::remote_write as pb;
use proto::remote_write::v2 as pb2;

use super::transcode::to_v1;
use super::v1::{SharedLabels, write_labelled_series};
use super::v2::{Content, Labels};
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

fn label_set<'a>(buf: &'a mut LabelSetBuf, case: &Case) -> LabelSet<'a> {
    let mut own = BTreeMap::new();
    for (name, value) in &case.own {
        own.insert(name, value);
    }
    own.retain(|_, value| !value.is_empty());
    for (name, value) in case.external.iter().chain(own) {
        buf.push(name, value);
    }
    buf.finish()
}

fn encode(cases: &[Case]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buf = LabelSetBuf::new();
    let mut labels = SharedLabels::default();
    for case in cases {
        buf.clear();
        labels.set(label_set(&mut buf, case));
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
        labels.write_series(&mut out, series, Samples::Points(&points), exemplar);
    }
    out
}

const STARTED_MS: i64 = 1_600_000_000_000;

fn metadata(case: &Case) -> Metadata<'static> {
    match case.name.len() % 3 {
        0 => Metadata {
            kind: MetricType::Counter,
            help: "Calls",
            unit: "",
        },
        1 => Metadata {
            kind: MetricType::Gauge,
            help: "",
            unit: "",
        },
        _ => Metadata {
            kind: MetricType::Histogram,
            help: "Time",
            unit: "seconds",
        },
    }
}

/// Writes each case as a series of 2.0: as one of a label set, and then with its
/// labels in full.
fn encode_v2(batcher: &mut Batcher, cases: &[Case]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut buf = LabelSetBuf::new();
    for (number, case) in (1..).zip(cases) {
        buf.clear();
        let labels = Labels {
            number,
            own: label_set(&mut buf, case),
        };
        let points: Vec<_> = case
            .points
            .iter()
            .map(|&(timestamp_ms, value)| Point {
                timestamp_ms,
                value,
            })
            .collect();
        let exemplar = case
            .exemplar
            .map(|(trace_id, value, timestamp_ms)| Exemplar {
                trace_id,
                value,
                timestamp_ms,
            });
        let content = Content {
            samples: Samples::Points(&points),
            started_ms: Some(STARTED_MS),
            metadata: Some(metadata(case)),
            exemplar: exemplar.map(|exemplar| ("traceID", exemplar)),
        };
        let series = Series {
            name: &case.name,
            le: case.le.as_deref(),
        };
        batches.extend(
            batcher.add_v2(Samples::Points(&points), exemplar, |encoder, out| {
                encoder.write_series(out, labels, series, content)
            }),
        );
        let full = expected(case).labels;
        let full = full
            .iter()
            .map(|label| (label.name.as_str(), label.value.as_str()));
        batches.extend(
            batcher.add_v2(Samples::Points(&points), exemplar, |encoder, out| {
                encoder.write_labelled_series(out, full, content)
            }),
        );
    }
    batches
}

fn read_v2(batch: &Batch) -> pb2::Request {
    assert_eq!(batch.protocol, Protocol::V2);
    let raw = snap::raw::Decoder::new()
        .decompress_vec(&batch.body)
        .unwrap();
    pb2::Request::decode(raw.as_slice()).unwrap()
}

fn read_v1(body: &[u8]) -> pb::WriteRequest {
    let raw = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    pb::WriteRequest::decode(raw.as_slice()).unwrap()
}

proptest! {
    /// forall series, in requests of few and of many: what we write as 2.0 is
    /// read by prost with metadata and starts, every symbol stands once, and as
    /// 1.0 it is what we write there.
    #[test]
    fn second_version_reads_back_with_prost_and_as_the_first(
        mut cases in prop::collection::vec(case(), 1..6), max_samples in 1..12_u64
    ) {
        // Which prost takes for 0, and leaves out.
        let positive_zero = |value: &mut f64| if *value == 0.0 { *value = 0.0 };
        for case in &mut cases {
            case.points.iter_mut().for_each(|(_, value)| positive_zero(value));
            case.exemplar.iter_mut().for_each(|(_, value, _)| positive_zero(value));
        }
        let mut batcher = Batcher::new(Protocol::V2, max_samples);
        let mut batches = encode_v2(&mut batcher, &cases);
        batches.extend(batcher.close());
        let twice: Vec<_> = cases.iter().flat_map(|case| [case, case]).collect();
        let mut first_version = Vec::new();
        let mut written = Vec::new();
        for batch in &batches {
            let request = read_v2(batch);
            let unique: std::collections::BTreeSet<_> = request.symbols.iter().collect();
            prop_assert_eq!(unique.len(), request.symbols.len());
            prop_assert_eq!(request.symbols[0].as_str(), "");
            written.extend(request.timeseries.into_iter().map(|series| (request.symbols.clone(), series)));
            first_version.extend(read_v1(&to_v1(&batch.body).unwrap()).timeseries);
        }
        prop_assert_eq!(written.len(), twice.len());
        for (((symbols, series), first), case) in written.iter().zip(&first_version).zip(twice) {
            prop_assert_eq!(bits(first), bits(&expected(case)));
            let told = series.metadata.unwrap();
            let want = metadata(case);
            let text = |reference: u32| symbols[reference as usize].as_str();
            prop_assert_eq!((text(told.help_ref), text(told.unit_ref)), (want.help, want.unit));
            let kind = match want.kind {
                MetricType::Counter => pb2::metadata::MetricType::Counter,
                MetricType::Gauge => pb2::metadata::MetricType::Gauge,
                _ => pb2::metadata::MetricType::Histogram,
            };
            prop_assert_eq!(told.r#type(), kind);
            for sample in &series.samples {
                let want = if sample.timestamp < STARTED_MS { 0 } else { STARTED_MS };
                prop_assert_eq!(sample.start_timestamp, want);
            }
        }
    }

    /// forall series without zero values: the bytes of a series are prost's own.
    #[test]
    fn second_version_is_byte_for_byte_the_reference(mut cases in prop::collection::vec(case(), 1..4)) {
        for case in &mut cases {
            for (timestamp, value) in &mut case.points {
                if *timestamp == 0 { *timestamp = 1; }
                if *value == 0.0 { *value = 1.0; }
            }
            if let Some((_, value, timestamp)) = &mut case.exemplar {
                if *timestamp == 0 { *timestamp = 1; }
                if *value == 0.0 { *value = 1.0; }
            }
        }
        let mut batcher = Batcher::new(Protocol::V2, u64::MAX);
        encode_v2(&mut batcher, &cases);
        let body = batcher.close().unwrap().body;
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = pb2::Request::decode(raw.as_slice()).unwrap();
        prop_assert_eq!(raw, request.encode_to_vec());
    }

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
        write_labelled_series(&mut out, labels, Samples::Points(&points), exemplar);
        prop_assert_eq!(out, encode(&[case]));
    }
}

#[test]
fn batches_close_at_the_sample_limit_and_keep_a_series_together() {
    let mut batcher = Batcher::new(Protocol::V1, 3);
    let point = |timestamp_ms| Point {
        timestamp_ms,
        value: 1.0,
    };
    let batches = [
        batcher.add(Samples::Points(&[point(1), point(9)]), None, |raw| {
            raw.push(1)
        }),
        batcher.add(Samples::Points(&[point(2), point(3)]), None, |raw| {
            raw.push(2)
        }),
        batcher.add(Samples::Points(&[point(4)]), None, |raw| raw.push(3)),
        batcher.add(Samples::Points(&[point(5)]), None, |raw| raw.push(4)),
        batcher.close(),
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
fn histograms_follow_the_exemplar_and_count_as_samples() {
    let mut buf = LabelSetBuf::new();
    buf.push("service", "web");
    let mut labels = SharedLabels::default();
    labels.set(buf.finish());
    let mut histograms = EncodedHistograms::default();
    histograms.set(&[3, 4].map(|at| HistogramSample::empty(at, 3, 1.0)));
    let exemplar = Exemplar {
        trace_id: [1; 16],
        value: 2.0,
        timestamp_ms: 3,
    };
    let series = Series {
        name: "latency",
        le: None,
    };
    let samples = Samples::Histograms(&histograms);
    let mut batcher = Batcher::new(Protocol::V1, 10);
    batcher.add(samples, Some(exemplar), |raw| {
        labels.write_series(raw, series, samples, Some(("traceID", exemplar)));
    });
    let batch = batcher.close().unwrap();
    assert_eq!((batch.samples, batch.exemplars), (2, 1));
    assert_eq!(batch.highest_timestamp_ms, 4);
    let raw = snap::raw::Decoder::new()
        .decompress_vec(&batch.body)
        .unwrap();
    let request = pb::WriteRequest::decode(raw.as_slice()).unwrap();
    let read = &request.timeseries[0];
    let times: Vec<_> = read.histograms.iter().map(|h| h.timestamp).collect();
    assert_eq!((times, read.exemplars.len()), (vec![3, 4], 1));
    let mut relabelled = Vec::new();
    let all = read.labels.iter();
    let all = all.map(|label| (label.name.as_str(), label.value.as_str()));
    write_labelled_series(&mut relabelled, all, samples, Some(("traceID", exemplar)));
    assert_eq!(relabelled, raw);

    let labels = Labels {
        number: 1,
        own: buf.finish(),
    };
    let content = Content {
        samples,
        started_ms: Some(4),
        metadata: None,
        exemplar: Some(("traceID", exemplar)),
    };
    let mut batcher = Batcher::new(Protocol::V2, 10);
    batcher.add_v2(samples, Some(exemplar), |encoder, out| {
        encoder.write_series(out, labels, series, content)
    });
    let second = batcher.close().unwrap();
    assert_eq!((second.samples, second.exemplars), (2, 1));
    assert_eq!(second.highest_timestamp_ms, 4);
    assert_eq!(read_v1(&to_v1(&second.body).unwrap()), request);
    let starts = read_v2(&second).timeseries[0].histograms.clone();
    let starts: Vec<_> = starts.iter().map(|h| h.start_timestamp).collect();
    assert_eq!(starts, [0, 4]);
}

#[test]
fn batches_close_at_the_byte_limit() {
    let mut batcher = Batcher::new(Protocol::V1, 1000);
    let mut add = || {
        let point = Point {
            timestamp_ms: 1,
            value: 1.0,
        };
        let half = |raw: &mut Vec<u8>| raw.resize(raw.len() + MAX_REQUEST_BYTES / 2, 0);
        batcher
            .add(Samples::Points(&[point]), None, half)
            .map(|batch| batch.samples)
    };
    assert_eq!([add(), add(), add()], [None, None, Some(2)]);
    assert_eq!(batcher.close().map(|batch| batch.samples), Some(1));
}

/// The first request of many has texts in other places than the second, and one
/// label set goes on from one to the other.
#[test]
fn symbols_begin_anew_in_each_request() {
    let mut batcher = Batcher::new(Protocol::V2, 2);
    let (mut cluster, mut both) = (LabelSetBuf::new(), LabelSetBuf::new());
    cluster.push("cluster", "x1");
    both.push("cluster", "x1");
    both.push("service", "web");
    let (own, first) = (both.finish(), cluster.finish());
    let points = [Point {
        timestamp_ms: 1,
        value: 1.0,
    }];
    let content = Content {
        samples: Samples::Points(&points),
        started_ms: None,
        metadata: None,
        exemplar: None,
    };
    let mut batches = Vec::new();
    for (name, number, own) in [("first", 1, first), ("second", 2, own), ("third", 2, own)] {
        batches.extend(
            batcher.add_v2(Samples::Points(&points), None, |encoder, out| {
                let labels = Labels { number, own };
                encoder.write_series(out, labels, Series { name, le: None }, content)
            }),
        );
    }
    batches.extend(batcher.close());
    let read: Vec<_> = batches
        .iter()
        .map(|batch| {
            let request = read_v2(batch);
            let references = request.timeseries.iter().map(|s| s.labels_refs.clone());
            (request.symbols.join(","), references.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        read,
        [
            (
                ",__name__,le,cluster,x1,first,service,web,second".to_owned(),
                vec![vec![1, 5, 3, 4], vec![1, 8, 3, 4, 6, 7]]
            ),
            (
                ",__name__,le,cluster,x1,service,web,third".to_owned(),
                vec![vec![1, 7, 3, 4, 5, 6]]
            ),
        ]
    );
}

/// One text in many series is short in 2.0, but each has it in 1.0.
#[test]
fn requests_close_at_the_byte_limit_of_the_first_version() {
    let mut batcher = Batcher::new(Protocol::V2, 1_000);
    let long = "x".repeat(MAX_REQUEST_BYTES / 2);
    let points = [Point {
        timestamp_ms: 1,
        value: 1.0,
    }];
    let content = Content {
        samples: Samples::Points(&points),
        started_ms: None,
        metadata: None,
        exemplar: None,
    };
    let mut add = || {
        let batch = batcher.add_v2(Samples::Points(&points), None, |encoder, out| {
            encoder.write_labelled_series(out, [("a", long.as_str())].into_iter(), content)
        });
        batch.map(|batch| batch.samples)
    };
    assert_eq!([add(), add(), add()], [None, None, Some(2)]);
}

/// Labels and buckets stay under the limit each, but not both together.
#[test]
fn buckets_count_for_the_byte_limit_of_the_first_version() {
    let mut batcher = Batcher::new(Protocol::V2, 1_000);
    let long = "x".repeat(MAX_REQUEST_BYTES / 8 * 3);
    let counts = vec![1.0; MAX_REQUEST_BYTES / 64];
    let mut histograms = EncodedHistograms::default();
    histograms.set(&[HistogramSample {
        is_float: true,
        counts: &counts,
        ..HistogramSample::empty(1, 3, 1.0)
    }]);
    let samples = Samples::Histograms(&histograms);
    let content = Content {
        samples,
        started_ms: None,
        metadata: None,
        exemplar: None,
    };
    let mut add = || {
        let batch = batcher.add_v2(samples, None, |encoder, out| {
            encoder.write_labelled_series(out, [("a", long.as_str())].into_iter(), content)
        });
        batch.map(|batch| batch.samples)
    };
    assert_eq!([add(), add(), add()], [None, None, Some(2)]);
}

#[test]
fn what_is_no_request_is_not_turned_into_one() {
    let message = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    assert!(to_v1(&[0xff; 3]).is_err());
    assert!(to_v1(&message(&[FIELD_5_OF_LENGTH_9, 9])).is_err());
    assert!(to_v1(&message(&[])).is_ok());
}

/// The tag of a series that does not follow.
const FIELD_5_OF_LENGTH_9: u8 = 0x2a;
