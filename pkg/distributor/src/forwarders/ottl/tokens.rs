//! Conditions taken apart.

use super::ConditionError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    /// One of `== != <= >= < > ( ) [ ] , .`
    Sign(&'static str),
    End,
}

/// Longer ones before those that they begin with.
const SIGNS: [&str; 12] = [
    "==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".",
];

/// The tokens of a condition, each with its character, counted from 1; the last is
/// [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ConditionError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let before = text.get(..text.len() - rest.len()).unwrap_or_default();
        let at = before.chars().count() + 1;
        let Some(first) = rest.chars().next() else {
            tokens.push((Token::End, at));
            return Ok(tokens);
        };
        let (token, left) = if first == '"' {
            quoted(rest, at)?
        } else if first.is_ascii_digit() || first == '-' {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (word, left) = split(rest, is_word);
            (Token::Word(word.to_owned()), left)
        } else if let Some((sign, left)) = SIGNS
            .iter()
            .find_map(|sign| Some((*sign, rest.strip_prefix(sign)?)))
        {
            (Token::Sign(sign), left)
        } else {
            return Err(ConditionError {
                at,
                problem: format!("{first:?} is not known"),
            });
        };
        tokens.push((token, at));
        rest = left;
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn number(text: &str, at: usize) -> Result<(Token, &str), ConditionError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (digits, _) = split(unsigned, |c| c.is_ascii_digit() || c == '.');
    let (number, left) = text.split_at(text.len() - unsigned.len() + digits.len());
    let token = match number.contains('.') {
        true => number.parse().map(Token::Float).ok(),
        false => number.parse().map(Token::Integer).ok(),
    };
    match token {
        Some(token) => Ok((token, left)),
        None => Err(ConditionError {
            at,
            problem: format!("{number:?} is not a number"),
        }),
    }
}

/// Text in double quotes, in which a backslash takes what is behind it as it is, but
/// for `\n` and `\t`.
fn quoted(text: &str, at: usize) -> Result<(Token, &str), ConditionError> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => {
                let left = text.get(index + 1..).unwrap_or_default();
                return Ok((Token::Text(value), left));
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other @ ('"' | '\\'))) => value.push(other),
                Some((_, other)) => {
                    return Err(ConditionError {
                        at,
                        problem: format!("\\{other} is not known in text; a backslash is \\\\"),
                    });
                }
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(ConditionError {
        at,
        problem: "text has no end: a \" is missing".to_owned(),
    })
}
