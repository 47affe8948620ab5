//! The ways in which spans arrive: whole traces in order, or harder ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::template::{Stamp, Template, mix};

/// How spans are spread over requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scatter {
    /// Requests over which the spans of a trace are spread, at least 1.
    pub(crate) split: usize,
    /// Shares of spans that come later than the rest of their trace.
    pub(crate) late: Vec<Late>,
}

/// A share of spans that comes late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Late {
    /// Percent of all spans.
    pub(crate) percent: f64,
    /// After the rest of their trace.
    pub(crate) by: Duration,
}

/// A request of a batch: one of several that share traces.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its spans.
    pub(crate) template: Arc<Template>,
    /// Which of [`Scatter::late`] it is; `None` comes on time.
    pub(crate) late: Option<usize>,
}

/// A request in its turn.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// Its spans.
    pub(crate) template: Arc<Template>,
    /// Its ids and times.
    pub(crate) stamp: Stamp,
    /// The number of its batch.
    pub(crate) batch: u64,
    /// When it may be sent, since the start of the run.
    pub(crate) not_before: Duration,
    /// Whether it is sent again, byte for byte, once it is answered.
    pub(crate) repeat: bool,
}

/// Requests that were made and have not had their turn.
#[derive(Debug)]
pub(crate) struct Arrival {
    random: StdRng,
    window: usize,
    repeat_percent: f64,
    on_time: VecDeque<Outgoing>,
    /// For each of [`Scatter::late`], in the order in which they are due.
    late: Vec<(Duration, VecDeque<Outgoing>)>,
}

impl Default for Scatter {
    fn default() -> Self {
        Self {
            split: 1,
            late: Vec::new(),
        }
    }
}

impl Scatter {
    /// Whether each request has whole traces.
    pub(crate) fn is_whole(&self) -> bool {
        self.split <= 1 && self.late.is_empty()
    }

    /// Places that spans can have: requests on time, then late ones.
    pub(crate) fn places(&self) -> usize {
        self.split.max(1) + self.late.len()
    }

    /// A random place for a span.
    pub(crate) fn place(&self, random: &mut StdRng) -> usize {
        let mut percent = random.random::<f64>() * 100.0;
        let split = self.split.max(1);
        for (number, late) in self.late.iter().enumerate() {
            if percent < late.percent {
                return split + number;
            }
            percent -= late.percent;
        }
        random.random_range(0..split)
    }

    /// Which of [`Scatter::late`] a place is.
    pub(crate) fn late(&self, place: usize) -> Option<usize> {
        place.checked_sub(self.split.max(1))
    }

    /// How late the spans of a place come.
    pub(crate) fn delay(&self, place: usize) -> Duration {
        let late = self.late(place).and_then(|number| self.late.get(number));
        late.map_or(Duration::ZERO, |late| late.by)
    }
}

impl Arrival {
    /// Nothing yet. Requests go out in random order, `window` of them at a time.
    pub(crate) fn new(scatter: &Scatter, window: usize, repeat_percent: f64, seed: u64) -> Self {
        let late = scatter.late.iter().map(|late| (late.by, VecDeque::new()));
        Self {
            random: StdRng::seed_from_u64(mix(seed)),
            window,
            repeat_percent,
            on_time: VecDeque::new(),
            late: late.collect(),
        }
    }

    /// Whether every request that is not late has had its turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.on_time.is_empty()
    }

    /// Whether there are enough requests to bring them into another order.
    pub(crate) fn is_full(&self) -> bool {
        self.on_time.len() >= self.window
    }

    /// Takes the requests of a batch in. Gives how many spans will be sent again.
    pub(crate) fn add(&mut self, batch: u64, parts: &[Part], stamp: Stamp, now: Duration) -> u64 {
        let mut repeated = 0;
        for (part, number) in parts.iter().zip(0_u64..) {
            // Not from `random`: the same requests are repeated whatever the timing.
            let percent = mix(stamp.seed ^ number << 40) % 100_000;
            let repeat = (percent as f64) < self.repeat_percent * 1_000.0;
            if repeat {
                repeated += part.template.spans();
            }
            let mut outgoing = Outgoing {
                template: Arc::clone(&part.template),
                stamp,
                batch,
                not_before: Duration::ZERO,
                repeat,
            };
            match part.late.and_then(|late| self.late.get_mut(late)) {
                Some((by, queue)) => {
                    outgoing.not_before = now + *by;
                    queue.push_back(outgoing);
                }
                None => self.on_time.push_back(outgoing),
            }
        }
        repeated
    }

    /// Brings what is on time into random order, if that is wanted.
    pub(crate) fn shuffle(&mut self) {
        if self.window > 1 {
            self.on_time.make_contiguous().shuffle(&mut self.random);
        }
    }

    /// The next late request whose time has come.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Outgoing> {
        let next = self.next_late()?;
        let is_due = next.front().is_some_and(|next| next.not_before <= now);
        is_due.then(|| next.pop_front()).flatten()
    }

    /// The next request: those that are late when there is no other.
    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        match self.on_time.pop_front() {
            Some(next) => Some(next),
            None => self.next_late()?.pop_front(),
        }
    }

    /// The queue of the late request that is due next.
    fn next_late(&mut self) -> Option<&mut VecDeque<Outgoing>> {
        let queues = self.late.iter_mut().map(|(_, queue)| queue);
        let waiting = queues.filter(|queue| !queue.is_empty());
        waiting.min_by_key(|queue| queue.front().map(|next| next.not_before))
    }
}

#[cfg(test)]
mod tests;
