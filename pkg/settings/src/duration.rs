//! Durations as Go writes them: `15s`, `1m30s`, `500ms`.
//!
//! For `#[serde(with = "settings::duration")]` on a [`Duration`], and
//! [`option`] for one that may be absent.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

const ACCEPTED: &str = "a duration such as 500ms, 15s, 1m30s or 2h";

/// A duration as it is written, for `#[schemars(with = "settings::duration::Text")]`.
#[derive(Clone, Copy, Debug)]
pub struct Text;

/// The longest duration: what Go's 64 bits of nanoseconds hold, 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// There is no text.
    #[error("empty text is not accepted; expected {ACCEPTED}")]
    Empty,
    /// It begins with a minus sign.
    #[error("{text} is negative; expected {ACCEPTED}")]
    Negative {
        /// The text.
        text: String,
    },
    /// A number without a unit after it.
    #[error("{text} has no unit; write {text}s for seconds")]
    NoUnit {
        /// The text.
        text: String,
    },
    /// Longer than 292 years.
    #[error("{text} is too long; at most 2562047h are accepted")]
    TooLong {
        /// The text.
        text: String,
    },
    /// Anything else.
    #[error("{text:?} is not accepted; expected {ACCEPTED}")]
    Malformed {
        /// The text.
        text: String,
    },
}

/// Reads a duration in Go's format, and `d` and `w` as Prometheus has them.
///
/// Zero needs no unit; everything else does, because Go would read a bare
/// number as nanoseconds and nobody means that.
///
/// # Errors
///
/// [`InvalidDuration`], which says what is accepted.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let malformed = || InvalidDuration::Malformed {
        text: text.to_owned(),
    };
    let too_long = || InvalidDuration::TooLong {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(InvalidDuration::Empty);
    }
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    if trimmed.starts_with('-') {
        return Err(InvalidDuration::Negative {
            text: text.to_owned(),
        });
    }
    let mut rest = trimmed.strip_prefix('+').unwrap_or(trimmed);
    if rest.parse::<f64>().is_ok() && rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(InvalidDuration::NoUnit {
            text: text.to_owned(),
        });
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        let (unit, after) = after.split_at(
            after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len()),
        );
        let unit_nanos = unit_nanos(unit).ok_or_else(malformed)?;
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        if whole.len() > 20 {
            return Err(too_long());
        }
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| malformed())?
        };
        nanos = nanos.saturating_add(whole.saturating_mul(unit_nanos));
        let mut scale = unit_nanos;
        for digit in fraction.bytes() {
            // Digits below a nanosecond are worth nothing.
            nanos = nanos.saturating_add(u128::from(digit - b'0').saturating_mul(scale) / 10);
            scale /= 10;
        }
        rest = after;
    }
    if nanos > MAX_NANOS {
        return Err(too_long());
    }
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| too_long())
}

/// Writes a duration the way [`parse`] reads it, without parts that are zero.
pub fn format(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = duration.as_nanos();
    for (unit, nanos) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    text
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // Both signs that Unicode has for micro.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => return None,
    })
}

/// Reads a duration for serde.
///
/// # Errors
///
/// Where the value is not one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// Writes a duration for serde.
///
/// # Errors
///
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ACCEPTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }
}

/// The same for an `Option<Duration>`; null and absent are `None`.
pub mod option {
    use std::time::Duration;

    use serde::de::Deserializer;
    use serde::ser::Serializer;
    use serde::{Deserialize, Serialize};

    #[derive(Deserialize)]
    struct Reads(#[serde(with = "super")] Duration);

    #[derive(Serialize)]
    struct Writes<'a>(#[serde(with = "super")] &'a Duration);

    /// Reads a duration that may be absent.
    ///
    /// # Errors
    ///
    /// Where there is a value that is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Reads>::deserialize(deserializer)?.map(|Reads(duration)| duration))
    }

    /// Writes a duration that may be absent.
    ///
    /// # Errors
    ///
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.as_ref().map(Writes).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations_are_read_exactly() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("2us3ns", 2_003),
            ("2\u{b5}s", 2_000),
            ("0.1234567891s", 123_456_789),
            ("1d", 86_400_000_000_000),
            ("+3s", 3_000_000_000),
            ("2562047h", 9_223_369_200_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_what_is() {
        for (text, message) in [
            ("15", "15 has no unit; write 15s for seconds"),
            ("1.5", "1.5 has no unit; write 1.5s for seconds"),
            (
                "-1s",
                "-1s is negative; expected a duration such as 500ms, 15s, 1m30s or 2h",
            ),
            (
                "",
                "empty text is not accepted; expected a duration such as 500ms, 15s, 1m30s or 2h",
            ),
            (
                "ten",
                "\"ten\" is not accepted; expected a duration such as 500ms, 15s, 1m30s or 2h",
            ),
            (
                "1m30",
                "\"1m30\" is not accepted; expected a duration such as 500ms, 15s, 1m30s or 2h",
            ),
            (
                "3000000h",
                "3000000h is too long; at most 2562047h are accepted",
            ),
            (
                "999999999999999999999999s",
                "999999999999999999999999s is too long; at most 2562047h are accepted",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        /// forall durations: what is written is read back.
        #[test]
        fn format_and_parse_agree(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        /// forall texts: reading ends without a panic.
        #[test]
        fn any_text_can_be_read(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
