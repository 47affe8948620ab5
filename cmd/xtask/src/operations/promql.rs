//! The names of metrics in a PromQL expression.
//!
//! A name is an identifier that is no function, aggregation or keyword, outside braces,
//! brackets, quotes and lists of labels. Grafana's variables count for nothing.

/// Words that are no metrics although no parenthesis follows.
const WORDS: [&str; 28] = [
    "and",
    "atan2",
    "avg",
    "bool",
    "bottomk",
    "count",
    "count_values",
    "end",
    "group",
    "inf",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "nan",
    "offset",
    "or",
    "quantile",
    "start",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
    "Inf",
    "NaN",
    "INF",
    "NAN",
];
/// Words behind which a list of labels stands in parentheses, or nothing.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// The names of metrics in `expression`, in their order.
pub(super) fn metric_names(expression: &str) -> Vec<String> {
    let mut rest = without_label(expression);
    let mut names = Vec::new();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' | '`' => behind_quote(rest, first),
            '{' => behind(rest, '}'),
            '[' => behind(rest, ']'),
            '#' => rest.split_once('\n').map_or("", |(_, rest)| rest),
            '$' => {
                let rest = rest.trim_start_matches('$');
                match rest.starts_with('{') {
                    true => behind(rest, '}'),
                    false => split(rest, is_in_name).1,
                }
            }
            '0'..='9' | '.' => split(rest, |c| c.is_ascii_alphanumeric() || c == '.').1,
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let (name, behind_name) = split(rest, is_in_name);
                let next = behind_name.trim_start();
                if BEFORE_LABELS.contains(&name) {
                    match next.starts_with('(') {
                        true => behind(next, ')'),
                        false => next,
                    }
                } else {
                    if !next.starts_with('(') && !WORDS.contains(&name) {
                        names.push(name.to_owned());
                    }
                    behind_name
                }
            }
            other => rest.strip_prefix(other).unwrap_or_default(),
        };
    }
    names
}

/// Without what Grafana's `label_values(selector, label)` wants of the series.
fn without_label(expression: &str) -> &str {
    if !expression.trim_start().starts_with("label_values(") {
        return expression;
    }
    expression.rsplit_once(',').map_or("", |(query, _)| query)
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// What follows the text in quotes with which `text` begins.
fn behind_quote(text: &str, quote: char) -> &str {
    let mut is_escaped = true;
    for (place, c) in text.char_indices() {
        if c == quote && !is_escaped {
            return text.get(place + 1..).unwrap_or_default();
        }
        // The opening quote counts as escaped.
        is_escaped = c == '\\' && !is_escaped;
    }
    ""
}

/// What follows the next `end` outside quotes.
fn behind(mut text: &str, end: char) -> &str {
    while let Some(first) = text.chars().next() {
        text = match first {
            '"' | '\'' | '`' => behind_quote(text, first),
            c => {
                let rest = text.strip_prefix(c).unwrap_or_default();
                if c == end {
                    return rest;
                }
                rest
            }
        };
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_nothing_else_is() {
        for (expression, want) in [
            ("up", &["up"][..]),
            (
                "sum by (a, b) (rate(x_total{c=\"}d\", e=~'f'}[5m])) > 1e3",
                &["x_total"],
            ),
            ("a / on (tenant) group_left () b offset 5m", &["a", "b"]),
            (
                "a and on(x) b or c unless d > bool inf",
                &["a", "b", "c", "d"],
            ),
            (
                "histogram_quantile(.9, sum(rate(x_bucket[$__rate_interval])) by (le))",
                &["x_bucket"],
            ),
            ("topk(5, a{$$__tags}) + ${var:regex} + $other", &["a"]),
            ("label_replace(a, \"b\", \"\\\"$1\", \"c\", `d`)", &["a"]),
            ("label_values(a{b=\"c\"}, d)", &["a"]),
            ("label_values(d)", &[]),
            ("job:a:rate5m # b\n+ c @ start()", &["job:a:rate5m", "c"]),
            ("max(a) without (b) == 0x1F", &["a"]),
            ("{__name__=\"a\"}", &[]),
        ] {
            assert_eq!(metric_names(expression), want, "{expression}");
        }
    }
}
