//! Whose each span of a request is, and how much each owner gets.

use crate::view::Request;
use crate::wire::{Fields, WireError};

/// Bytes of a usual span at the least: what room for the list of spans is made by.
const USUAL_SPAN_BYTES: usize = 256;

/// Whose each span of a request is.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Who owns spans, in the order of their first ones.
    pub(super) owners: Vec<Planned>,
    /// For each span, in order, the index in `owners` of who owns it.
    pub(super) by_span: Vec<Option<u16>>,
    /// Spans that nobody owns.
    pub(super) unowned_spans: u64,
    /// All scopes, those without spans included.
    scopes: usize,
    /// Bytes of all spans.
    span_bytes: usize,
    /// Index in `owners` by owner.
    indexes: Vec<Option<u16>>,
}

/// What one owner gets.
#[derive(Debug)]
pub(super) struct Planned {
    /// Whose spans.
    pub(super) owner: u16,
    /// How many.
    pub(super) spans: u64,
    /// Their bytes.
    bytes: usize,
    /// In how many scopes.
    scopes: usize,
    /// Which scope was the last, counted from 1.
    last_scope: usize,
}

impl Plan {
    /// Asks for the owner of each span.
    pub(super) fn of(
        request: &[u8],
        mut owner_of: impl FnMut(&[u8]) -> Option<u16>,
    ) -> Result<Self, WireError> {
        let mut plan = Self {
            by_span: Vec::with_capacity(request.len() / USUAL_SPAN_BYTES),
            ..Self::default()
        };
        for resource_spans in Request::new(request).resource_spans() {
            for scope_spans in resource_spans?.scope_spans() {
                plan.scopes += 1;
                for span in scope_spans?.spans() {
                    let span = span?;
                    let owner = owner_of(trace_id(span)?);
                    plan.add(owner, span.len());
                }
            }
        }
        Ok(plan)
    }

    /// Room for the request of an owner: enough where its resources and scopes describe
    /// themselves no more than a quarter longer than all do on average.
    pub(super) fn room(&self, owner: &Planned, request_bytes: usize) -> usize {
        /// Tags and lengths of a resource and a scope.
        const FRAME: usize = 12;
        /// Tag and length of a span.
        const SPAN_FRAME: usize = 4;
        let described = request_bytes.saturating_sub(self.span_bytes);
        let each = described / self.scopes.max(1) + FRAME;
        // To grow by a byte costs a copy of all.
        let described = owner.scopes * each * 5 / 4;
        owner.bytes + owner.spans as usize * SPAN_FRAME + described
    }

    #[inline]
    fn add(&mut self, owner: Option<u16>, bytes: usize) {
        self.span_bytes += bytes;
        let index = owner.map(|owner| self.index(owner));
        self.by_span.push(index);
        let owner = index.and_then(|index| self.owners.get_mut(usize::from(index)));
        let Some(owner) = owner else {
            self.unowned_spans += 1;
            return;
        };
        owner.spans += 1;
        owner.bytes += bytes;
        owner.scopes += usize::from(owner.last_scope != self.scopes);
        owner.last_scope = self.scopes;
    }

    #[inline]
    fn index(&mut self, owner: u16) -> u16 {
        if let Some(Some(index)) = self.indexes.get(usize::from(owner)) {
            return *index;
        }
        self.new_index(owner)
    }

    #[cold]
    fn new_index(&mut self, owner: u16) -> u16 {
        // There are no more owners than a u16 has values.
        let index = self.owners.len() as u16;
        if self.indexes.len() <= usize::from(owner) {
            self.indexes.resize(usize::from(owner) + 1, None);
        }
        if let Some(of_owner) = self.indexes.get_mut(usize::from(owner)) {
            *of_owner = Some(index);
        }
        self.owners.push(Planned {
            owner,
            spans: 0,
            bytes: 0,
            scopes: 0,
            last_scope: 0,
        });
        index
    }
}

/// The trace id of an encoded span; empty if it has none.
#[inline]
fn trace_id(span: &[u8]) -> Result<&[u8], WireError> {
    // Every SDK writes it first, and once.
    if let [0x0a, 16, rest @ ..] = span
        && let Some((trace_id, rest)) = rest.split_at_checked(16)
        && rest.first() != Some(&0x0a)
    {
        return Ok(trace_id);
    }
    let mut trace_id = &[][..];
    let mut fields = Fields::new(span);
    while let Some((number, value)) = fields.read()? {
        if number == 1 {
            trace_id = value.bytes(number)?;
        }
    }
    Ok(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_id_is_found_wherever_it_stands() {
        let mut usual = vec![0x0a, 16];
        usual.extend([7; 16]);
        assert_eq!(trace_id(&usual), Ok(&[7; 16][..]));
        usual.extend([0x12, 8, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(trace_id(&usual), Ok(&[7; 16][..]));

        let late = [0x2a, 1, b'n', 0x0a, 2, 8, 9];
        assert_eq!(trace_id(&late), Ok(&[8, 9][..]));
        assert_eq!(trace_id(&[0x0a, 1, 4, 0x0a, 1, 5]), Ok(&[5][..]));
        assert_eq!(trace_id(&[]), Ok(&[][..]));
        assert_eq!(trace_id(&[0x0a, 16, 1]), Err(WireError::Truncated));
        assert_eq!(trace_id(&[0x08, 1]), Err(WireError::WrongType { field: 1 }));
    }

    #[test]
    fn twice_written_trace_id_goes_by_the_last() {
        let mut twice = vec![0x0a, 16];
        twice.extend([7; 16]);
        twice.extend([0x0a, 1, 5]);
        assert_eq!(trace_id(&twice), Ok(&[5][..]));
    }
}
