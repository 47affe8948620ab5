//! What was sent and what became of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::client::Answer;

/// Counts of a run. `sent = accepted + refused + unknown`, in spans, as soon
/// as nothing is in flight.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: u64,
    accepted: u64,
    refused: u64,
    unknown: u64,
    requests: u64,
    retries: u64,
    bytes: u64,
    in_flight: u64,
    latency: Latencies,
    reasons: BTreeMap<String, u64>,
}

/// Different reasons that are kept; more are counted as others.
const MOST_REASONS: usize = 10;

impl Tally {
    /// A request goes out for the first time.
    pub(crate) fn started(&mut self, spans: u64, bytes: usize) {
        self.sent += spans;
        self.requests += 1;
        self.bytes += bytes as u64;
        self.in_flight += 1;
    }

    /// A request goes out again.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
    }

    /// An attempt was answered.
    pub(crate) fn answered(&mut self, latency: Duration) {
        self.latency.add(latency);
    }

    /// A request is done with; a retryable answer here means that the client
    /// gave up.
    pub(crate) fn finished(&mut self, spans: u64, answer: &Answer) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match answer {
            Answer::Accepted { rejected, message } => {
                let rejected = spans.min(*rejected);
                self.accepted += spans - rejected;
                self.refused += rejected;
                if rejected > 0 {
                    self.reason(format!("partial success: {message}"), rejected);
                }
            }
            Answer::Retry { reason, .. } => {
                self.refused += spans;
                self.reason(format!("gave up: {reason}"), spans);
            }
            Answer::Refused { reason } => {
                self.refused += spans;
                self.reason(reason.clone(), spans);
            }
            Answer::Unknown { reason } => {
                self.unknown += spans;
                self.reason(reason.clone(), spans);
            }
        }
    }

    /// Gives up on what is still in flight.
    pub(crate) fn abandoned(&mut self) {
        let lost = self.sent - self.accepted - self.refused - self.unknown;
        if lost > 0 {
            self.unknown += lost;
            self.in_flight = 0;
            self.reason("still in flight at the end".to_owned(), lost);
        }
    }

    fn reason(&mut self, reason: String, spans: u64) {
        let known = self.reasons.contains_key(&reason) || self.reasons.len() < MOST_REASONS;
        let key = if known {
            reason
        } else {
            "other reasons".to_owned()
        };
        *self.reasons.entry(key).or_default() += spans;
    }

    /// The counts as they are now.
    pub(crate) fn report(&self, elapsed: Duration) -> Report {
        let seconds = elapsed.as_secs_f64();
        Report {
            seconds,
            spans: Spans {
                sent: self.sent,
                accepted: self.accepted,
                refused: self.refused,
                unknown: self.unknown,
            },
            accepted_per_second: self.accepted as f64 / seconds.max(1e-9),
            requests: self.requests,
            retries: self.retries,
            bytes: self.bytes,
            in_flight: self.in_flight,
            push_seconds: Quantiles {
                p50: self.latency.quantile(0.5),
                p99: self.latency.quantile(0.99),
                max: self.latency.max.as_secs_f64(),
            },
            reasons: self.reasons.clone(),
        }
    }
}

/// A [`Tally`] at some time, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Length of the run.
    pub(crate) seconds: f64,
    /// Counts of spans.
    pub(crate) spans: Spans,
    /// Spans accepted, over the length of the run.
    pub(crate) accepted_per_second: f64,
    /// Requests, each counted once.
    pub(crate) requests: u64,
    /// Sendings beyond the first.
    pub(crate) retries: u64,
    /// Bytes of requests before compression.
    pub(crate) bytes: u64,
    /// Requests without an answer so far.
    pub(crate) in_flight: u64,
    /// From sending a request to its answer.
    pub(crate) push_seconds: Quantiles,
    /// Spans refused or unknown, by reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// Spans by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the words of the report")]
pub(crate) struct Spans {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

/// Quantiles in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the words of the report")]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Report {
    /// One line on how it goes, with the rate since the line before.
    pub(crate) fn line(&self, rate: f64) -> String {
        format!(
            "{:>6.1} s  {} spans accepted ({}/s)  refused {}  unknown {}  retries {}  in flight {}  p99 {}",
            self.seconds,
            grouped(self.spans.accepted),
            grouped(rate as u64),
            grouped(self.spans.refused),
            grouped(self.spans.unknown),
            self.retries,
            self.in_flight,
            duration(self.push_seconds.p99),
        )
    }

    /// The final report for people.
    pub(crate) fn text(&self) -> String {
        let Spans {
            sent,
            accepted,
            refused,
            unknown,
        } = self.spans;
        let mut text = String::new();
        let rows = [
            ("sent", sent, ""),
            ("accepted", accepted, ""),
            (
                "refused",
                refused,
                "  the server said no, or could not be reached",
            ),
            ("unknown", unknown, "  timeouts and broken connections"),
        ];
        for (name, spans, note) in rows {
            let note = if spans > 0 { note } else { "" };
            let _ = writeln!(text, "{name:<10}{:>16} spans{note}", grouped(spans));
        }
        let _ = writeln!(
            text,
            "in {:.1} s: {} spans/s accepted, {} requests, {} retries, {:.1} MB",
            self.seconds,
            grouped(self.accepted_per_second as u64),
            grouped(self.requests),
            grouped(self.retries),
            self.bytes as f64 / 1e6,
        );
        let Quantiles { p50, p99, max } = self.push_seconds;
        let _ = writeln!(
            text,
            "push: p50 {}, p99 {}, max {}",
            duration(p50),
            duration(p99),
            duration(max)
        );
        for (reason, spans) in &self.reasons {
            let _ = writeln!(text, "  {:>14} spans: {reason}", grouped(*spans));
        }
        text
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// Latencies in buckets that are 1/16 of their value wide.
#[derive(Debug, Default)]
struct Latencies {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    max: Duration,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        *self.buckets.entry(Self::bucket(micros)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// Values below 32 have a bucket each, then 16 for each power of two.
    fn bucket(micros: u64) -> u16 {
        let shift = (59_u32).saturating_sub(micros.leading_zeros());
        (shift as u16) * 16 + (micros >> shift) as u16
    }

    /// The upper end of a bucket, in microseconds.
    fn upper(bucket: u16) -> f64 {
        let shift = (bucket / 16).saturating_sub(1);
        (f64::from(bucket - shift * 16) + 1.0) * f64::from(shift).exp2()
    }

    /// In seconds, not above the truth by more than 1/16.
    fn quantile(&self, quantile: f64) -> f64 {
        let rank = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank.max(1) {
                return (Self::upper(*bucket) / 1e6).min(self.max.as_secs_f64());
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_sent_is_accepted_refused_or_unknown() {
        let mut tally = Tally::default();
        let answers = [
            Answer::Accepted {
                rejected: 2,
                message: "zero id".into(),
            },
            Answer::Retry {
                after: None,
                reason: "busy".into(),
            },
            Answer::Refused {
                reason: "too big".into(),
            },
            Answer::Unknown {
                reason: "timeout".into(),
            },
        ];
        for answer in &answers {
            tally.started(10, 100);
            tally.finished(10, answer);
        }
        tally.started(10, 100);
        tally.abandoned();
        let report = tally.report(Duration::from_secs(2));
        let want = Spans {
            sent: 50,
            accepted: 8,
            refused: 22,
            unknown: 20,
        };
        assert_eq!(report.spans, want);
        assert_eq!(
            (report.requests, report.bytes, report.in_flight),
            (5, 500, 0)
        );
        assert_eq!(report.reasons["gave up: busy"], 10);
        assert_eq!(report.reasons["partial success: zero id"], 2);
        assert!(report.text().contains("4 spans/s accepted"));
    }

    #[test]
    fn reasons_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.started(1, 1);
            let reason = format!("reason {number}");
            tally.finished(1, &Answer::Refused { reason });
        }
        let report = tally.report(Duration::from_secs(1));
        assert_eq!(report.reasons.len(), MOST_REASONS + 1);
        assert_eq!(report.reasons["other reasons"], 90);
    }

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut latencies = Latencies::default();
        for micros in 1..=100_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (quantile, want) in [(0.5, 0.05), (0.99, 0.099), (0.0001, 0.00001)] {
            let got = latencies.quantile(quantile);
            assert!(
                (want..want * 17.0 / 16.0 + 1e-6).contains(&got),
                "{quantile}: {got}"
            );
        }
        assert_eq!(Latencies::default().quantile(0.99), 0.0);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, want) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), want);
        }
    }
}
