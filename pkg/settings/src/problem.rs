//! What is wrong with a document, for the person who wrote it.

use std::fmt;

use crate::source::Place;

/// A setting that cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the setting; empty where the document as a whole is meant.
    pub path: String,
    /// Where it stands, if it is in a document.
    pub place: Option<Place>,
    /// What is wrong, and what is accepted.
    pub message: String,
}

impl Problem {
    /// Names a setting and what is wrong with it.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            place: None,
            message: message.into(),
        }
    }

    /// The same with its place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Place, path and message in one line, for a log.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(place) = &self.place {
            text.push_str(&format!("{place}: "));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("{}: ", self.path));
        }
        text.push_str(&self.message);
        text
    }
}

/// Every problem of a document at once, in the order in which they stand.
///
/// Its `Display` is what the user reads: each problem with file, line, column,
/// dotted key, message, and the line with carets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No problems.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was found in the settings that are left without those named so far: a
    /// value that does not fit is not judged twice.
    pub fn add_further(&mut self, problems: impl IntoIterator<Item = Problem>) {
        let is_known = |path: &str| self.0.iter().any(|known| known.path == path);
        let mut further: Vec<_> = problems
            .into_iter()
            .filter(|problem| !is_known(&problem.path))
            .collect();
        self.0.append(&mut further);
    }

    /// The problems, in the order in which they stand.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// `Ok` with the value if there are none.
    ///
    /// # Errors
    ///
    /// The problems, sorted by place, each once.
    pub fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.sort();
        self.0.dedup();
        Err(self)
    }

    /// The problems in one line each, for a log.
    pub fn summary(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(Problem::summary).collect();
        lines.join("; ")
    }

    fn sort(&mut self) {
        let key = |problem: &Problem| {
            problem.place.as_ref().map(|place| {
                (
                    place.source().name().to_owned(),
                    place.line(),
                    place.column(),
                )
            })
        };
        self.0.sort_by_key(key);
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        self.0.extend(problems);
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.summary())?;
            if let Some(place) = &problem.place {
                write!(f, "\n{}", place.snippet().trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
