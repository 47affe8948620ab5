//! Which versions of what nodes say to each other a node speaks.
//!
//! A version has a range, so that a cluster can be upgraded node by node: the next version
//! speaks this one's and its own, and begins with its own when all do.

use std::fmt;
use std::str::FromStr;

/// The versions of the protocol between nodes that a node speaks, from the oldest to the
/// latest: pushes, halves of edges, samples handed over, and the meaning of what is gossiped.
///
/// Written as `1-2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    oldest: u16,
    latest: u16,
}

/// Text that is no range of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no range of protocols such as 1-2")]
pub struct NoProtocols;

impl Protocols {
    /// What this version speaks.
    pub const OURS: Self = Self {
        oldest: 1,
        latest: 1,
    };

    /// From one to another; none if the first is the later.
    pub fn new(oldest: u16, latest: u16) -> Option<Self> {
        (oldest <= latest).then_some(Self { oldest, latest })
    }

    /// What both speak, if they have anything in common.
    pub fn common(self, other: Self) -> Option<Self> {
        Self::new(self.oldest.max(other.oldest), self.latest.min(other.latest))
    }

    /// The latest that all speak; none of none, or where they have none in common.
    pub fn latest_of_all(all: impl IntoIterator<Item = Self>) -> Option<u16> {
        let mut all = all.into_iter();
        let first = all.next()?;
        let common = all.try_fold(first, Self::common)?;
        Some(common.latest)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.oldest, self.latest)
    }
}

impl FromStr for Protocols {
    type Err = NoProtocols;

    fn from_str(text: &str) -> Result<Self, NoProtocols> {
        let (oldest, latest) = text.split_once('-').ok_or(NoProtocols)?;
        let number = |text: &str| text.parse().map_err(|_| NoProtocols);
        Self::new(number(oldest)?, number(latest)?).ok_or(NoProtocols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_speak_the_latest_that_they_have_in_common() {
        let range = |text: &str| text.parse::<Protocols>().unwrap();
        for (one, other, want) in [
            ("1-1", "1-1", Some(1)),
            ("1-1", "1-2", Some(1)),
            ("1-2", "2-3", Some(2)),
            ("1-3", "1-2", Some(2)),
            ("1-1", "2-3", None),
        ] {
            for both in [(one, other), (other, one)] {
                let common = range(both.0).common(range(both.1));
                assert_eq!(common.map(|common| common.latest), want, "{both:?}");
            }
        }
        for (all, want) in [
            (&["1-1", "1-2", "1-2"][..], Some(1)),
            (&["1-2", "1-2", "2-3"], Some(2)),
            (&["1-1", "1-2", "2-3"], None),
            (&[], None),
        ] {
            let all = all.iter().map(|text| range(text));
            assert_eq!(Protocols::latest_of_all(all), want);
        }
    }

    #[test]
    fn range_is_read_as_it_is_written() {
        assert_eq!(Protocols::OURS.to_string().parse(), Ok(Protocols::OURS));
        for text in ["", "1", "2-1", "1-", "a-b", "1-70000"] {
            assert_eq!(text.parse::<Protocols>(), Err(NoProtocols), "{text}");
        }
    }
}
