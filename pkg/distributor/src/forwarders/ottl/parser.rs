//! From text to a condition.

use regex::bytes::Regex;

use super::tokens::{Token, tokens};
use super::{Comparison, ConditionError, Context, Expression, Operand};

/// How deep parentheses and `not` may be nested.
const MAX_DEPTH: usize = 32;

/// Numbers that have a name.
const ENUMERATIONS: [(&str, i64); 9] = [
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

const PATHS: &str = "attributes[\"...\"], resource.attributes[\"...\"], name, kind, kind.string, \
                     status.code, status.message, instrumentation_scope.name, \
                     instrumentation_scope.version; for events name, attributes[\"...\"], and the \
                     others with span. before them";

/// Reads a condition.
pub(super) fn parse(text: &str, context: Context) -> Result<Expression, ConditionError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        context,
    };
    let expression = parser.or(0)?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => Err(parser.problem("expected and, or, or the end")),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    context: Context,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn problem(&self, problem: impl Into<String>) -> ConditionError {
        let place = self.tokens.get(self.next).or(self.tokens.last());
        ConditionError {
            at: place.map_or(1, |(_, at)| *at),
            problem: problem.into(),
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Word(found) if found == word);
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, sign: &str) -> Result<(), ConditionError> {
        match self.takes_sign(sign) {
            true => Ok(()),
            false => Err(self.problem(format!("expected {sign}"))),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        let mut any = vec![self.and(depth)?];
        while self.takes_word("or") {
            any.push(self.and(depth)?);
        }
        Ok(Expression::Or(any))
    }

    fn and(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        let mut all = vec![self.not(depth)?];
        while self.takes_word("and") {
            all.push(self.not(depth)?);
        }
        Ok(Expression::And(all))
    }

    fn not(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        if depth > MAX_DEPTH {
            return Err(self.problem(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.takes_word("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.takes_sign("(") {
            let inner = self.or(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.takes_word("IsMatch") {
            return self.is_match();
        }
        if self.takes_word("IsRootSpan") {
            self.expect("(")?;
            self.expect(")")?;
            return Ok(Expression::IsRootSpan);
        }
        self.comparison()
    }

    fn is_match(&mut self) -> Result<Expression, ConditionError> {
        self.expect("(")?;
        let operand = self.operand()?;
        self.expect(",")?;
        let Token::Text(pattern) = self.peek().clone() else {
            return Err(self.problem("expected a regular expression in double quotes"));
        };
        let regex = Regex::new(&pattern).map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim();
            let reason = reason.trim_start_matches("error: ");
            self.problem(format!("is not a regular expression: {reason}"))
        })?;
        self.next += 1;
        self.expect(")")?;
        Ok(Expression::IsMatch(operand, regex))
    }

    fn comparison(&mut self) -> Result<Expression, ConditionError> {
        let left = self.operand()?;
        let comparison = match self.peek() {
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::NotEqual,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            _ => {
                return match left {
                    Operand::Bool(value) => Ok(Expression::Constant(value)),
                    _ => Err(self.problem("expected a comparison: == != < <= > >=")),
                };
            }
        };
        self.next += 1;
        Ok(Expression::Compare(left, comparison, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, ConditionError> {
        let at = self.next;
        let word = match self.take() {
            Token::Text(text) => return Ok(Operand::Text(text)),
            Token::Integer(value) => return Ok(Operand::Integer(value)),
            Token::Float(value) => return Ok(Operand::Float(value)),
            Token::Word(word) => word,
            Token::Sign(_) | Token::End => {
                self.next = at;
                return Err(self.problem("expected a value or the name of a field"));
            }
        };
        match word.as_str() {
            "nil" => return Ok(Operand::Nil),
            "true" => return Ok(Operand::Bool(true)),
            "false" => return Ok(Operand::Bool(false)),
            _ => {}
        }
        if let Some((_, value)) = ENUMERATIONS.iter().find(|(name, _)| *name == word) {
            return Ok(Operand::Integer(*value));
        }
        if matches!(self.peek(), Token::Sign("(")) {
            self.next = at;
            let problem = format!("the function {word} is not known; IsMatch and IsRootSpan are");
            return Err(self.problem(problem));
        }
        let mut path = word;
        while self.takes_sign(".") {
            let Token::Word(part) = self.peek().clone() else {
                return Err(self.problem("expected a name"));
            };
            self.next += 1;
            path.push('.');
            path.push_str(&part);
        }
        let mut key = None;
        if self.takes_sign("[") {
            let Token::Text(text) = self.peek().clone() else {
                return Err(self.problem("expected the name of an attribute in double quotes"));
            };
            self.next += 1;
            self.expect("]")?;
            key = Some(text);
        }
        self.field(&path, key).ok_or_else(|| {
            self.next = at;
            self.problem(format!("{path} is not known, or not so; known are {PATHS}"))
        })
    }

    /// The field of a path, which begins with what the condition is about, or not.
    fn field(&self, path: &str, key: Option<String>) -> Option<Operand> {
        if let Some(key) = key {
            return Some(match (path, self.context) {
                ("resource.attributes", _) => Operand::ResourceAttribute(key),
                ("span.attributes", _) | ("attributes", Context::Span) => {
                    Operand::SpanAttribute(key)
                }
                ("spanevent.attributes" | "attributes", Context::SpanEvent) => {
                    Operand::EventAttribute(key)
                }
                _ => return None,
            });
        }
        let of_span = match self.context {
            Context::Span => path.strip_prefix("span.").or(Some(path)),
            Context::SpanEvent => path.strip_prefix("span."),
        };
        match (of_span, path, self.context) {
            (_, "instrumentation_scope.name" | "scope.name", _) => Some(Operand::ScopeName),
            (_, "instrumentation_scope.version" | "scope.version", _) => {
                Some(Operand::ScopeVersion)
            }
            (_, "name" | "spanevent.name", Context::SpanEvent) => Some(Operand::EventName),
            (Some("name"), ..) => Some(Operand::SpanName),
            (Some("kind"), ..) => Some(Operand::Kind),
            (Some("kind.string"), ..) => Some(Operand::KindText),
            (Some("status.code"), ..) => Some(Operand::StatusCode),
            (Some("status.message"), ..) => Some(Operand::StatusMessage),
            _ => None,
        }
    }
}
