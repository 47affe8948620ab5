//! Relabelling: what Prometheus' `write_relabel_configs` do to a series.

use md5::{Digest, Md5};
use overrides::tenant_config::remote_write::relabel::is_label_name;
use regex::Regex;

use crate::config::{RelabelAction, RelabelConfig};

/// Rules in the order in which they apply, ready to be applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relabeller {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    config: RelabelConfig,
    regex: Regex,
}

/// The labels of one series while rules change them: sorted by name, each
/// once, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EditedLabels(Vec<(String, String)>);

impl EditedLabels {
    /// Starts over with other labels.
    pub(crate) fn set_all<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.0.clear();
        for (name, value) in labels {
            self.set(name.to_owned(), value.to_owned());
        }
    }

    /// Names and values, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a label, empty if there is none.
    fn get(&self, name: &str) -> &str {
        self.position(name)
            .ok()
            .and_then(|at| self.0.get(at))
            .map_or("", |(_, value)| value)
    }

    /// Sets a label; an empty value removes it.
    pub(crate) fn set(&mut self, name: String, value: String) {
        match self.position(&name) {
            Ok(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Ok(at) => {
                if let Some(label) = self.0.get_mut(at) {
                    label.1 = value;
                }
            }
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(label, _)| label.as_str().cmp(name))
    }
}

impl Relabeller {
    /// Compiles rules.
    ///
    /// # Errors
    ///
    /// What is wrong with the first rule that cannot be used, and its place.
    pub(crate) fn new(configs: &[RelabelConfig]) -> Result<Self, (usize, String)> {
        let rules = configs
            .iter()
            .enumerate()
            .map(|(place, config)| {
                Ok(Rule {
                    regex: config.compile().map_err(|problem| (place, problem))?,
                    config: config.clone(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Whether there is no rule, so that labels stay as they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies all rules; `false` means that the series is dropped.
    #[must_use]
    pub(crate) fn apply(&self, labels: &mut EditedLabels) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels)) && !labels.0.is_empty()
    }
}

/// What rules make of a series, its name being the label `__name__`: its labels by
/// name; `None` if they drop it.
///
/// # Errors
///
/// What is wrong with the first rule that cannot be used.
pub fn relabelled<'a>(
    configs: &[RelabelConfig],
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Vec<(String, String)>>, String> {
    let rules = Relabeller::new(configs).map_err(|(_, problem)| problem)?;
    let mut edited = EditedLabels::default();
    edited.set_all(labels);
    Ok(rules.apply(&mut edited).then_some(edited.0))
}

impl Rule {
    /// `false` drops the series.
    ///
    /// Source: Prometheus documentation, `relabel_config`.
    fn apply(&self, labels: &mut EditedLabels) -> bool {
        let config = &self.config;
        let mut value = String::new();
        for (place, source) in config.source_labels.iter().enumerate() {
            if place > 0 {
                value.push_str(&config.separator);
            }
            value.push_str(labels.get(source));
        }
        match config.action {
            RelabelAction::Keep => return self.regex.is_match(&value),
            RelabelAction::Drop => return !self.regex.is_match(&value),
            RelabelAction::KeepEqual => return labels.get(&config.target_label) == value,
            RelabelAction::DropEqual => return labels.get(&config.target_label) != value,
            RelabelAction::Replace => self.replace(&value, labels),
            RelabelAction::Lowercase => {
                labels.set(config.target_label.clone(), value.to_lowercase());
            }
            RelabelAction::Uppercase => {
                labels.set(config.target_label.clone(), value.to_uppercase());
            }
            RelabelAction::HashMod => {
                let bucket = hash(&value) % config.modulus.max(1);
                labels.set(config.target_label.clone(), bucket.to_string());
            }
            RelabelAction::LabelMap => self.map_names(labels),
            RelabelAction::LabelDrop => labels.0.retain(|(name, _)| !self.regex.is_match(name)),
            RelabelAction::LabelKeep => labels.0.retain(|(name, _)| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut EditedLabels) {
        let Some(captures) = self.regex.captures(value) else {
            return;
        };
        let mut target = String::new();
        captures.expand(&self.config.target_label, &mut target);
        if !is_label_name(&target) {
            return;
        }
        let mut replaced = String::new();
        captures.expand(&self.config.replacement, &mut replaced);
        labels.set(target, replaced);
    }

    fn map_names(&self, labels: &mut EditedLabels) {
        let mapped: Vec<_> = labels
            .0
            .iter()
            .filter_map(|(name, value)| {
                let captures = self.regex.captures(name)?;
                let mut target = String::new();
                captures.expand(&self.config.replacement, &mut target);
                is_label_name(&target).then(|| (target, value.clone()))
            })
            .collect();
        for (name, value) in mapped {
            labels.set(name, value);
        }
    }
}

/// The last eight bytes of MD5, big endian, as in Prometheus: the same series
/// must fall into the same bucket there and here.
fn hash(value: &str) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    digest
        .iter()
        .skip(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
