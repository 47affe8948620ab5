//! Sizes in bytes: `4194304`, `32MiB`, `10MB`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

const ACCEPTED: &str = "a size such as 4194304, 32MiB or 10MB";

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes.
///
/// A bare number counts bytes; `KiB MiB GiB TiB` are powers of 1,024 and `KB
/// MB GB TB` of 1,000, in any case, with a fraction where wanted (`1.5GiB`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not accepted; expected {ACCEPTED}")]
pub struct InvalidByteSize {
    /// The text.
    pub text: String,
}

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The size in bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The size in bytes, for a buffer; as large as can be where it is larger.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads a size.
    ///
    /// # Errors
    ///
    /// Where the text is not one, or is more than 64 bits hold.
    pub fn parse(text: &str) -> Result<Self, InvalidByteSize> {
        let invalid = || InvalidByteSize {
            text: text.to_owned(),
        };
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_start();
        let factor = if unit.is_empty() {
            1
        } else {
            UNITS
                .iter()
                .find_map(|(name, factor)| name.eq_ignore_ascii_case(unit).then_some(*factor))
                .ok_or_else(invalid)?
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(invalid);
        }
        let fractional: f64 = number.parse().map_err(|_| invalid())?;
        whole_number(fractional * factor as f64)
            .map(Self)
            .ok_or_else(invalid)
    }
}

/// The number of bytes nearest to a positive number below 2^53, where it is exact.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn whole_number(number: f64) -> Option<u64> {
    let rounded = number.round();
    (0.0..=9_007_199_254_740_992.0)
        .contains(&rounded)
        .then_some(rounded as u64)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if *factor > 1 => write!(f, "{}{name}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ACCEPTED)
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes)
            .map(ByteSize)
            .map_err(|_| E::custom(format!("{bytes} is negative; expected {ACCEPTED}")))
    }

    fn visit_f64<E: Error>(self, bytes: f64) -> Result<ByteSize, E> {
        if bytes.fract() == 0.0
            && let Some(whole) = whole_number(bytes)
        {
            return Ok(ByteSize(whole));
        }
        Err(E::custom(format!(
            "{bytes} is not accepted; expected {ACCEPTED}"
        )))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        ByteSize::parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4194304", 4_194_304),
            ("32MiB", 33_554_432),
            ("32 mib", 33_554_432),
            ("10MB", 10_000_000),
            ("1.5GiB", 1_610_612_736),
            ("7B", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "x",
            "-1",
            "10M B",
            "10MBB",
            "1e3",
            "99999999TiB",
            "1.5.5MB",
        ] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            ByteSize::parse("10 apples").unwrap_err().to_string(),
            "\"10 apples\" is not accepted; expected a size such as 4194304, 32MiB or 10MB"
        );
    }

    #[test]
    fn a_size_is_written_in_the_largest_unit_that_divides_it() {
        for (size, text) in [
            (ByteSize::mib(4), "4MiB"),
            (ByteSize::kib(3), "3KiB"),
            (ByteSize(10_000_000), "10MB"),
            (ByteSize(1_234), "1234"),
            (ByteSize(0), "0"),
        ] {
            assert_eq!(size.to_string(), text);
            assert_eq!(ByteSize::parse(text), Ok(size));
        }
    }
}
