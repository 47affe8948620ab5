//! The parts that a word is made of, and whether they could be words.

use super::lists::is_one_of;

/// Pairs of letters that are usual in words of English and of programs: for
/// each first letter a bit for each second.
///
/// They are 97 of 100 pairs in the 11,000 most frequent words of the sources
/// and manuals of some hundred libraries.
const PAIRS: [u32; 26] = [
    0x1fe_bd6f, // a: abcdfgiklmnprstuvwxy
    0x11e_4b17, // b: abceijlorstuy
    0x11e_ddbd, // c: acdefhiklmoprstuy
    0x01e_697f, // d: abcdefgilnorstu
    0x1ff_f97f, // e: abcdefgilmnopqrstuvwxy
    0x11e_493d, // f: acdefilorstuy
    0x016_69d1, // g: aeghilnorsu
    0x11e_4911, // h: aeilorstuy
    0x2ae_fc7f, // i: abcdefgklmnoprstvxz
    0x010_4011, // j: aeou
    0x004_0911, // k: aeils
    0x13c_ed3d, // l: acdefiklnopstuvy
    0x01c_d91b, // m: abdeilmopstu
    0x13c_edfd, // n: acdefghiklnopstuvy
    0x0fe_fd6f, // o: abcdfgiklmnoprstuvwx
    0x11e_cd9d, // p: acdehikloprstuy
    0x010_0000, // q: u
    0x13e_fd7f, // r: abcdefgiklmnoprstuvy
    0x15f_fdfd, // s: acdefghiklmnopqrstuwy
    0x17e_f9bf, // t: abcdefhilmnoprstuvwy
    0x00e_f97f, // u: abcdefgilmnoprst
    0x000_4111, // v: aeio
    0x006_6191, // w: aehinors
    0x008_8114, // x: ceipt
    0x00c_f914, // y: ceilmnopst
    0x000_0111, // z: aei
];

/// Cuts a word of ASCII at digits and capitals: `get`, `HTTP`, `2`, `Url`.
pub(super) fn chunks(word: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = word.as_bytes();
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = *bytes.get(start)?;
        let same = |class: fn(&u8) -> bool, from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| class(byte)).count()
        };
        let mut end = if first.is_ascii_digit() {
            same(u8::is_ascii_digit, start)
        } else if first.is_ascii_lowercase() {
            same(u8::is_ascii_lowercase, start)
        } else {
            let capitals = same(u8::is_ascii_uppercase, start);
            let small = same(u8::is_ascii_lowercase, capitals);
            match (capitals - start, small > capitals) {
                // `HTTPRequest`: the last capital begins a word.
                (2.., true) => capitals - 1,
                _ => small,
            }
        };
        end = end.max(start + 1);
        let chunk = word.get(start..end)?;
        let at = start;
        start = end;
        Some((at, chunk))
    })
}

/// Whether letters could be a word.
pub(super) fn is_usual(letters: &str) -> bool {
    const SHORT: [&str; 26] = [
        "as", "at", "by", "db", "do", "go", "id", "if", "in", "io", "ip", "is", "it", "js", "my",
        "no", "of", "ok", "on", "or", "os", "to", "ui", "up", "vm", "xx",
    ];
    if letters.len() < 3 {
        return is_one_of(&SHORT, letters);
    }
    let has_vowel = letters.bytes().any(|byte| b"aeiouyAEIOUY".contains(&byte));
    has_vowel && unusual_pairs(letters) <= letters.len() / 6
}

/// How many pairs of neighbouring letters are not in [`PAIRS`].
pub(super) fn unusual_pairs(letters: &str) -> usize {
    let number = |byte: &u8| usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a'));
    let firsts = letters.as_bytes().iter().map(number);
    let seconds = firsts.clone().skip(1);
    firsts
        .zip(seconds)
        .filter(|(first, second)| {
            let usual = PAIRS.get(*first).copied().unwrap_or(u32::MAX);
            usual.checked_shr(*second as u32).unwrap_or(1) & 1 == 0
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_digits_and_capitals() {
        let cut = |word| chunks(word).map(|(_, chunk)| chunk).collect::<Vec<_>>();
        assert_eq!(
            cut("getHTTP2UrlById"),
            ["get", "HTTP", "2", "Url", "By", "Id"]
        );
        assert_eq!(cut("XMLHttp"), ["XML", "Http"]);
        assert_eq!(cut("XML"), ["XML"]);
        assert_eq!(cut(""), [""; 0]);
    }

    #[test]
    fn letters_of_words_are_told_from_random_ones() {
        for word in ["order", "Checkout", "HTTP", "strength", "to", "schedule"] {
            assert_eq!(is_usual(word), word != "HTTP", "{word}");
        }
        for letters in ["NQXAC", "qzk", "Nffr", "xw", "KTSV"] {
            assert!(!is_usual(letters), "{letters}");
        }
    }
}
