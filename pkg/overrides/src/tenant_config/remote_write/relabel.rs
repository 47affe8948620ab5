//! Rules that change or drop series.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// One rule of `write_relabel_configs`.
///
/// Source: Prometheus documentation, `relabel_config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RelabelConfig {
    /// Labels whose values, joined by `separator`, are matched. Default: none.
    pub source_labels: Vec<String>,
    /// What stands between the values. Default: `;`.
    pub separator: String,
    /// The label that is written; may hold `$1` for `replace`.
    pub target_label: String,
    /// The expression, which must match the whole value. Default: `(.*)`.
    pub regex: String,
    /// The divisor of `hashmod`. Default: 0, which `hashmod` refuses.
    pub modulus: u64,
    /// What is written, with `$1` for what a group matched. Default: `$1`.
    pub replacement: String,
    /// What the rule does. Default: `replace`.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does. Written in any case.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::EnumString, strum::VariantNames, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum RelabelAction {
    /// Writes `replacement` to `target_label` if the expression matches.
    Replace,
    /// Drops series that do not match.
    Keep,
    /// Drops series that match.
    Drop,
    /// Drops series whose sources do not equal the target label.
    KeepEqual,
    /// Drops series whose sources equal the target label.
    DropEqual,
    /// Writes a hash of the sources modulo `modulus` to the target label.
    HashMod,
    /// Copies labels whose names match to the names that `replacement` gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Writes the sources in lower case to the target label.
    Lowercase,
    /// Writes the sources in upper case to the target label.
    Uppercase,
}

impl<'de> Deserialize<'de> for RelabelAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::unknown_variant(&text, <Self as strum::VariantNames>::VARIANTS)
        })
    }
}

impl RelabelConfig {
    /// Checks the rule, and compiles its expression, which must match the whole
    /// text, and in which `.` also matches a line break, as in Prometheus 3.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn compile(&self) -> Result<Regex, String> {
        self.check()?;
        Regex::new(&format!("^(?s:{})$", self.regex)).map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim();
            format!("regex: {}", reason.trim_start_matches("error: "))
        })
    }

    /// Checks what the expression's own syntax does not.
    ///
    /// Source: Prometheus documentation, `relabel_config`.
    fn check(&self) -> Result<(), String> {
        use RelabelAction as Action;
        let plain_target = is_label_name(&self.target_label);
        // With groups in it, it is checked when it is used.
        let template = self.action == Action::Replace && self.target_label.contains('$');
        match self.action {
            Action::Keep | Action::Drop => Ok(()),
            Action::LabelDrop | Action::LabelKeep => self.uses_only(Self {
                regex: self.regex.clone(),
                ..Self::default()
            }),
            Action::LabelMap if is_name_template(&self.replacement) => Ok(()),
            Action::LabelMap => Err(format!(
                "replacement: {:?} gives no label name",
                self.replacement
            )),
            _ if !plain_target && !template => Err(format!(
                "target_label: {:?} is not a label name",
                self.target_label
            )),
            Action::HashMod if self.modulus == 0 => {
                Err("modulus: hashmod needs one of at least 1".to_owned())
            }
            Action::Replace | Action::HashMod => Ok(()),
            Action::Lowercase | Action::Uppercase => self.uses_only(Self {
                replacement: DEFAULT_REPLACEMENT.to_owned(),
                ..self.clone()
            }),
            Action::KeepEqual | Action::DropEqual => self.uses_only(Self {
                source_labels: self.source_labels.clone(),
                target_label: self.target_label.clone(),
                ..Self::default()
            }),
        }
    }

    /// Refuses what the action would not look at: `used` has the defaults
    /// there.
    fn uses_only(&self, used: Self) -> Result<(), String> {
        let action = self.action;
        if *self == (Self { action, ..used }) {
            return Ok(());
        }
        Err(match action {
            RelabelAction::LabelDrop | RelabelAction::LabelKeep => {
                "labeldrop and labelkeep use nothing but regex".to_owned()
            }
            RelabelAction::Lowercase | RelabelAction::Uppercase => {
                "lowercase and uppercase use no replacement".to_owned()
            }
            _ => {
                "keepequal and dropequal use nothing but source_labels and target_label".to_owned()
            }
        })
    }
}

/// Whether a text is a label name that every receiver takes.
pub fn is_label_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Whether a text is a label name once `$1`, `${1}` and the like in it stand
/// for what groups matched.
fn is_name_template(text: &str) -> bool {
    let mut name = String::new();
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once('$') {
        name.push_str(before);
        let group = |text: &str| {
            let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            end.unwrap_or(text.len())
        };
        let after = match reference.strip_prefix('{') {
            Some(braced) => braced
                .get(group(braced)..)
                .filter(|after| !braced.starts_with('}') && after.starts_with('}'))
                .and_then(|after| after.get(1..)),
            None => reference
                .get(group(reference)..)
                .filter(|_| group(reference) > 0),
        };
        let Some(after) = after else {
            return false;
        };
        // A group may match any letter.
        name.push('_');
        rest = after;
    }
    name.push_str(rest);
    is_label_name(&name)
}
