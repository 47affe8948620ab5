//! Environment variables in configuration files.

/// Replaces `${NAME}` and `${NAME:default}` by what `lookup` gives.
///
/// As Tempo's `-config.expand-env`: a variable that is not set or empty gives
/// its default, or nothing; `${NAME:-default}` is the same, and `$$` stands for
/// one dollar sign. Anything else stays as it is.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .map(|(inner, after)| {
                let (name, default) = inner.split_once(':').unwrap_or((inner, ""));
                (name, default.strip_prefix('-').unwrap_or(default), after)
            })
            .filter(|(name, ..)| is_name(name));
        match reference {
            Some((name, default, after)) => {
                let value = lookup(name).filter(|value| !value.is_empty());
                out.push_str(value.as_deref().unwrap_or(default));
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_the_rest_stays() {
        let lookup = |name: &str| match name {
            "HOST" => Some("prometheus".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (name, text, want) in [
            (
                "set",
                "url: http://${HOST}:9090",
                "url: http://prometheus:9090",
            ),
            ("default", "port: ${PORT:9090}", "port: 9090"),
            (
                "default of an empty one",
                "port: ${EMPTY:9090}",
                "port: 9090",
            ),
            ("default unused", "${HOST:other}", "prometheus"),
            ("shell default", "${PORT:-9090}", "9090"),
            ("default with a colon", "${URL:http://x:1}", "http://x:1"),
            ("unset", "a: ${NOTHING}.", "a: ."),
            ("escaped", "$${HOST} costs 5$$", "${HOST} costs 5$"),
            ("not a reference", "^a$ $1 ${1} ${ $", "^a$ $1 ${1} ${ $"),
        ] {
            assert_eq!(expand(text, lookup), want, "{name}");
        }
    }
}
