//! The bytes of a request, divided among its spans without a remainder.
//!
//! A span has its own bytes, with its field's tag and length. What its scope, its
//! resource and the request have besides is divided evenly among the spans below, and
//! the first of these take one byte more each until nothing is left.

use otlp::wire::Fields;

/// A message within another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// Its bytes without tag and length.
    pub(super) message: &'a [u8],
    /// How many it has with them.
    pub(super) bytes: u64,
}

/// The messages of one repeated field, up to the first byte that is not protobuf.
pub(super) fn parts(message: &[u8], number: u32) -> impl Iterator<Item = Part<'_>> {
    let mut fields = Fields::new(message);
    std::iter::from_fn(move || {
        loop {
            let before = fields.rest().len();
            let (found, value) = fields.read().ok()??;
            if found == number {
                let bytes = before.saturating_sub(fields.rest().len()) as u64;
                let message = value.bytes(number).ok()?;
                return Some(Part { message, bytes });
            }
        }
    })
}

/// The spans of a `ResourceSpans`, a `ScopeSpans` or a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// How many there are.
    pub(super) spans: u64,
    /// The bytes of those parts directly below that have spans.
    pub(super) bytes: u64,
}

impl Content {
    /// Of a request.
    pub(super) fn of_request(message: &[u8]) -> Self {
        Self::of_parts(parts(message, 1), Self::of_resource)
    }

    /// Of a `ResourceSpans`.
    pub(super) fn of_resource(message: &[u8]) -> Self {
        Self::of_parts(parts(message, 2), Self::of_scope)
    }

    /// Of a `ScopeSpans`.
    pub(super) fn of_scope(message: &[u8]) -> Self {
        let mut content = Self::default();
        for span in parts(message, 2) {
            content.spans += 1;
            content.bytes += span.bytes;
        }
        content
    }

    fn of_parts<'a>(parts: impl Iterator<Item = Part<'a>>, of: fn(&[u8]) -> Self) -> Self {
        let mut content = Self::default();
        for part in parts {
            let spans = of(part.message).spans;
            if spans > 0 {
                content.spans += spans;
                content.bytes += part.bytes;
            }
        }
        content
    }

    /// What a whole of so many bytes has besides, in a share for each span.
    pub(super) fn shares(self, whole: u64) -> Shares {
        Shares::new(whole.saturating_sub(self.bytes), self.spans)
    }
}

/// Shares that differ by one at most and add up to the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    each: u64,
    /// How many of those to come have one more.
    larger: u64,
}

impl Shares {
    fn new(whole: u64, count: u64) -> Self {
        Self {
            each: whole.checked_div(count).unwrap_or_default(),
            larger: whole.checked_rem(count).unwrap_or_default(),
        }
    }

    /// The next of so many shares together.
    pub(super) fn take(&mut self, count: u64) -> u64 {
        let larger = self.larger.min(count);
        self.larger -= larger;
        self.each * count + larger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let mut shares = Shares::new(11, 4);
        let each: Vec<_> = (0..4).map(|_| shares.take(1)).collect();
        assert_eq!(each, [3, 3, 3, 2]);
        let mut shares = Shares::new(11, 4);
        assert_eq!([shares.take(2), shares.take(2)], [6, 5]);
        assert_eq!(Shares::new(11, 0).take(0), 0);
    }
}
