//! Schemas of a saved registry: as much as tells whether they are the same.

use crate::native_buckets::NativeBuckets;
use crate::records::{Cursor, RestoreError, put_bytes, put_number, put_signed, put_varint};
use crate::schema::{Metric, MetricKind, Schema};
use crate::update::MAX_METRICS;

const COUNTER: u8 = 0;
const GAUGE: u8 = 1;
const CLASSIC: u8 = 2;
const NATIVE: u8 = 3;
const CLASSIC_AND_NATIVE: u8 = 4;

/// Appends a schema, without the words for people.
pub(super) fn put_schema(out: &mut Vec<u8>, schema: &Schema) {
    out.push(u8::from(schema.limits_labels()));
    put_varint(out, schema.metrics().count() as u64);
    for metric in schema.metrics() {
        put_bytes(out, metric.name.as_bytes());
        out.push(u8::from(metric.sparse));
        match &metric.kind {
            MetricKind::Counter => out.push(COUNTER),
            MetricKind::Gauge => out.push(GAUGE),
            MetricKind::ClassicHistogram { bounds } => {
                out.push(CLASSIC);
                put_bounds(out, bounds);
            }
            MetricKind::NativeHistogram { buckets } => {
                out.push(NATIVE);
                put_buckets(out, *buckets);
            }
            MetricKind::ClassicAndNative { bounds, buckets } => {
                out.push(CLASSIC_AND_NATIVE);
                put_bounds(out, bounds);
                put_buckets(out, *buckets);
            }
        }
    }
}

fn put_bounds(out: &mut Vec<u8>, bounds: &[f64]) {
    put_varint(out, bounds.len() as u64);
    bounds.iter().for_each(|bound| put_number(out, *bound));
}

fn put_buckets(out: &mut Vec<u8>, buckets: NativeBuckets) {
    let (schema, max_buckets, min_reset_ms) = buckets.to_parts();
    put_signed(out, i64::from(schema));
    put_varint(out, u64::from(max_buckets));
    put_signed(out, min_reset_ms);
}

/// Reads a schema; help and units are empty.
pub(super) fn read_schema(cursor: &mut Cursor<'_>) -> Result<Schema, RestoreError> {
    let limits_labels = cursor.byte()? != 0;
    let count: usize = cursor.small()?;
    if count > MAX_METRICS {
        return Err(RestoreError::damaged("a label set has too many metrics"));
    }
    let mut metrics = Vec::new();
    for _ in 0..count {
        metrics.push(Metric {
            name: cursor.text()?.to_owned(),
            help: "",
            unit: "",
            sparse: cursor.byte()? != 0,
            kind: read_kind(cursor)?,
        });
    }
    let schema = Schema::new(metrics);
    Ok(if limits_labels {
        schema.limiting_labels()
    } else {
        schema
    })
}

fn read_kind(cursor: &mut Cursor<'_>) -> Result<MetricKind, RestoreError> {
    Ok(match cursor.byte()? {
        COUNTER => MetricKind::Counter,
        GAUGE => MetricKind::Gauge,
        CLASSIC => MetricKind::ClassicHistogram {
            bounds: read_bounds(cursor)?,
        },
        NATIVE => MetricKind::NativeHistogram {
            buckets: read_buckets(cursor)?,
        },
        CLASSIC_AND_NATIVE => MetricKind::ClassicAndNative {
            bounds: read_bounds(cursor)?,
            buckets: read_buckets(cursor)?,
        },
        _ => return Err(RestoreError::damaged("a kind of metric is unknown")),
    })
}

fn read_bounds(cursor: &mut Cursor<'_>) -> Result<Vec<f64>, RestoreError> {
    let count: u64 = cursor.varint()?;
    (0..count).map(|_| cursor.number()).collect()
}

fn read_buckets(cursor: &mut Cursor<'_>) -> Result<NativeBuckets, RestoreError> {
    let schema = i8::try_from(cursor.signed()?);
    let schema = schema.map_err(|_| RestoreError::damaged("a number is too large"))?;
    let parts = (schema, cursor.small()?, cursor.signed()?);
    NativeBuckets::from_parts(parts).ok_or(RestoreError::damaged("a native schema is unknown"))
}
