//! Refuses spans that ended too long ago, or will end too far in the future.

use std::time::Duration;

/// The ends of spans that are taken, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeSlack {
    earliest: u64,
    latest: u64,
}

impl TimeSlack {
    /// Ends from `slack` before to `slack` after now, both included.
    pub(crate) fn around(now_unix_nanos: u64, slack: Duration) -> Self {
        let slack = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
        Self {
            earliest: now_unix_nanos.saturating_sub(slack),
            latest: now_unix_nanos.saturating_add(slack),
        }
    }

    #[inline]
    pub(crate) fn admits(self, end_unix_nanos: u64) -> bool {
        (self.earliest..=self.latest).contains(&end_unix_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_within_the_slack_are_admitted() {
        let slack = TimeSlack::around(100_000, Duration::from_nanos(30));
        for (end, want) in [
            (0, false),
            (99_969, false),
            (99_970, true),
            (100_000, true),
            (100_030, true),
            (100_031, false),
            (u64::MAX, false),
        ] {
            assert_eq!(slack.admits(end), want, "{end}");
        }
        assert!(TimeSlack::around(5, Duration::MAX).admits(u64::MAX));
    }
}
