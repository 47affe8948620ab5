//! When to send again, and when not to.

use std::time::Duration;

use http::StatusCode;

use crate::metrics::DropReason;

/// The longest that a receiver may ask us to wait.
///
/// A receiver that asks for more, by mistake or by malice, would otherwise
/// silence a tenant until its samples are dropped.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What an answer means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver has the samples.
    Delivered,
    /// The same request may succeed later.
    Retry,
    /// The same request will never succeed.
    Drop(DropReason),
}

impl Verdict {
    /// Reads an answer's status.
    ///
    /// Source: remote-write specification 1.0, "Retries & Backoff": 5xx is
    /// retried, 4xx is not, but 429 may be.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            429 | 500..=599 => Self::Retry,
            300..=399 => Self::Drop(DropReason::Redirected),
            400 => Self::Drop(DropReason::BadRequest),
            401 | 403 => Self::Drop(DropReason::Unauthorized),
            404 => Self::Drop(DropReason::NotFound),
            413 => Self::Drop(DropReason::TooLarge),
            415 => Self::Drop(DropReason::UnsupportedMediaType),
            _ => Self::Drop(DropReason::Rejected),
        }
    }
}

/// Growing delays between attempts of one request.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Delays that double from `min` to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    /// The next delay: at least what the receiver asked for, and otherwise
    /// between half the growing delay and all of it, as `jitter` (in `0..=1`)
    /// says, so that many senders do not come back at one moment.
    pub(crate) fn delay(&mut self, jitter: f64, retry_after: Option<Duration>) -> Duration {
        let full = self.next.min(self.max);
        self.next = full.saturating_mul(2).min(self.max);
        let own = full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        own.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// Reads `Retry-After`: seconds, or a date, from which `now_unix_nanos` is
/// taken. Capped at [`MAX_RETRY_AFTER`]; `None` if it is neither.
pub(crate) fn retry_after(value: &str, now_unix_nanos: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are more than the cap.
        return Some(value.parse().map_or(MAX_RETRY_AFTER, |seconds| {
            Duration::from_secs(seconds).min(MAX_RETRY_AFTER)
        }));
    }
    let date = httpdate::parse_http_date(value)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let wait = date.saturating_sub(Duration::from_nanos(now_unix_nanos));
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_429_and_5xx_are_retried() {
        for (status, want) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Drop(DropReason::Redirected)),
            (307, Verdict::Drop(DropReason::Redirected)),
            (400, Verdict::Drop(DropReason::BadRequest)),
            (401, Verdict::Drop(DropReason::Unauthorized)),
            (403, Verdict::Drop(DropReason::Unauthorized)),
            (404, Verdict::Drop(DropReason::NotFound)),
            (409, Verdict::Drop(DropReason::Rejected)),
            (413, Verdict::Drop(DropReason::TooLarge)),
            (415, Verdict::Drop(DropReason::UnsupportedMediaType)),
            (429, Verdict::Retry),
            (500, Verdict::Retry),
            (503, Verdict::Retry),
            (599, Verdict::Retry),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Verdict::of(status), want, "{status}");
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_jitter_halves_them_at_most() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(30), millis(100));
        let delays: Vec<_> = [1.0, 0.0, 0.5, 1.0]
            .map(|jitter| backoff.delay(jitter, None))
            .into();
        assert_eq!(delays, [millis(30), millis(30), millis(75), millis(100)]);
    }

    #[test]
    fn receiver_may_ask_for_a_longer_delay_but_not_for_a_shorter() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for (asked, want) in [(0, 1), (7, 7), (1_000_000_000, 300)] {
            let asked = Duration::from_secs(asked);
            let got = backoff.clone().delay(1.0, Some(asked));
            assert_eq!(got, Duration::from_secs(want), "{asked:?}");
        }
        backoff.delay(1.0, Some(Duration::from_secs(7)));
        assert_eq!(backoff.delay(1.0, None), Duration::from_secs(2));
    }

    /// The date is an example of RFC 9110, section 5.6.7, in its three forms.
    #[test]
    fn retry_after_is_read_as_seconds_or_date() {
        let eleven_seconds_before = 784_111_766_000_000_000;
        for (value, want) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("1000000000", Some(300)),
            ("99999999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(11)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(11)),
            ("Sun Nov  6 08:49:37 1994", Some(11)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sun, 06 Nov 2050 08:49:37 GMT", Some(300)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(
                retry_after(value, eleven_seconds_before),
                want.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }
}
