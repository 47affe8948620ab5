//! OTLP/JSON to OTLP protobuf, so that everything behind the receiver sees one
//! encoding.
//!
//! Source: opentelemetry-proto, `docs/specification.md`, "JSON Protobuf
//! Encoding": keys in lowerCamelCase only, ids in hexadecimal, enums as
//! integers, 64-bit integers as text or numbers, unknown keys ignored.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess};
use serde::de::{Unexpected, Visitor};

use self::schema::{Field, Kind, Message, REQUEST};
use crate::writer::Writer;

mod schema;
#[cfg(test)]
mod tests;

/// A body that is not an OTLP/JSON trace request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct JsonError {
    /// Where, as in `resourceSpans[0].scopeSpans[1].spans[3].kind`; `request`
    /// for the whole.
    pub path: String,
    /// What is there, what would be accepted, and its line and column.
    pub problem: String,
}

/// Reads a trace request in JSON and writes it in protobuf.
///
/// A string that is not an id where one should be becomes an id of the wrong
/// length, so that validation refuses that span and not its neighbours.
/// `null` is an absent value, also within a list. Nesting is limited to 128
/// levels of JSON. Memory stays within a small multiple of the input.
///
/// # Errors
///
/// [`JsonError`] for the first thing that cannot be read.
pub fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut output = Output::default();
    let mut input = serde_json::Deserializer::from_slice(json);
    let request = Request {
        output: &mut output,
    };
    match request.deserialize(&mut input).and_then(|()| input.end()) {
        Ok(()) => Ok(output.writer.finish()),
        Err(error) => Err(JsonError {
            path: output.path(),
            problem: shorten(&error.to_string()),
        }),
    }
}

/// What was written so far, and where in the document we are.
///
/// A step is taken back only after what it leads to was read, so that after an
/// error the path is where it happened.
#[derive(Default)]
struct Output {
    writer: Writer,
    path: Vec<Step>,
}

#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

impl Output {
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(name) if path.is_empty() => path.push_str(name),
                Step::Key(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if path.is_empty() {
            path.push_str("request");
        }
        path
    }

    fn fields<'de, A: MapAccess<'de>>(
        &mut self,
        message: &'static Message,
        mut map: A,
    ) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Key(message))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.path.push(Step::Key(field.name));
            map.next_value_seed(Value {
                field,
                repeated: field.repeated,
                explicit: message.oneof,
                output: self,
            })?;
            self.path.pop();
        }
        Ok(())
    }
}

/// The document: an object, nothing else.
struct Request<'a> {
    output: &'a mut Output,
}

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"resourceSpans\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.output.fields(&REQUEST, map)
    }
}

/// A key of a message: one of its fields, or unknown.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| field.name == key))
    }
}

/// The value of a field, or one element of a repeated field.
struct Value<'a> {
    field: &'static Field,
    /// A list is to come, not an element.
    repeated: bool,
    /// Zero and empty differ from absent: written too.
    explicit: bool,
    output: &'a mut Output,
}

impl Value<'_> {
    fn writer(&mut self) -> &mut Writer {
        &mut self.output.writer
    }

    fn integer<E: Error>(mut self, number: i128, unexpected: Unexpected<'_>) -> Result<(), E> {
        let (tag, explicit) = (self.field.number, self.explicit);
        let fits = match self.field.kind {
            _ if self.repeated => false,
            Kind::Enum => i32::try_from(number)
                .map(|n| self.writer().varint(tag, i64::from(n) as u64, explicit))
                .is_ok(),
            Kind::Int64 => i64::try_from(number)
                .map(|n| self.writer().varint(tag, n as u64, explicit))
                .is_ok(),
            Kind::Uint32 => u32::try_from(number)
                .map(|n| self.writer().varint(tag, u64::from(n), explicit))
                .is_ok(),
            Kind::Fixed32 => u32::try_from(number)
                .map(|n| self.writer().fixed32(tag, n, explicit))
                .is_ok(),
            Kind::Fixed64 => u64::try_from(number)
                .map(|n| self.writer().fixed64(tag, n, explicit))
                .is_ok(),
            Kind::Double => {
                self.writer()
                    .fixed64(tag, (number as f64).to_bits(), explicit);
                true
            }
            Kind::Message(_) | Kind::Text | Kind::Base64 | Kind::Id(_) | Kind::Bool => false,
        };
        if fits {
            Ok(())
        } else {
            Err(E::invalid_value(unexpected, &self))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.repeated {
            return f.write_str("a list");
        }
        f.write_str(match self.field.kind {
            Kind::Message(_) => "an object",
            Kind::Text => "a string",
            Kind::Base64 => "a string in base64",
            Kind::Id(_) => "a string of hexadecimal digits",
            Kind::Bool => "true or false",
            Kind::Enum => "an integer of 32 bits (OTLP/JSON does not take names of enum values)",
            Kind::Int64 => "an integer of 64 bits, as a number or a string of decimal digits",
            Kind::Uint32 | Kind::Fixed32 => {
                "an unsigned integer of 32 bits, as a number or a string of decimal digits"
            }
            Kind::Fixed64 => {
                "an unsigned integer of 64 bits, as a number or a string of decimal digits"
            }
            Kind::Double => "a number, or \"NaN\", \"Infinity\", \"-Infinity\"",
        })
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        match self.field.kind {
            Kind::Message(message) if !self.repeated => {
                let tag = self.field.number;
                let open = self.writer().open(tag);
                self.output.fields(message, map)?;
                self.output.writer.close(open).map_err(A::Error::custom)
            }
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.repeated {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        for index in 0.. {
            self.output.path.push(Step::Index(index));
            let element = Value {
                field: self.field,
                repeated: false,
                // An empty element still is one.
                explicit: true,
                output: &mut *self.output,
            };
            let read = list.next_element_seed(element)?;
            self.output.path.pop();
            if read.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        if self.repeated || !matches!(self.field.kind, Kind::Bool) {
            return Err(E::invalid_type(Unexpected::Bool(value), &self));
        }
        let (tag, explicit) = (self.field.number, self.explicit);
        self.writer().varint(tag, u64::from(value), explicit);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value), Unexpected::Signed(value))
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        if matches!(self.field.kind, Kind::Double) && !self.repeated {
            let (tag, explicit) = (self.field.number, self.explicit);
            self.writer().fixed64(tag, value.to_bits(), explicit);
            return Ok(());
        }
        // An integer may be written as 1e3, or 3.0. Beyond 64 bits it is none.
        if value.fract() == 0.0 && value.abs() < 2_f64.powi(64) {
            return self.integer(value as i128, Unexpected::Float(value));
        }
        Err(E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        let (tag, explicit) = (self.field.number, self.explicit);
        let refuse = |this: &Self| Err(E::invalid_value(Unexpected::Str(value), this));
        match self.field.kind {
            _ if self.repeated => refuse(&self),
            Kind::Text => {
                self.writer().bytes(tag, value.as_bytes(), explicit);
                Ok(())
            }
            Kind::Id(length) => {
                self.writer().bytes(tag, &id(value, length), explicit);
                Ok(())
            }
            Kind::Base64 => {
                let Some(bytes) = base64(value) else {
                    return refuse(&self);
                };
                self.writer().bytes(tag, &bytes, explicit);
                Ok(())
            }
            Kind::Double => {
                // Rust's names for what is not a number are more than the three
                // that protobuf has.
                let number = match value {
                    "NaN" => Some(f64::NAN),
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    _ => value
                        .parse::<f64>()
                        .ok()
                        .filter(|number| number.is_finite()),
                };
                let Some(number) = number else {
                    return refuse(&self);
                };
                self.writer().fixed64(tag, number.to_bits(), explicit);
                Ok(())
            }
            Kind::Int64 | Kind::Uint32 | Kind::Fixed32 | Kind::Fixed64 => match value.parse() {
                Ok(number) => self.integer(number, Unexpected::Str(value)),
                Err(_) => refuse(&self),
            },
            Kind::Message(_) | Kind::Bool | Kind::Enum => {
                Err(E::invalid_type(Unexpected::Str(value), &self))
            }
        }
    }
}

/// The bytes of an id, or bytes that are not `length` long if it is not
/// hexadecimal.
fn id(text: &str, length: usize) -> Vec<u8> {
    /// Far above any id, and it bounds what we keep of a wrong one.
    const LONGEST_WRONG_ID: usize = 64;

    if let Some(bytes) = hexadecimal(text.as_bytes()) {
        return bytes;
    }
    let mut bytes: Vec<u8> = text.bytes().take(LONGEST_WRONG_ID).collect();
    if bytes.len() == length {
        bytes.push(b'?');
    }
    bytes
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let byte = digit(*high)? << 4 | digit(*low)?;
        bytes.push(u8::try_from(byte).ok()?);
    }
    rest.is_empty().then_some(bytes)
}

/// Both alphabets, with or without padding, as protobuf's JSON mapping says.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// Keeps a message that quotes its input within what fits a log line.
fn shorten(problem: &str) -> String {
    const BEGINNING: usize = 160;
    const END: usize = 160;
    const LONGEST: usize = 400;

    if problem.len() <= LONGEST {
        return problem.to_owned();
    }
    let beginning = problem.get(..problem.floor_char_boundary(BEGINNING));
    let end = problem.get(problem.ceil_char_boundary(problem.len() - END)..);
    format!(
        "{} ... {}",
        beginning.unwrap_or_default(),
        end.unwrap_or_default()
    )
}
