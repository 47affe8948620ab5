//! Which datagrams of a sender have been here.

use std::collections::HashMap;

/// Senders that are remembered. One makes a new session at each start alone.
const MAX_SESSIONS: usize = 1024;

/// The senders heard of.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<u64, Session>);

#[derive(Clone, Copy, Debug)]
struct Session {
    window: Window,
    heard_ms: u64,
}

/// The highest counter that has been here, and which of the 128 up to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n is for the counter n below the highest.
    taken: u128,
}

impl Sessions {
    /// What has been here of a sender; nothing, if it is not known.
    pub(super) fn window(&self, session: u64) -> Window {
        let known = self.0.get(&session);
        known.map(|session| session.window).unwrap_or_default()
    }

    /// Remembers a datagram. If there are too many senders, the one that was not heard of
    /// for longest is forgotten.
    pub(super) fn take(&mut self, session: u64, counter: u32, now_ms: u64) {
        let mut window = self.window(session);
        window.take(counter);
        if self.0.len() >= MAX_SESSIONS && !self.0.contains_key(&session) {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.heard_ms);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.0.remove(&oldest);
            }
        }
        let heard = Session {
            window,
            heard_ms: now_ms,
        };
        self.0.insert(session, heard);
    }
}

impl Window {
    /// Whether a counter has not been here, and is not too far behind to know.
    pub(super) fn is_new(self, counter: u32) -> bool {
        match self.highest.checked_sub(counter) {
            None => true,
            Some(behind) if behind < u128::BITS => self.taken & (1 << behind) == 0,
            Some(_) => false,
        }
    }

    fn take(&mut self, counter: u32) {
        if let Some(behind) = self.highest.checked_sub(counter) {
            self.taken |= 1_u128.checked_shl(behind).unwrap_or(0);
            return;
        }
        let ahead = counter - self.highest;
        self.taken = self.taken.checked_shl(ahead).unwrap_or(0) | 1;
        self.highest = counter;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_sender_does_not_push_out_one_that_was_heard_since() {
        let mut sessions = Sessions::default();
        for session in 0..MAX_SESSIONS as u64 {
            sessions.take(session, 0, session);
        }
        sessions.take(0, 1, 5_000);
        sessions.take(9_999, 0, 5_001);
        assert!(!sessions.window(0).is_new(1));
        assert!(sessions.window(1).is_new(0), "it was the oldest");
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
    }

    proptest! {
        /// forall orders of counters: each is new once, if it is not 128 behind.
        #[test]
        fn window_agrees_with_a_set(counters in prop::collection::vec(0_u32..400, 0..200)) {
            let (mut window, mut seen, mut highest) = (Window::default(), HashSet::new(), 0);
            for counter in counters {
                let want = !seen.contains(&counter) && counter + 128 > highest;
                prop_assert_eq!(window.is_new(counter), want, "{} of {:?}", counter, window);
                if want {
                    window.take(counter);
                    seen.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }
}
