//! Shapes that span several words: how long what a text begins with is.

/// Longest constraint of a route's parameter that is recognised, in bytes.
const LONGEST_CONSTRAINT: usize = 128;
/// Longest part of an e-mail address before its `@`, in bytes (RFC 5321).
const LONGEST_LOCAL_PART: usize = 64;
/// Longest name of a host, in bytes (RFC 1035).
const LONGEST_HOST: usize = 253;
/// A part of a path that has more bytes than this and many words is a title.
const LONGEST_SEGMENT: usize = 40;

/// A UUID, with its hyphens.
pub(super) fn uuid(text: &str) -> Option<usize> {
    const LENGTH: usize = 36;
    let candidate = text.as_bytes().get(..LENGTH)?;
    let has_form = candidate.iter().enumerate().all(|(position, byte)| {
        if matches!(position, 8 | 13 | 18 | 23) {
            *byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    });
    let ends = !continues(text, LENGTH);
    (has_form && ends).then_some(LENGTH)
}

/// A MAC address: six pairs of hexadecimal digits with `:` or `-` between.
pub(super) fn mac(text: &str) -> Option<usize> {
    const LENGTH: usize = 17;
    let candidate = text.as_bytes().get(..LENGTH)?;
    let separator = *candidate.get(2)?;
    let has_form = candidate.iter().enumerate().all(|(position, byte)| {
        if position % 3 == 2 {
            *byte == separator
        } else {
            byte.is_ascii_hexdigit()
        }
    });
    let is_separator = matches!(separator, b':' | b'-');
    (has_form && is_separator && !continues(text, LENGTH)).then_some(LENGTH)
}

/// An IPv6 address, shortened or not, with an IPv4 tail or not.
pub(super) fn ipv6(text: &str) -> Option<usize> {
    const LONGEST: usize = 45;
    let length = text
        .bytes()
        .take(LONGEST + 1)
        .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        .count();
    if is_replaced(text, length) {
        return None;
    }
    let candidate = text.get(..length)?.trim_end_matches('.');
    let length = candidate.len();
    if continues(text, length) || candidate.bytes().filter(|byte| *byte == b':').count() < 2 {
        return None;
    }
    // `add::b1` is a path in a program rather than an address.
    let is_telling = |group: &str| {
        let digits = group.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && (digits == group.len() || group.len() == 4 || group.contains('.'))
    };
    let is_address = candidate.parse::<std::net::Ipv6Addr>().is_ok();
    (is_address && candidate.split(':').any(is_telling)).then_some(length)
}

/// An e-mail address.
pub(super) fn email(text: &str) -> Option<usize> {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let bytes = text.as_bytes();
    let local = bytes
        .iter()
        .take(LONGEST_LOCAL_PART + 1)
        .take_while(|byte| is_local(byte))
        .count();
    if local == 0 || bytes.get(local) != Some(&b'@') {
        return None;
    }
    let rest = text.get(local + 1..)?;
    let host = rest
        .bytes()
        .take(LONGEST_HOST + 1)
        .take_while(|byte| is_host(byte))
        .count();
    if is_replaced(rest, host) {
        return None;
    }
    let host = rest.get(..host)?.trim_end_matches(['.', '-']);
    let (_, domain) = host.rsplit_once('.')?;
    let is_domain = domain.len() >= 2 && domain.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_domain && !continues(rest, host.len())).then_some(local + 1 + host.len())
}

/// A part of a path that no route has: with escaped characters, or a title.
///
/// `text` begins behind the slash.
pub(super) fn path_value(text: &str) -> Option<usize> {
    let is_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+_~!$&.,;=@:-".contains(byte);
    let length = text.bytes().take_while(is_path).count();
    let segment = text.get(..length)?;
    if continues(text, length) {
        return None;
    }
    let bytes = segment.as_bytes();
    let is_escaped = bytes.windows(3).any(|escape| match escape {
        [b'%', high, low] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    });
    let words = bytes.iter().filter(|byte| b"-_+~".contains(byte)).count();
    let is_title = length > LONGEST_SEGMENT && words >= 5 && !segment.contains(['.', ':']);
    (is_escaped || is_title).then_some(length)
}

/// A parameter of a query, `key=value`: the lengths of `key=` and of the value,
/// 0 for one that is a placeholder of another kind than ours.
///
/// `text` begins behind the `?` or `&`.
pub(super) fn query_parameter(text: &str) -> Option<(usize, usize)> {
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(byte);
    let key = text.bytes().take_while(is_key).count();
    let value = text.get(key..)?.strip_prefix('=')?;
    let digits = text.bytes().take(key).filter(u8::is_ascii_digit).count();
    if digits > 2 || !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let is_value = |byte: &u8| !byte.is_ascii_whitespace() && !b"&#'\"<>{}".contains(byte);
    let value = if value.starts_with(super::PLACEHOLDER) {
        super::PLACEHOLDER.len()
    } else if value.starts_with([':', '?', '$', '*', '%']) {
        0
    } else {
        value.bytes().take_while(is_value).count()
    };
    Some((key + 1, value))
}

/// A parameter of a route with a constraint: `{id:[0-9]+}`, `:id(\d+)` or, after
/// a slash, `<int(min=1):id>`.
pub(super) fn constrained_parameter(text: &str, after_slash: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let name = bytes
        .iter()
        .skip(1)
        .take(LONGEST_CONSTRAINT)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
        .count();
    let starts_name = bytes
        .get(1)
        .is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_');
    let (open, close) = match (bytes.first()?, bytes.get(name + 1)?) {
        _ if !starts_name => return None,
        (b'{', b':') => (b'{', b'}'),
        (b':', b'(') if after_slash => (b'(', b')'),
        (b'<', b':' | b'(') if after_slash => (b'<', b'>'),
        _ => return None,
    };
    let mut depth = 0_usize;
    for (position, byte) in bytes.iter().enumerate().take(LONGEST_CONSTRAINT) {
        if byte.is_ascii_whitespace() || b"'\"".contains(byte) {
            return None;
        }
        depth += usize::from(*byte == open);
        if *byte == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                let constraint = bytes.get(name + 1..position)?;
                let is_pattern = constraint.iter().any(|byte| b"\\[(+*^|".contains(byte));
                return is_pattern.then_some(position + 1);
            }
        }
    }
    None
}

/// Whether a word goes on at a place, be it replaced already.
fn continues(text: &str, place: usize) -> bool {
    let next = text.as_bytes().get(place);
    let is_word = next.is_some_and(|next| next.is_ascii_alphanumeric() || !next.is_ascii());
    is_word || is_replaced(text, place)
}

fn is_replaced(text: &str, place: usize) -> bool {
    let rest = text.as_bytes().get(place..);
    rest.is_some_and(|rest| rest.starts_with(super::PLACEHOLDER.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_recognised_whole() {
        for (text, want) in [
            ("::1", Some(3)),
            ("fe80::1ff:fe23:4567:890a%eth0", Some(24)),
            ("2001:db8:0:0:0:0:2:1]:80", Some(20)),
            ("::ffff:10.0.0.1.", Some(15)),
            ("::ffff:10.0.0.1<_>", None),
            ("std::fmt", None),
            ("add::b1", None),
            ("a::b", None),
            ("12:30:00", None),
        ] {
            assert_eq!(ipv6(text), want, "{text}");
        }
        for (text, want) in [
            ("jane.doe+shop@mail.example.com>", Some(30)),
            ("a@b.co.", Some(6)),
            ("core@12.1", None),
            ("@b.co", None),
        ] {
            assert_eq!(email(text), want, "{text}");
        }
        assert_eq!(mac("00:1B:44:11:3A:B7"), Some(17));
        assert_eq!(mac("00:1B:44:11:3A:B7a"), None);
    }

    #[test]
    fn constraints_of_routes_are_recognised_whole() {
        for (text, after_slash, want) in [
            ("{id:[0-9]{1,3}}/x", true, Some(15)),
            ("{id:int}", true, None),
            ("{id}", true, None),
            ("{7:[0-9]}", true, None),
            (":id(\\d+)/x", true, Some(8)),
            (":id(\\d+)", false, None),
            ("<string(length=2):lang>", true, Some(23)),
            ("{id:[0-9]", true, None),
        ] {
            assert_eq!(constrained_parameter(text, after_slash), want, "{text}");
        }
    }
}
