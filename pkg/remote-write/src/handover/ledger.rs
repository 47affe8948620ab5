//! Up to where a tenant's samples have been taken over, on the disk of the target.

use std::io;
use std::path::Path;

use super::stored;
use crate::encode::v1::put_varint;
use crate::spool::wire::{Fields, put_slice};

const MAGIC: [u8; 8] = *b"spantook";
const FILE: &str = "taken-over";

/// Sources that are remembered; more than a cluster loses while one of them tries.
const MAX_SOURCES: usize = 64;

/// Up to where samples of one tenant have been taken over, of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The one that has given samples last comes last.
    sources: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    id: String,
    generation: u64,
    position: u64,
}

impl Ledger {
    /// What is in a tenant's directory; nothing if nobody can tell.
    pub(crate) fn read(directory: &Path) -> Self {
        match stored::read(&directory.join(FILE), &MAGIC) {
            Ok(payload) => payload.and_then(|it| Self::of(&it)).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(
                    error = %telemetry::error_chain(&error),
                    "cannot read what was taken over; what comes again is sent twice"
                );
                Self::default()
            }
        }
    }

    /// Up to where samples of a source have been taken over.
    pub(crate) fn position(&self, id: &str, generation: u64) -> u64 {
        let mut sources = self.sources.iter();
        let known = sources.find(|source| source.id == id && source.generation == generation);
        known.map_or(0, |source| source.position)
    }

    /// Notes up to where samples of a source have been taken over.
    pub(crate) fn note(&mut self, id: &str, generation: u64, position: u64) {
        self.sources
            .retain(|source| source.id != id || source.generation != generation);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.remove(0);
        }
        self.sources.push(Source {
            id: id.to_owned(),
            generation,
            position,
        });
    }

    /// Writes it down.
    ///
    /// # Errors
    ///
    /// What the system says; then the one before is still there.
    pub(crate) fn write(&self, directory: &Path, syncs: bool) -> io::Result<()> {
        let mut payload = Vec::new();
        put_varint(&mut payload, self.sources.len() as u64);
        for source in &self.sources {
            put_slice(&mut payload, source.id.as_bytes());
            payload.extend_from_slice(&source.generation.to_le_bytes());
            payload.extend_from_slice(&source.position.to_le_bytes());
        }
        stored::write(&directory.join(FILE), &MAGIC, &payload, syncs)
    }

    fn of(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let mut sources = Vec::new();
        for _ in 0..fields.index()?.min(MAX_SOURCES) {
            sources.push(Source {
                id: fields.text()?.to_owned(),
                generation: fields.u64()?,
                position: fields.u64()?,
            });
        }
        Some(Self { sources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_sources_are_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::read(directory.path());
        for number in 0..MAX_SOURCES as u64 {
            ledger.note("host", number, 10 * number);
        }
        ledger.note("host", 0, 7);
        ledger.note("other", 0, 8);
        ledger.write(directory.path(), true).unwrap();
        let mut read = Ledger::read(directory.path());
        assert_eq!(read, ledger);
        for (id, generation, want) in [
            ("host", 0, 7),
            ("other", 0, 8),
            ("host", 2, 20),
            ("host", 1, 0),
            ("nobody", 0, 0),
        ] {
            assert_eq!(read.position(id, generation), want, "{id} {generation}");
        }
        std::fs::write(directory.path().join(FILE), b"spantook").unwrap();
        read = Ledger::read(directory.path());
        assert_eq!(read, Ledger::default());
    }
}
