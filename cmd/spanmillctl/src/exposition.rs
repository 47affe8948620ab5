//! Reads what a scrape answers: Prometheus text or OpenMetrics.

use std::borrow::Cow;

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// The series' name.
    pub(crate) name: &'a str,
    /// Its labels, in the order of the text.
    pub(crate) labels: Vec<(&'a str, Cow<'a, str>)>,
    /// Its value.
    pub(crate) value: f64,
}

/// A line that is no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the answer is not in Prometheus' text format: {text:?}")]
pub(crate) struct ParseError {
    /// The line's number, from 1.
    line: usize,
    /// The line, cut if it is long.
    text: String,
}

impl Sample<'_> {
    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map(|(_, value)| value.as_ref())
    }
}

/// All samples of a text; comments, timestamps and exemplars are skipped.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Result<Sample<'_>, ParseError>> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(number, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        Some(sample(line).ok_or_else(|| ParseError {
            line: number + 1,
            text: line.chars().take(100).collect(),
        }))
    })
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = read_labels(inner, &mut labels)?;
    }
    let value = rest.split_ascii_whitespace().next()?;
    Some(Sample {
        name,
        labels,
        value: value.parse().ok()?,
    })
}

/// Reads labels and gives what follows the closing brace.
fn read_labels<'a>(
    mut rest: &'a str,
    labels: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Option<&'a str> {
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = read_value(quoted)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// Reads a label value up to its closing quote, and gives what follows.
fn read_value(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = quoted.find(['"', '\\'])?;
    let (plain, rest) = quoted.split_at(end);
    if let Some(after) = rest.strip_prefix('"') {
        return Some((Cow::Borrowed(plain), after));
    }
    let mut value = plain.to_owned();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), rest.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_both_formats_are_read() {
        let text = "# TYPE calls counter\n\
            calls_total{service=\"a\",kind=\"x\"} 5 1700000000000\n\
            b_bucket{service=\"a\",le=\"+Inf\"} 7 # {trace_id=\"abc\"} 0.5 1.7e9\n\
            \n\
            plain 1e3\n\
            empty{} +Inf\n\
            # EOF\n";
        let samples: Vec<_> = parse(text).map(Result::unwrap).collect();
        let read: Vec<_> = samples
            .iter()
            .map(|one| (one.name, one.label("service"), one.label("le"), one.value))
            .collect();
        assert_eq!(
            read,
            [
                ("calls_total", Some("a"), None, 5.0),
                ("b_bucket", Some("a"), Some("+Inf"), 7.0),
                ("plain", None, None, 1_000.0),
                ("empty", None, None, f64::INFINITY),
            ]
        );
    }

    #[test]
    fn escapes_in_label_values_are_undone() {
        let text = r#"x{a="say \"hi\", {b}\\",c="1\n2",d="ü"} 1"#;
        let sample = parse(text).next().unwrap().unwrap();
        assert_eq!(sample.label("a"), Some(r#"say "hi", {b}\"#));
        assert_eq!(sample.label("c"), Some("1\n2"));
        assert_eq!(sample.label("d"), Some("ü"));
    }

    #[test]
    fn broken_lines_are_named() {
        for line in [
            "x",
            "x{a=\"b\" 1",
            "x{a=b} 1",
            "x{a=\"b",
            "x one",
            "<html> </html>",
        ] {
            let text = format!("ok 1\n{line}");
            let error = parse(&text).nth(1).unwrap().unwrap_err();
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
