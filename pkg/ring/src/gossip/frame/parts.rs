//! Messages of which parts are still missing.

use std::collections::VecDeque;

use super::Header;

/// Messages that may be incomplete at a time, of all senders: 16 of four parts are less
/// than 4 MB. The oldest makes room; gossip repeats what is lost.
const MAX_PENDING: usize = 16;

/// Messages of which parts are still missing, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Parts(VecDeque<Pending>);

#[derive(Debug)]
struct Pending {
    /// The session and the counter of the first part.
    id: (u64, u32),
    bodies: Vec<Option<Vec<u8>>>,
}

impl Parts {
    /// Adds a part; gives the message that it completes.
    pub(super) fn add(&mut self, header: &Header, body: Vec<u8>) -> Option<Vec<u8>> {
        if header.parts == 1 {
            return Some(body);
        }
        // The parts of a message are counted without a gap.
        let id = (header.session, header.counter - u32::from(header.part));
        let count = usize::from(header.parts);
        let is_it = |pending: &Pending| pending.id == id && pending.bodies.len() == count;
        let mut pending = match self.0.iter().position(is_it) {
            Some(place) => self.0.remove(place)?,
            None => Pending {
                id,
                bodies: vec![None; count],
            },
        };
        *pending.bodies.get_mut(usize::from(header.part))? = Some(body);
        let whole: Option<Vec<_>> = pending.bodies.iter().map(Option::as_deref).collect();
        if let Some(bodies) = whole {
            return Some(bodies.concat());
        }
        if self.0.len() >= MAX_PENDING {
            self.0.pop_front();
        }
        self.0.push_back(pending);
        None
    }
}
