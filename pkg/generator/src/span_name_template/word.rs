//! Whether a word of a span name is an identifier.
//!
//! Words are runs of letters and digits. Those without digits are nearly always
//! names; those with digits are told apart by how their parts alternate and
//! whether the letters between could be of a word of English.

use super::letters::{chunks, is_usual, unusual_pairs};
use super::lists::{COUNTED, JOINED, KNOWN, REGIONS, SEPARATED, is_one_of};

/// What becomes of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is part of the name.
    Keep,
    /// It is a version, `v2`: so are the numbers that follow a dot.
    Version,
    /// It varies.
    Fold,
    /// It varies from `start` to `end`; what is before and after are words.
    FoldPart {
        /// First byte that varies.
        start: usize,
        /// Byte after the last.
        end: usize,
    },
}

/// What stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// The one byte between this word and the one before.
    pub(super) separator: Option<u8>,
    /// Whether the one before was replaced.
    pub(super) replaced: bool,
}

/// A word with digits that is longer than this is none, in bytes.
const LONGEST_WITH_DIGITS: usize = 64;
/// Letters of one case in a row; the longest words of English have about 25.
const LONGEST_RUN: usize = 32;

/// What becomes of a word that is not a number.
pub(super) fn judge(word: &str, before: Before) -> Verdict {
    if !word.is_ascii() {
        return Verdict::Keep;
    }
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        return judge_letters(word, before);
    }
    if is_version(word) {
        return Verdict::Version;
    }
    if is_one_of(&KNOWN, word) {
        return Verdict::Keep;
    }
    if word.len() > LONGEST_WITH_DIGITS
        || is_hex(word)
        || is_time(word)
        || goes_on(word, before)
        || is_key(word)
        || is_of_kubernetes(word, before)
        || Parts::of(word).are_random(word.len())
    {
        return Verdict::Fold;
    }
    varying_part(word)
}

/// Whether a number belongs to the word before it.
pub(super) fn belongs(number: &str, word: &str, separator: u8) -> bool {
    let is_short = number.len() <= 4;
    match separator {
        b'-' if is_one_of(&REGIONS, word) => number.len() == 1,
        b'-' | b'_' | b' ' => is_short && is_one_of(&SEPARATED, word),
        b'/' => number.len() == 1 && word.eq_ignore_ascii_case("http"),
        _ => false,
    }
}

/// Words without digits are random only if hardly anything in them is usual.
fn judge_letters(word: &str, before: Before) -> Verdict {
    let follows_replaced = before.replaced && before.separator == Some(b'-');
    let is_hash = word.len() >= 16 && is_hex(word);
    let is_pod = follows_replaced && word.len() == 5 && is_kubernetes_alphabet(word);
    if is_hash || is_pod {
        return Verdict::Fold;
    }
    let parts = Parts::of(word);
    let is_mixed = word.len() >= 8 && parts.chunks >= 4 && parts.usual * 10 < parts.letters * 3;
    let pairs = word.len().saturating_sub(1);
    let is_odd = parts.chunks == 1 && word.len() >= 10 && unusual_pairs(word) * 2 > pairs;
    if is_mixed || is_odd || parts.longest > LONGEST_RUN {
        Verdict::Fold
    } else {
        Verdict::Keep
    }
}

/// `v1`, `v2alpha1`, `v1p1beta1`.
fn is_version(word: &str) -> bool {
    let Some(mut rest) = word.strip_prefix(['v', 'V']) else {
        return false;
    };
    let mut most_digits = 3;
    let mut stage = "v";
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|first: char| first.is_ascii_digit());
        let digits = rest.len() - after.len();
        if digits > most_digits || (digits == 0 && stage != "alpha" && stage != "beta") {
            return false;
        }
        if after.is_empty() {
            return true;
        }
        let next = ["alpha", "beta", "rc", "p"]
            .into_iter()
            .find_map(|stage| after.strip_prefix(stage).map(|rest| (stage, rest)));
        let Some((name, after)) = next else {
            return false;
        };
        (stage, rest, most_digits) = (name, after, 2);
    }
    stage == "alpha" || stage == "beta"
}

/// Hexadecimal digits of one case that are no word: object ids, hashes.
fn is_hex(word: &str) -> bool {
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    // `ACC00012345` is a number with a prefix.
    let number = word.trim_start_matches(|first: char| !first.is_ascii_digit());
    let is_number = number.len() == digits && word.len() - digits <= 3;
    let is_lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_upper = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    word.len() >= 6
        && (!is_number || digits == word.len())
        && (digits >= 2 || word.len() >= 12)
        && (word.bytes().all(is_lower) || word.bytes().all(is_upper))
}

/// A part of a date with time as ISO 8601 writes it: `15T10`, `20240115T1030Z`.
fn is_time(word: &str) -> bool {
    let is_number = |text: &str, most| {
        (2..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    word.trim_end_matches('Z')
        .split_once('T')
        .is_some_and(|(day, time)| is_number(day, 8) && is_number(time, 9))
}

/// A long key in capitals and digits, which names do not have without `_`.
fn is_key(word: &str) -> bool {
    word.len() >= 16
        && word.bytes().filter(u8::is_ascii_uppercase).count() > 3
        && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The rest of an identifier or a time whose beginning was replaced: `-4f2a`,
/// `.123Z`.
fn goes_on(word: &str, before: Before) -> bool {
    let has_separator = matches!(before.separator, Some(b'-' | b':' | b'.'));
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = word.trim_end_matches('Z');
    let is_time = time.bytes().all(|byte| byte.is_ascii_digit());
    before.replaced && has_separator && (is_hex || is_time)
}

/// The alphabet of the random suffixes of Kubernetes: no vowels, so no words.
///
/// Source: Kubernetes, `apimachinery/pkg/util/rand`.
fn is_kubernetes_alphabet(word: &str) -> bool {
    word.bytes()
        .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

/// The hash or the suffix in a pod's name, `7d4b9c8f6d` or `x2k9p`.
fn is_of_kubernetes(word: &str, before: Before) -> bool {
    before.separator == Some(b'-')
        && (word.len() == 5 || (8..=10).contains(&word.len()))
        && is_kubernetes_alphabet(word)
}

/// The number in a word that varies, with the letters behind it unless they are
/// a word.
fn varying_part(word: &str) -> Verdict {
    let mut varying = varying_numbers(word);
    let Some((start, mut end)) = varying.next() else {
        return Verdict::Keep;
    };
    if varying.next().is_some() {
        return Verdict::Fold;
    }
    let unit = chunks(word).find(|(unit, _)| *unit == end);
    if let Some((_, unit)) = unit
        && !is_usual(unit)
    {
        end += unit.len();
    }
    Verdict::FoldPart { start, end }
}

/// Where the numbers in a word are that vary: long ones, and those that count.
fn varying_numbers(word: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut name = "";
    chunks(word).filter_map(move |(start, chunk)| {
        if !chunk.starts_with(|first: char| first.is_ascii_digit()) {
            name = chunk;
            return None;
        }
        let is_kept = is_joined(name, chunk.len()) || is_in_known(word, start);
        let varies = chunk.len() >= 3 || is_one_of(&COUNTED, name);
        (varies && !is_kept).then_some((start, start + chunk.len()))
    })
}

/// Whether a number of so many digits belongs to the letters before it.
fn is_joined(letters: &str, digits: usize) -> bool {
    let most = if letters.len() == 1 { 3 } else { 4 };
    digits <= most && (is_one_of(&JOINED, letters) || letters.eq_ignore_ascii_case("v"))
}

/// Whether a number is within one of [`KNOWN`], `log4j2`.
fn is_in_known(word: &str, number: usize) -> bool {
    let mut end = 0;
    for (start, _) in chunks(word) {
        end = known_at(word, start).map_or(end, |length| start + length);
        if start >= number {
            break;
        }
    }
    number < end
}

/// The length of the word of [`KNOWN`] that a part of a word begins with.
fn known_at(word: &str, start: usize) -> Option<usize> {
    let rest = word.get(start..)?;
    let ends_word = |known: &&&str| {
        let after = rest.as_bytes().get(known.len());
        let last_is_digit = known.ends_with(|last: char| last.is_ascii_digit());
        after.is_none_or(|after| {
            !after.is_ascii_lowercase() && !after.is_ascii_digit()
                || last_is_digit && !after.is_ascii_digit()
                || !last_is_digit && after.is_ascii_digit()
        })
    };
    KNOWN
        .iter()
        .filter(|known| {
            rest.get(..known.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(known))
        })
        .find(ends_word)
        .map(|known| known.len())
}

/// What a word is made of: runs of digits, of small letters with a capital
/// before them, of capitals.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    chunks: usize,
    letter_chunks: usize,
    letters: usize,
    /// Of those, letters in chunks that could be words.
    usual: usize,
    /// Letters of the longest chunk.
    longest: usize,
    numbers: usize,
    has_digits: bool,
}

impl Parts {
    fn of(word: &str) -> Self {
        let mut parts = Self::default();
        let mut known_until = 0;
        let mut name = "";
        for (start, chunk) in chunks(word) {
            if start < known_until {
                continue;
            }
            if chunk.starts_with(|first: char| first.is_ascii_digit()) {
                parts.has_digits = true;
                // `utf8` is one.
                if !is_joined(name, chunk.len()) {
                    parts.chunks += 1;
                    parts.numbers += 1;
                }
                name = "";
                continue;
            }
            name = chunk;
            parts.chunks += 1;
            parts.letter_chunks += 1;
            parts.longest = parts.longest.max(chunk.len());
            let after = word.as_bytes().get(start + chunk.len());
            let is_numbered = after.is_some_and(u8::is_ascii_digit);
            let known = known_at(word, start).filter(|_| is_numbered);
            if let Some(length) = known {
                parts.has_digits = true;
                known_until = start + length;
            }
            // What is short and known counts as if it were a usual word.
            if known.is_some() || is_numbered && is_joined(chunk, 1) {
                parts.letters += chunk.len().max(4);
                parts.usual += chunk.len().max(4);
            } else {
                parts.letters += chunk.len();
                parts.usual += if is_usual(chunk) { chunk.len() } else { 0 };
            }
        }
        parts
    }

    /// Whether a word of so many bytes, digits among them, is a token.
    fn are_random(self, length: usize) -> bool {
        let is_unusual = self.usual * 2 < self.letters;
        let is_short = self.letters * 2 < self.letter_chunks * 5;
        self.has_digits
            && (length >= 5 && self.chunks >= 4 && (is_unusual || is_short)
                || length >= 16 && self.letters > 3 && is_unusual
                || self.numbers >= 4)
    }
}
