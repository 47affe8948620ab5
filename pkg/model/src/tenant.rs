//! Who spans and series belong to.

use std::fmt;
use std::sync::Arc;

/// The isolation unit, from `X-Scope-OrgID`.
///
/// One to 150 characters of `A-Z a-z 0-9 ! - _ . * ' ( )`, and neither `.` nor
/// `..`: it can hold no path separator, so no tenant reaches another's files.
/// Cloning is cheap. Source: threats, S2; dskit `ValidTenantID`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// A tenant id that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantId {
    /// There is none.
    #[error("tenant id is empty")]
    Empty,
    /// It is too long.
    #[error("tenant id is {length} bytes long; at most {max} are allowed", max = TenantId::MAX_LENGTH)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It has a character that is not allowed.
    #[error("tenant id has the character {character:?}; letters, digits and !-_.*'() are allowed")]
    Character {
        /// The first such character.
        character: char,
    },
    /// It is `.` or `..`.
    #[error("tenant id may not be \".\" or \"..\"")]
    DotOrDotDot,
}

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 150;

    /// The tenant of everything while multi-tenancy is off, as in Tempo.
    pub fn single() -> Self {
        Self(Arc::from("single-tenant"))
    }

    /// Validates an id.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(id: &str) -> Result<Self, InvalidTenantId> {
        if id.is_empty() {
            return Err(InvalidTenantId::Empty);
        }
        if id.len() > Self::MAX_LENGTH {
            return Err(InvalidTenantId::TooLong { length: id.len() });
        }
        if let Some(character) = id.chars().find(|c| !is_allowed(*c)) {
            return Err(InvalidTenantId::Character { character });
        }
        if id == "." || id == ".." {
            return Err(InvalidTenantId::DotOrDotDot);
        }
        Ok(Self(Arc::from(id)))
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the tenant's directories: lower-case base32 of the id.
    ///
    /// Different ids give different names even where the file system ignores
    /// case. At most 240 characters. RFC 4648, section 6, without padding.
    pub fn directory(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut name = String::with_capacity(self.0.len().div_ceil(5) * 8);
        for chunk in self.0.as_bytes().chunks(5) {
            let mut bits = 0_u64;
            for position in 0..5 {
                bits = bits << 8 | u64::from(chunk.get(position).copied().unwrap_or(0));
            }
            for digit in 0..(chunk.len() * 8).div_ceil(5) {
                let index = (bits >> (35 - 5 * digit) & 31) as usize;
                name.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
            }
        }
        name
    }

    /// The tenant whose directories have this name; `None` if nobody's have.
    pub fn from_directory(name: &str) -> Option<Self> {
        let mut id = Vec::new();
        let (mut bits, mut count) = (0_u32, 0);
        for byte in name.bytes() {
            let digit = match byte {
                b'a'..=b'z' => byte - b'a',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return None,
            };
            bits = (bits << 5 | u32::from(digit)) & 0xfff;
            count += 5;
            if count >= 8 {
                count -= 8;
                id.push((bits >> count) as u8);
            }
        }
        let tenant = Self::parse(std::str::from_utf8(&id).ok()?).ok()?;
        (tenant.directory() == name).then_some(tenant)
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!-_.*'()".contains(character)
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_ids_are_refused() {
        for id in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "%2e%2e",
            "%252e",
            "a\0b",
            "a b",
            "a|b",
            "a,b",
            "ä",
            "a\nb",
            "\u{202e}x",
        ] {
            assert!(TenantId::parse(id).is_err(), "{id:?}");
        }
        assert_eq!(
            TenantId::parse(&"x".repeat(151)),
            Err(InvalidTenantId::TooLong { length: 151 })
        );
        for id in ["con", "...", "Team", "team", "a.b-c_d!*'()"] {
            assert_eq!(TenantId::parse(id).unwrap().as_str(), id);
        }
    }

    /// Vectors of RFC 4648, section 10, in lower case.
    #[test]
    fn directory_is_base32() {
        for (id, want) in [
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(TenantId::parse(id).unwrap().directory(), want);
        }
    }

    proptest! {
        /// forall tenants a, b: directories are equal only if the ids are, and
        /// are one plain path component.
        #[test]
        fn directories_are_injective(a in "[A-Za-z0-9!_.*'()-]{1,150}", b in "[A-Za-z0-9!_.*'()-]{1,150}") {
            prop_assume!(a != "." && a != ".." && b != "." && b != "..");
            let (x, y) = (TenantId::parse(&a).unwrap(), TenantId::parse(&b).unwrap());
            prop_assert_eq!(x.directory() == y.directory(), a == b);
            prop_assert_eq!(TenantId::from_directory(&x.directory()), Some(x.clone()));
            prop_assert!(x.directory().len() <= 240);
            prop_assert!(x.directory().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        }
    }
}
