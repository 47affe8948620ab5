//! Rules that change or drop series.

use serde::{Deserialize, Deserializer, Serialize};

/// One rule of `write_relabel_configs`.
///
/// Source: Prometheus documentation, `relabel_config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::EnumString, strum::VariantNames)]
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
    /// Checks what the expression's own syntax does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        use RelabelAction as Action;
        let plain_target = crate::relabel::is_label_name(&self.target_label);
        match self.action {
            Action::Replace => {
                // With groups in it, it is checked when it is used.
                let usable = plain_target || self.target_label.contains('$');
                usable.then_some(()).ok_or_else(|| self.bad_target())
            }
            Action::KeepEqual | Action::DropEqual | Action::Lowercase | Action::Uppercase => {
                plain_target.then_some(()).ok_or_else(|| self.bad_target())
            }
            Action::HashMod if self.modulus == 0 => {
                Err("modulus: hashmod needs one of at least 1".to_owned())
            }
            Action::HashMod => plain_target.then_some(()).ok_or_else(|| self.bad_target()),
            Action::LabelDrop | Action::LabelKeep => {
                let only_regex = Self {
                    regex: self.regex.clone(),
                    action: self.action,
                    ..Self::default()
                };
                (*self == only_regex)
                    .then_some(())
                    .ok_or_else(|| "labeldrop and labelkeep use nothing but regex".to_owned())
            }
            Action::Keep | Action::Drop | Action::LabelMap => Ok(()),
        }
    }

    fn bad_target(&self) -> String {
        format!("target_label: {:?} is not a label name", self.target_label)
    }
}
