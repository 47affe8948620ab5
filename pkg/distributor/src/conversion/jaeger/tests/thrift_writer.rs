//! Writes Thrift, as little of it as Jaeger's clients do.

use prost::Message;
use proto::jaeger;
use proto::otlp::common::any_value::Value as Any;

use super::super::super::ThriftEncoding;

/// A batch of one span.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) service: String,
    pub(super) process_tags: Vec<(String, Tag)>,
    /// The high and the low half.
    pub(super) trace_id: (i64, i64),
    pub(super) span_id: i64,
    pub(super) parent: i64,
    pub(super) operation: String,
    /// Microseconds.
    pub(super) start: i64,
    pub(super) duration: i64,
    pub(super) tags: Vec<(String, Tag)>,
    /// An id in the same trace that it follows from.
    pub(super) follows_from: i64,
    /// A log, by its microseconds.
    pub(super) log: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Tag {
    Text(String),
    Double(f64),
    Bool(bool),
    Int(i64),
    Bytes(Vec<u8>),
}

/// Kinds of fields by their number in each encoding.
const DOUBLE: (u8, u8) = (4, 7);
const I32: (u8, u8) = (8, 5);
const I64: (u8, u8) = (10, 6);
const BINARY: (u8, u8) = (11, 8);
const STRUCT: (u8, u8) = (12, 12);
const LIST: (u8, u8) = (15, 9);

impl Batch {
    pub(super) fn example() -> Self {
        Self {
            service: "shop".into(),
            process_tags: vec![("k".into(), Tag::Text("v".into()))],
            trace_id: (1, 2),
            span_id: 3,
            parent: -1,
            operation: "GET /".into(),
            start: 1_700_000_000_000_000,
            duration: 1_500_000,
            tags: vec![
                ("t".into(), Tag::Text("text".into())),
                ("i".into(), Tag::Int(-7)),
                ("d".into(), Tag::Double(0.5)),
                ("b".into(), Tag::Bool(true)),
                ("x".into(), Tag::Bytes(vec![255])),
                ("span.kind".into(), Tag::Text("client".into())),
            ],
            follows_from: 6,
            log: 9,
        }
    }

    /// The struct, as HTTP has it.
    pub(super) fn body(&self, encoding: ThriftEncoding) -> Vec<u8> {
        let mut writer = Writer {
            bytes: Vec::new(),
            encoding,
        };
        self.write(&mut writer);
        writer.bytes
    }

    /// A call, as UDP has it.
    pub(super) fn call(&self, encoding: ThriftEncoding, method: &[u8]) -> Vec<u8> {
        let mut bytes = match encoding {
            ThriftEncoding::Binary => b"\x80\x01\0\x04\0\0\0".to_vec(),
            ThriftEncoding::Compact => b"\x82\x81\0".to_vec(),
        };
        bytes.push(method.len() as u8);
        bytes.extend(method);
        if encoding == ThriftEncoding::Binary {
            bytes.extend([0; 4]);
        }
        let mut writer = Writer { bytes, encoding };
        writer.field(1, STRUCT);
        self.write(&mut writer);
        writer.bytes.push(0);
        writer.bytes
    }

    fn write(&self, writer: &mut Writer) {
        writer.field(1, STRUCT);
        writer.field(1, BINARY);
        writer.binary(self.service.as_bytes());
        writer.field(2, LIST);
        writer.tags(&self.process_tags);
        writer.bytes.push(0);
        writer.field(2, LIST);
        writer.structs(1);
        for (id, value) in [
            (1, self.trace_id.1),
            (2, self.trace_id.0),
            (3, self.span_id),
            (4, self.parent),
        ] {
            writer.field(id, I64);
            writer.i64(value);
        }
        writer.field(5, BINARY);
        writer.binary(self.operation.as_bytes());
        writer.field(6, LIST);
        writer.structs(1);
        writer.field(1, I32);
        writer.i32(1);
        for (id, value) in [
            (2, self.trace_id.1),
            (3, self.trace_id.0),
            (4, self.follows_from),
        ] {
            writer.field(id, I64);
            writer.i64(value);
        }
        writer.bytes.push(0);
        writer.field(7, I32);
        writer.i32(1);
        for (id, value) in [(8, self.start), (9, self.duration)] {
            writer.field(id, I64);
            writer.i64(value);
        }
        writer.field(10, LIST);
        writer.tags(&self.tags);
        writer.field(11, LIST);
        writer.structs(1);
        writer.field(1, I64);
        writer.i64(self.log);
        writer.field(2, LIST);
        writer.tags(&[("event".into(), Tag::Text("e".into()))]);
        // The log, the span, the batch.
        writer.bytes.extend([0, 0, 0]);
    }

    /// The same as a `PostSpansRequest`.
    pub(super) fn protobuf(&self) -> Vec<u8> {
        let id = |id: i64| id.to_be_bytes().to_vec();
        let trace_id = [id(self.trace_id.0), id(self.trace_id.1)].concat();
        let reference = |span, ref_type| jaeger::SpanRef {
            trace_id: trace_id.clone(),
            span_id: id(span),
            ref_type,
        };
        let mut references = vec![reference(self.follows_from, 1)];
        if self.parent != 0 {
            references.push(reference(self.parent, 0));
        }
        let span = jaeger::Span {
            trace_id: trace_id.clone(),
            span_id: id(self.span_id),
            operation_name: self.operation.clone(),
            references,
            start_time: Some(jaeger::Timestamp {
                seconds: self.start / 1_000_000,
                nanos: (self.start % 1_000_000 * 1_000) as i32,
            }),
            duration: Some(jaeger::Duration {
                seconds: self.duration / 1_000_000,
                nanos: (self.duration % 1_000_000 * 1_000) as i32,
            }),
            tags: self.tags.iter().map(key_value).collect(),
            logs: vec![jaeger::Log {
                timestamp: Some(jaeger::Timestamp {
                    seconds: 0,
                    nanos: self.log as i32 * 1_000,
                }),
                fields: vec![key_value(&("event".into(), Tag::Text("e".into())))],
            }],
            ..Default::default()
        };
        let process = jaeger::Process {
            service_name: self.service.clone(),
            tags: self.process_tags.iter().map(key_value).collect(),
        };
        jaeger::PostSpansRequest {
            batch: Some(jaeger::Batch {
                spans: vec![span],
                process: Some(process),
            }),
        }
        .encode_to_vec()
    }
}

fn key_value((key, tag): &(String, Tag)) -> jaeger::KeyValue {
    let mut sent = jaeger::KeyValue {
        key: key.clone(),
        ..Default::default()
    };
    match tag {
        Tag::Text(text) => sent.v_str.clone_from(text),
        Tag::Bool(value) => (sent.v_type, sent.v_bool) = (1, *value),
        Tag::Int(value) => (sent.v_type, sent.v_int64) = (2, *value),
        Tag::Double(value) => (sent.v_type, sent.v_float64) = (3, *value),
        Tag::Bytes(bytes) => (sent.v_type, sent.v_binary) = (4, bytes.clone()),
    }
    sent
}

impl Tag {
    pub(super) fn as_any(&self) -> Any {
        match self.clone() {
            Self::Text(text) => Any::StringValue(text),
            Self::Double(value) => Any::DoubleValue(value),
            Self::Bool(value) => Any::BoolValue(value),
            Self::Int(value) => Any::IntValue(value),
            Self::Bytes(bytes) => Any::BytesValue(bytes),
        }
    }
}

struct Writer {
    bytes: Vec<u8>,
    encoding: ThriftEncoding,
}

impl Writer {
    /// The header of a field, in the long form of the compact encoding.
    fn field(&mut self, id: u8, (binary, compact): (u8, u8)) {
        match self.encoding {
            ThriftEncoding::Binary => self.bytes.extend([binary, 0, id]),
            ThriftEncoding::Compact => self.bytes.extend([compact, id * 2]),
        }
    }

    fn structs(&mut self, count: usize) {
        match self.encoding {
            ThriftEncoding::Binary => self.bytes.extend([STRUCT.0, 0, 0, 0, count as u8]),
            ThriftEncoding::Compact => self.bytes.extend([0xf0 | STRUCT.1, count as u8]),
        }
    }

    fn tags(&mut self, tags: &[(String, Tag)]) {
        self.structs(tags.len());
        for (key, tag) in tags {
            self.field(1, BINARY);
            self.binary(key.as_bytes());
            self.field(2, I32);
            match tag {
                Tag::Text(text) => {
                    self.i32(0);
                    self.field(3, BINARY);
                    self.binary(text.as_bytes());
                }
                Tag::Double(value) => {
                    self.i32(1);
                    self.field(4, DOUBLE);
                    self.bytes.extend(match self.encoding {
                        ThriftEncoding::Binary => value.to_be_bytes(),
                        ThriftEncoding::Compact => value.to_le_bytes(),
                    });
                }
                Tag::Bool(value) => {
                    self.i32(2);
                    match self.encoding {
                        ThriftEncoding::Binary => {
                            self.field(5, (2, 0));
                            self.bytes.push(u8::from(*value));
                        }
                        ThriftEncoding::Compact => self.field(5, (0, 2 - u8::from(*value))),
                    }
                }
                Tag::Int(value) => {
                    self.i32(3);
                    self.field(6, I64);
                    self.i64(*value);
                }
                Tag::Bytes(bytes) => {
                    self.i32(4);
                    self.field(7, BINARY);
                    self.binary(bytes);
                }
            }
            self.bytes.push(0);
        }
    }

    fn i32(&mut self, value: i32) {
        match self.encoding {
            ThriftEncoding::Binary => self.bytes.extend(value.to_be_bytes()),
            ThriftEncoding::Compact => self.i64(value.into()),
        }
    }

    fn i64(&mut self, value: i64) {
        match self.encoding {
            ThriftEncoding::Binary => self.bytes.extend(value.to_be_bytes()),
            ThriftEncoding::Compact => self.varint((value << 1 ^ value >> 63) as u64),
        }
    }

    fn binary(&mut self, bytes: &[u8]) {
        match self.encoding {
            ThriftEncoding::Binary => self.bytes.extend((bytes.len() as u32).to_be_bytes()),
            ThriftEncoding::Compact => self.varint(bytes.len() as u64),
        }
        self.bytes.extend(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
