//! Which parts run in a process.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Which parts run in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    #[default]
    All,
    /// What takes spans from clients and sends them to generators; it keeps no state.
    Distributor,
    /// What makes series of spans that distributors send. Tempo's name for it,
    /// `metrics-generator`, is understood as well.
    Generator,
}

impl Target {
    /// Whether clients send spans here.
    pub fn distributes(self) -> bool {
        match self {
            Self::All | Self::Distributor => true,
            Self::Generator => false,
        }
    }

    /// Whether series are made here.
    pub fn generates(self) -> bool {
        match self {
            Self::All | Self::Generator => true,
            Self::Distributor => false,
        }
    }
}

/// A target that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not accepted; expected all, distributor or generator")]
pub struct UnknownTarget(pub String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "distributor" => Ok(Self::Distributor),
            "generator" | "metrics-generator" => Ok(Self::Generator),
            other => Err(UnknownTarget(other.to_owned())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Distributor => f.write_str("distributor"),
            Self::Generator => f.write_str("generator"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
