//! What a node keeps of itself across restarts: its id, and what its tokens come from.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The name of the file in the storage directory.
const FILE: &str = "node.json";
/// What is written before it takes the place of the file.
const NEXT: &str = "node.json.new";
/// The version of its format. Fields may be added without a new one: who does not know
/// them keeps them.
const FORMAT: u64 = 1;

/// Who this node is, in this life of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, one in the cluster.
    pub instance_id: String,
    /// What its tokens are derived from.
    pub token_seed: u64,
    /// Which life of it this is: milliseconds since the Unix epoch at its start, or one
    /// more than the last if the clock went back.
    pub incarnation: u64,
}

/// The file of a node that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeFileError {
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say who the node is.
    #[error(
        "{} does not say who this node is; remove it, and the node starts with new tokens",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It is of a later version of spanmill.
    #[error(
        "{} has format {format}, and this version of spanmill knows {FORMAT}",
        path.display()
    )]
    LaterFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    format: u64,
    instance_id: String,
    /// 16 hexadecimal digits: JSON's numbers are not to be trusted with 64 bits.
    #[serde(with = "hex")]
    token_seed: u64,
    incarnation: u64,
    /// Fields of later versions.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Node {
    /// Who the node with this storage directory is, and begins its next life there.
    ///
    /// `instance_id` is what the settings say, if they do; `host` is the name of a node
    /// that is new and has none in its settings; `fresh_seed` is drawn at random. With
    /// another id in the settings than before it is another node: that is written down,
    /// and it has new tokens, since its disk may be a copy of one that is in use.
    ///
    /// # Errors
    ///
    /// [`NodeFileError`]: nothing has changed then.
    pub fn open(
        directory: &Path,
        instance_id: Option<&str>,
        host: &str,
        fresh_seed: u64,
        now_ms: u64,
    ) -> Result<Self, NodeFileError> {
        let path = directory.join(FILE);
        let known = read(&path)?;
        let is_other = |known: &Kept| instance_id.is_some_and(|id| id != known.instance_id);
        let kept = match known {
            Some(mut known) => {
                if is_other(&known) {
                    let id = instance_id.unwrap_or(host);
                    tracing::warn!(
                        before = known.instance_id,
                        now = id,
                        file = %path.display(),
                        "the node has another instance_id than before: it gets new tokens"
                    );
                    id.clone_into(&mut known.instance_id);
                    known.token_seed = fresh_seed;
                }
                known.incarnation = now_ms.max(known.incarnation.saturating_add(1));
                known
            }
            None => Kept {
                format: FORMAT,
                instance_id: instance_id.unwrap_or(host).to_owned(),
                token_seed: fresh_seed,
                incarnation: now_ms,
                others: Map::new(),
            },
        };
        write(directory, &path, &kept).map_err(|source| NodeFileError::Io { path, source })?;
        Ok(Self {
            instance_id: kept.instance_id,
            token_seed: kept.token_seed,
            incarnation: kept.incarnation,
        })
    }

    /// Makes a node forget who it was: the next one here is new.
    ///
    /// # Errors
    ///
    /// That of the system; there being no file is none.
    pub fn forget(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A node that keeps nothing, such as a distributor.
    pub fn without_file(instance_id: &str, now_ms: u64) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            token_seed: 0,
            incarnation: now_ms,
        }
    }
}

/// None if there is no file.
fn read(path: &Path) -> Result<Option<Kept>, NodeFileError> {
    let owned = || path.to_owned();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = owned();
            return Err(NodeFileError::Io { path, source });
        }
    };
    let malformed = |source| NodeFileError::Malformed {
        path: owned(),
        source,
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    let format = value.get("format").and_then(Value::as_u64);
    if let Some(format) = format.filter(|format| *format > FORMAT) {
        let path = owned();
        return Err(NodeFileError::LaterFormat { path, format });
    }
    serde_json::from_value(value).map(Some).map_err(malformed)
}

/// Writes it whole or not at all.
fn write(directory: &Path, path: &Path, kept: &Kept) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let next = directory.join(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}

mod hex {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, id: Option<&str>, seed: u64, now: u64) -> Node {
        Node::open(directory, id, "host", seed, now).unwrap()
    }

    fn node(instance_id: &str, token_seed: u64, incarnation: u64) -> Node {
        Node {
            instance_id: instance_id.to_owned(),
            token_seed,
            incarnation,
        }
    }

    #[test]
    fn id_and_seed_stay_and_each_life_is_higher() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        assert_eq!(
            open(&path, None, u64::MAX, 100),
            node("host", u64::MAX, 100)
        );
        let again = Node::open(&path, None, "renamed", 6, 200).unwrap();
        assert_eq!(again, node("host", u64::MAX, 200));
        let back = open(&path, None, 7, 150);
        assert_eq!(back, node("host", u64::MAX, 201), "the clock went back");
        assert!(!path.join(NEXT).exists());
    }

    #[test]
    fn another_id_in_the_settings_makes_another_node() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(open(path, Some("a"), 5, 100), node("a", 5, 100));
        assert_eq!(open(path, Some("a"), 6, 200), node("a", 5, 200));
        assert_eq!(open(path, Some("b"), 7, 150), node("b", 7, 201));
        assert_eq!(open(path, None, 8, 300), node("b", 7, 300));
    }

    #[test]
    fn file_is_that_of_its_version_and_fields_of_later_ones_are_kept() {
        let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "node.json");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        open(directory.path(), Some("g-1"), 0xabc, 100);
        format.check(FORMAT, &fs::read(&file).unwrap()).unwrap();
        for (_, kept) in format.kept().unwrap() {
            let mut kept: Value = serde_json::from_slice(&kept).unwrap();
            kept["high_water"] = 7.into();
            fs::write(&file, kept.to_string()).unwrap();
            assert_eq!(
                open(directory.path(), None, 1, 200),
                node("g-1", 0xabc, 200)
            );
            let again: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(again["high_water"], 7);
        }
    }

    #[test]
    fn file_that_cannot_be_used_is_an_error_and_stays() {
        for (text, want) in [
            (
                "{",
                "does not say who this node is; remove it, and the node starts with new tokens",
            ),
            (
                "{\"format\": 1}",
                "does not say who this node is; remove it, and the node starts with new tokens",
            ),
            (
                "{\"format\": 2, \"x\": []}",
                "has format 2, and this version of spanmill knows 1",
            ),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join(FILE);
            fs::write(&file, text).unwrap();
            let error = Node::open(directory.path(), None, "host", 1, 1).unwrap_err();
            assert_eq!(error.to_string(), format!("{} {want}", file.display()));
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
