//! How much a tenant sends at the moment, without a cost for each span: counters
//! that there are anyway, remembered now and then.

use parking_lot::Mutex;

/// How long after the last a state of the counters is remembered. Two are, so a rate
/// is over at least this time, and over twice as much and a collection's interval at
/// most.
const REMEMBERED_MS: i64 = 30_000;

/// What a tenant sends in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Spans in a second.
    pub spans: f64,
    /// Bytes of pushes in a second.
    pub bytes: f64,
    /// Seconds over which this is the average: 30 to 60 and a collection's interval,
    /// less while the tenant is new.
    pub over_seconds: f64,
}

/// What has been received at some time, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
}

/// Two earlier states of a tenant's counters.
#[derive(Debug)]
pub(crate) struct Rates(Mutex<[(i64, Received); 2]>);

impl Rates {
    /// Of a tenant that begins now.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self(Mutex::new([(now_ms, Received::default()); 2]))
    }

    /// Remembers the counters, if it is time.
    pub(crate) fn note(&self, now_ms: i64, received: Received) {
        let mut states = self.0.lock();
        let [_, newer] = *states;
        if now_ms.saturating_sub(newer.0) >= REMEMBERED_MS {
            *states = [newer, (now_ms, received)];
        }
    }

    /// The rate since the older of the states.
    pub(crate) fn rate(&self, now_ms: i64, received: Received) -> Rate {
        let [(since_ms, before), _] = *self.0.lock();
        let seconds = now_ms.saturating_sub(since_ms).max(1) as f64 / 1e3;
        let of = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Rate {
            spans: of(received.spans, before.spans),
            bytes: of(received.bytes, before.bytes),
            over_seconds: seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_that_of_the_last_minute_or_so() {
        let received = |spans| Received {
            spans,
            bytes: spans * 100,
        };
        let rates = Rates::new(1_000);
        let want = |spans, over_seconds| Rate {
            spans,
            bytes: spans * 100.0,
            over_seconds,
        };
        assert_eq!(rates.rate(11_000, received(50)), want(5.0, 10.0));
        // Ten spans a second for a minute, at a collection every 15 s, then none.
        for collection in 1..=4 {
            let now_ms = 1_000 + collection * 15_000;
            rates.note(now_ms, received(collection.unsigned_abs() * 150));
        }
        assert_eq!(rates.rate(61_000, received(600)), want(10.0, 30.0));
        assert_eq!(rates.rate(91_000, received(600)), want(5.0, 60.0));
        rates.note(91_000, received(600));
        assert_eq!(rates.rate(121_000, received(600)), want(0.0, 60.0));
    }

    #[test]
    fn tenant_of_this_very_moment_has_a_rate() {
        let rate = Rates::new(5).rate(5, Received { spans: 1, bytes: 2 });
        assert_eq!((rate.spans, rate.over_seconds), (1_000.0, 0.001));
    }
}
