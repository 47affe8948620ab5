//! Writes protobuf messages and remembers where the bytes are that change
//! with every send.

/// A protobuf message under construction.
#[derive(Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// A place in a message that is filled in when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offset of its first byte.
    pub(crate) at: usize,
    /// What belongs there.
    pub(crate) fill: Fill,
}

/// What fills a marked place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The 16 bytes of the id of a trace of the request, by its number.
    TraceId(u32),
    /// The 8 bytes of the id of a span of the request, by its number.
    SpanId(u32),
    /// A fixed 64-bit time so many nanoseconds before the end of a trace.
    Time {
        /// The trace's number in the request.
        trace: u32,
        /// Nanoseconds before its end.
        before: u64,
    },
    /// The digits of a label set's generation.
    Generation(u32),
}

impl Fill {
    /// How many bytes it takes.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::TraceId(_) => 16,
            Self::SpanId(_) | Self::Time { .. } => 8,
            Self::Generation(_) => crate::trace::GENERATION_DIGITS,
        }
    }
}

impl Message {
    /// Appends a varint field; zero, the default, is left out.
    pub(crate) fn varint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.present_varint(field, value);
        }
    }

    /// Appends a varint field even if it is zero, as a `oneof` needs.
    pub(crate) fn present_varint(&mut self, field: u32, value: u64) {
        self.raw_varint(u64::from(field) << 3);
        self.raw_varint(value);
    }

    /// Appends a fixed 32-bit field.
    pub(crate) fn fixed32(&mut self, field: u32, value: u32) {
        self.raw_varint(u64::from(field) << 3 | 5);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a fixed 64-bit field to be filled in later.
    pub(crate) fn marked_fixed64(&mut self, field: u32, fill: Fill) {
        self.raw_varint(u64::from(field) << 3 | 1);
        self.mark(fill);
    }

    /// Appends a string or bytes field.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.head(field, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Appends a bytes field to be filled in later, after a fixed beginning.
    pub(crate) fn marked_bytes(&mut self, field: u32, fixed: &[u8], fill: Fill) {
        self.head(field, fixed.len() + fill.length());
        self.bytes.extend_from_slice(fixed);
        self.mark(fill);
    }

    /// Appends a message and takes over its marks.
    pub(crate) fn message(&mut self, field: u32, inner: &Message) {
        self.head(field, inner.bytes.len());
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&inner.bytes);
        self.marks.extend(inner.marks.iter().map(|mark| Mark {
            at: base + mark.at,
            fill: mark.fill,
        }));
    }

    /// The bytes, with zeros where marks are, and the marks in their order.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<Mark>) {
        (self.bytes, self.marks)
    }

    fn mark(&mut self, fill: Fill) {
        self.marks.push(Mark {
            at: self.bytes.len(),
            fill,
        });
        self.bytes.resize(self.bytes.len() + fill.length(), 0);
    }

    fn head(&mut self, field: u32, length: usize) {
        self.raw_varint(u64::from(field) << 3 | 2);
        self.raw_varint(length as u64);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_move_with_the_message_that_holds_them() {
        let mut inner = Message::default();
        inner.varint(1, 300);
        inner.marked_bytes(2, b"ab", Fill::SpanId(7));
        let mut outer = Message::default();
        outer.bytes(3, b"xyz");
        outer.message(4, &inner);
        let (bytes, marks) = outer.finish();
        assert_eq!(
            bytes,
            [
                0x1a, 3, b'x', b'y', b'z', 0x22, 15, 0x08, 0xac, 0x02, 0x12, 10, b'a', b'b', 0, 0,
                0, 0, 0, 0, 0, 0
            ]
        );
        let want = Mark {
            at: 14,
            fill: Fill::SpanId(7),
        };
        assert_eq!(marks, [want]);
    }
}
