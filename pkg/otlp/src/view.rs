//! Borrowed views of the messages of an OTLP trace request.
//!
//! A view holds slices of the request and reads them when asked. Strings are
//! bytes: whether they are UTF-8 matters only where one becomes a label. As in
//! every protobuf reader, a scalar field that occurs twice has its last value,
//! and a message that occurs twice is the two merged.
//!
//! Source: opentelemetry-proto, `trace/v1/trace.proto`.

mod value;

pub use value::{AnyValue, InvalidUtf8, KeyValue};

use crate::wire::{FieldValue, Fields, WireError};

/// The messages of one repeated field.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    fields: Fields<'a>,
    number: u32,
}

impl<'a> Messages<'a> {
    fn new(message: &'a [u8], number: u32) -> Self {
        Self {
            fields: Fields::new(message),
            number,
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.fields.read() {
                Ok(None) => return None,
                Ok(Some((number, value))) if number == self.number => {
                    return Some(value.bytes(number));
                }
                Ok(Some(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// `ExportTraceServiceRequest`, and `tempopb.PushSpansRequest`, which begins alike.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a>(&'a [u8]);

impl<'a> Request<'a> {
    /// Views a request.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Field 1, `resource_spans`.
    pub fn resource_spans(self) -> impl Iterator<Item = Result<ResourceSpans<'a>, WireError>> {
        Messages::new(self.0, 1).map(|message| message.map(ResourceSpans))
    }

    /// Field 2 of a `PushSpansRequest`: the client wants no metrics.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the request is not protobuf.
    pub fn skip_metrics_generation(self) -> Result<bool, WireError> {
        let mut fields = Fields::new(self.0);
        let mut skip = false;
        while let Some((number, value)) = fields.read()? {
            if number == 2 {
                skip = value.varint(number)? != 0;
            }
        }
        Ok(skip)
    }
}

/// `ResourceSpans`: what one resource emitted.
#[derive(Clone, Copy, Debug)]
pub struct ResourceSpans<'a>(&'a [u8]);

impl<'a> ResourceSpans<'a> {
    /// Views the message.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The encoded message.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The `Resource` message, once for each time it occurs: normally once or never.
    pub fn resources(self) -> Messages<'a> {
        Messages::new(self.0, 1)
    }

    /// The attributes of the resource; none if there is no resource.
    pub fn attributes(self) -> impl Iterator<Item = Result<KeyValue<'a>, WireError>> {
        self.resources().flat_map(|resource| {
            let (message, error) = match resource {
                Ok(message) => (message, None),
                Err(error) => (&[][..], Some(Err(error))),
            };
            Messages::new(message, 1)
                .map(|attribute| attribute.and_then(KeyValue::parse))
                .chain(error)
        })
    }

    /// Field 2, `scope_spans`.
    pub fn scope_spans(self) -> impl Iterator<Item = Result<ScopeSpans<'a>, WireError>> {
        Messages::new(self.0, 2).map(|message| message.map(ScopeSpans))
    }
}

/// `ScopeSpans`: what one instrumentation library emitted.
#[derive(Clone, Copy, Debug)]
pub struct ScopeSpans<'a>(&'a [u8]);

impl<'a> ScopeSpans<'a> {
    /// Views the message.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The encoded message.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The `InstrumentationScope`; empty if there is none.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not protobuf.
    pub fn scope(self) -> Result<Scope<'a>, WireError> {
        let mut scope = Scope::default();
        for message in Messages::new(self.0, 1) {
            scope.merge(message?)?;
        }
        Ok(scope)
    }

    /// The encoded spans; [`Span::parse`] reads one.
    pub fn spans(self) -> Messages<'a> {
        Messages::new(self.0, 2)
    }
}

/// `InstrumentationScope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Field 1.
    pub name: &'a [u8],
    /// Field 2.
    pub version: &'a [u8],
}

impl<'a> Scope<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                1 => self.name = value.bytes(number)?,
                2 => self.version = value.bytes(number)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The tag of a span's attribute: field 9, length-delimited.
const ATTRIBUTE_TAG: u8 = 9 << 3 | 2;

/// `Span`, with the fields that every processor asks for already read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span<'a> {
    /// The encoded message.
    pub message: &'a [u8],
    /// Field 1; 16 bytes in a valid span.
    pub trace_id: &'a [u8],
    /// Field 2; 8 bytes in a valid span.
    pub span_id: &'a [u8],
    /// Field 3, the W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// Field 4; empty for a root span.
    pub parent_span_id: &'a [u8],
    /// Field 5.
    pub name: &'a [u8],
    /// Field 6, a `SpanKind`; 0 is unspecified.
    pub kind: i32,
    /// Field 7, nanoseconds since the Unix epoch.
    pub start_time_unix_nano: u64,
    /// Field 8, nanoseconds since the Unix epoch.
    pub end_time_unix_nano: u64,
    /// `status.code`; 0 is unset, 1 ok, 2 error.
    pub status_code: i32,
    /// `status.message`.
    pub status_message: &'a [u8],
    /// Field 16: the W3C trace flags in the low 8 bits, see [`Span::is_sampled`].
    pub flags: u32,
}

/// The W3C trace flag of a trace that somebody keeps.
const SAMPLED: u32 = 1;

impl<'a> Span<'a> {
    /// Reads a span.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not a span.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        Self::parse_with(message, |_| Ok(()))
    }

    /// Reads a span and hands each encoded attribute over on the way, so that
    /// one walk over the bytes serves everything.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not a span, or that of `attribute`.
    #[inline]
    pub fn parse_with(
        message: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]) -> Result<(), WireError>,
    ) -> Result<Self, WireError> {
        let mut span = Self {
            message,
            ..Self::default()
        };
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                9 => {
                    attribute(value.bytes(number)?)?;
                    while let Some(next) = fields.read_short(ATTRIBUTE_TAG) {
                        attribute(next)?;
                    }
                }
                1 => span.trace_id = value.bytes(number)?,
                2 => span.span_id = value.bytes(number)?,
                3 => span.trace_state = value.bytes(number)?,
                4 => span.parent_span_id = value.bytes(number)?,
                5 => span.name = value.bytes(number)?,
                6 => span.kind = enumeration(value, number)?,
                7 => span.start_time_unix_nano = value.fixed64(number)?,
                8 => span.end_time_unix_nano = value.fixed64(number)?,
                15 => span.merge_status(value.bytes(number)?)?,
                16 => span.flags = value.fixed32(number)?,
                _ => {}
            }
        }
        Ok(span)
    }

    /// Whether the span says that its trace is kept. Many exporters leave the flags
    /// out.
    #[inline]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    fn merge_status(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                2 => self.status_message = value.bytes(number)?,
                3 => self.status_code = enumeration(value, number)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Field 9, `attributes`.
    pub fn attributes(self) -> impl Iterator<Item = Result<KeyValue<'a>, WireError>> {
        Messages::new(self.message, 9).map(|attribute| attribute.and_then(KeyValue::parse))
    }

    /// Field 11, `events`.
    pub fn events(self) -> impl Iterator<Item = Result<Event<'a>, WireError>> {
        Messages::new(self.message, 11).map(|event| event.and_then(Event::parse))
    }

    /// Field 13, `links`.
    pub fn links(self) -> impl Iterator<Item = Result<Link<'a>, WireError>> {
        Messages::new(self.message, 13).map(|link| link.and_then(Link::parse))
    }
}

/// Protobuf enums are int32: the low 32 bits of the varint.
#[inline]
fn enumeration(value: FieldValue<'_>, field: u32) -> Result<i32, WireError> {
    Ok(value.varint(field)? as i32)
}

/// `Span.Event`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// The encoded message.
    pub message: &'a [u8],
    /// Field 1, nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// Field 2.
    pub name: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not an event.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut event = Self {
            message,
            ..Self::default()
        };
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                1 => event.time_unix_nano = value.fixed64(number)?,
                2 => event.name = value.bytes(number)?,
                _ => {}
            }
        }
        Ok(event)
    }

    /// Field 3, `attributes`.
    pub fn attributes(self) -> impl Iterator<Item = Result<KeyValue<'a>, WireError>> {
        Messages::new(self.message, 3).map(|attribute| attribute.and_then(KeyValue::parse))
    }
}

/// `Span.Link`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link<'a> {
    /// The encoded message.
    pub message: &'a [u8],
    /// Field 1.
    pub trace_id: &'a [u8],
    /// Field 2.
    pub span_id: &'a [u8],
    /// Field 3, the W3C `tracestate`.
    pub trace_state: &'a [u8],
}

impl<'a> Link<'a> {
    /// Reads a link.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not a link.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut link = Self {
            message,
            ..Self::default()
        };
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                1 => link.trace_id = value.bytes(number)?,
                2 => link.span_id = value.bytes(number)?,
                3 => link.trace_state = value.bytes(number)?,
                _ => {}
            }
        }
        Ok(link)
    }

    /// Field 4, `attributes`.
    pub fn attributes(self) -> impl Iterator<Item = Result<KeyValue<'a>, WireError>> {
        Messages::new(self.message, 4).map(|attribute| attribute.and_then(KeyValue::parse))
    }
}
