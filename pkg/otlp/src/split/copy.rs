//! Copies of a request, each with the spans of one owner.

use bytes::Bytes;

use super::Share;
use super::plan::Plan;
use crate::wire::{Fields, WireError};

/// A length takes so many bytes whatever it is, so that it can be put in once it is
/// known: a varint may be longer than it has to be.
const LENGTH_BYTES: usize = 5;

/// Field 1 of a request: length-delimited `ResourceSpans`.
const RESOURCE_SPANS: u32 = 1;
/// Field 2 of `ResourceSpans`: length-delimited `ScopeSpans`.
const SCOPE_SPANS: u32 = 2;
/// Field 2 of `ScopeSpans`.
const SPAN: u32 = 2;

/// Copies the shares of all owners of a plan.
pub(super) fn copy(request: &[u8], plan: &Plan) -> Result<Vec<Share>, WireError> {
    let copies = plan.owners.iter().map(|owner| Copy {
        bytes: Vec::with_capacity(plan.room(owner, request.len())),
        ..Copy::default()
    });
    let mut copies = Copies {
        all: copies.collect(),
        owners: plan.by_span.iter(),
        resource: Level::default(),
        scope: Level::default(),
    };
    copies.request(request)?;
    let written = copies.all.into_iter().zip(&plan.owners);
    let shares = written.map(|(copy, owner)| Share {
        owner: owner.owner,
        request: Bytes::from(copy.bytes),
        spans: owner.spans,
    });
    Ok(shares.collect())
}

/// Copies that are being made.
#[derive(Debug)]
struct Copies<'a> {
    /// One for each owner.
    all: Vec<Copy>,
    /// Of the spans to come, the indexes of whose they are.
    owners: std::slice::Iter<'a, Option<u16>>,
    /// The `ResourceSpans` that is being read.
    resource: Level<'a>,
    /// The `ScopeSpans` that is being read.
    scope: Level<'a>,
}

/// The request of one owner as far as it is written.
#[derive(Debug, Default)]
struct Copy {
    bytes: Vec<u8>,
    /// Where the length of the open `ResourceSpans` belongs.
    resource: Option<usize>,
    /// Where the length of the open `ScopeSpans` belongs.
    scope: Option<usize>,
}

/// What every copy of the message that is being read has besides what is split.
#[derive(Debug, Default)]
struct Level<'a> {
    /// The fields before the first one that is split.
    before: Option<&'a [u8]>,
    /// Other fields after it.
    after: Vec<u8>,
    /// Indexes of the copies that it is in.
    open: Vec<u16>,
}

impl<'a> Copies<'a> {
    fn request(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut level = Level::default();
        let mut fields = Fields::new(message);
        loop {
            let rest = fields.rest();
            let Some((number, value)) = fields.read()? else {
                break;
            };
            if number != RESOURCE_SPANS {
                level.other_field(rest, &fields);
                continue;
            }
            // No copy is without spans, so that all have what the request has.
            if level.begin(message, rest) {
                for copy in &mut self.all {
                    copy.bytes.extend_from_slice(level.before());
                }
            }
            self.resource_spans(value.bytes(number)?)?;
        }
        for copy in &mut self.all {
            copy.bytes.extend_from_slice(&level.after);
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        self.resource.clear();
        let mut fields = Fields::new(message);
        loop {
            let rest = fields.rest();
            let Some((number, value)) = fields.read()? else {
                break;
            };
            if number == SCOPE_SPANS {
                self.resource.begin(message, rest);
                self.scope_spans(value.bytes(number)?)?;
            } else {
                self.resource.other_field(rest, &fields);
            }
        }
        for index in self.resource.open.drain(..) {
            if let Some(copy) = self.all.get_mut(usize::from(index))
                && let Some(position) = copy.resource.take()
            {
                copy.close(position, &self.resource.after);
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        self.scope.clear();
        let mut fields = Fields::new(message);
        // Spans that follow each other and have the same owner are copied at once.
        let (mut owner, mut from) = (None, message);
        loop {
            let rest = fields.rest();
            let Some((number, _)) = fields.read()? else {
                break;
            };
            if number == SPAN {
                self.scope.begin(message, rest);
                let next = self.owners.next().copied().flatten();
                if next != owner {
                    self.append(owner, until(from, rest));
                    (owner, from) = (next, rest);
                }
            } else {
                self.append(owner, until(from, rest));
                owner = None;
                self.scope.other_field(rest, &fields);
            }
        }
        self.append(owner, from);
        for index in self.scope.open.drain(..) {
            if let Some(copy) = self.all.get_mut(usize::from(index))
                && let Some(position) = copy.scope.take()
            {
                copy.close(position, &self.scope.after);
            }
        }
        Ok(())
    }

    /// Copies spans for their owner; nobody's are left out.
    fn append(&mut self, owner: Option<u16>, spans: &[u8]) {
        let Some(index) = owner else {
            return;
        };
        let Some(copy) = self.all.get_mut(usize::from(index)) else {
            return;
        };
        if copy.resource.is_none() {
            copy.resource = Some(copy.open(RESOURCE_SPANS, self.resource.before()));
            self.resource.open.push(index);
        }
        if copy.scope.is_none() {
            copy.scope = Some(copy.open(SCOPE_SPANS, self.scope.before()));
            self.scope.open.push(index);
        }
        copy.bytes.extend_from_slice(spans);
    }
}

impl Copy {
    /// Starts a message with a few of its fields; says where its length belongs.
    fn open(&mut self, field: u32, fields: &[u8]) -> usize {
        // The tag of a length-delimited field whose number is below 16.
        self.bytes.push((field << 3 | 2) as u8);
        let position = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        self.bytes.extend_from_slice(fields);
        position
    }

    /// Ends a message with the rest of its fields.
    fn close(&mut self, position: usize, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
        let start = position + LENGTH_BYTES;
        let length = self.bytes.len() - start;
        let place = self.bytes.get_mut(position..start).unwrap_or_default();
        for (index, byte) in place.iter_mut().enumerate() {
            let goes_on = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (length >> (7 * index)) as u8 & 0x7f | goes_on;
        }
    }
}

impl<'a> Level<'a> {
    fn clear(&mut self) {
        self.before = None;
        self.after.clear();
        self.open.clear();
    }

    /// Notes that what is split begins where `rest` is left of the message; false if it
    /// had begun already.
    #[inline]
    fn begin(&mut self, message: &'a [u8], rest: &'a [u8]) -> bool {
        let is_first = self.before.is_none();
        if is_first {
            self.before = Some(until(message, rest));
        }
        is_first
    }

    fn before(&self) -> &'a [u8] {
        self.before.unwrap_or_default()
    }

    /// Keeps a field that is not split, unless it is among those before.
    fn other_field(&mut self, rest: &[u8], fields: &Fields<'_>) {
        if self.before.is_some() {
            self.after.extend_from_slice(until(rest, fields.rest()));
        }
    }
}

/// What there is of `from`, the end of a message, before `rest`, a shorter end of it.
#[inline]
fn until<'a>(from: &'a [u8], rest: &[u8]) -> &'a [u8] {
    from.get(..from.len() - rest.len()).unwrap_or_default()
}
