//! What is on disk and goes from node to node is of its version, and what earlier versions
//! wrote is read.

use std::fs;

use fixtures::Format;

use super::*;
use crate::handover::chunk::{Chunk, ChunkError};
use crate::handover::ledger::Ledger;
use crate::handover::mark::Mark;
use crate::spool::cursor::{Cursor, Found};
use crate::spool::{cursor, segment};

fn format(name: &str) -> Format {
    Format::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// The version that stands so far from the beginning, and the bytes with the next one.
fn next_version(written: &[u8], at: usize) -> (u64, Vec<u8>) {
    let version: [u8; 4] = written[at..at + 4].try_into().unwrap();
    let mut next = written.to_vec();
    next[at] += 1;
    (u32::from_le_bytes(version).into(), next)
}

#[test]
fn segments_are_those_of_their_version() {
    let directory = tempfile::tempdir().unwrap();
    let (want, _) = spool_with(directory.path(), 0..3);
    let [path] = segments(directory.path()).try_into().unwrap();
    let written = fs::read(&path).unwrap();
    let (version, mut next) = next_version(&written, 16);
    format("spool-segment").check(version, &written).unwrap();
    for (version, kept) in format("spool-segment").kept().unwrap() {
        fs::write(&path, kept).unwrap();
        let read = read_from(&reopened(directory.path()), 0);
        assert_eq!(read, (want.clone(), 0), "{version}");
    }
    // Of a later version nothing is read, however much of it could be.
    let length: [u8; 4] = next[8..12].try_into().unwrap();
    let head = 16..16 + u32::from_le_bytes(length) as usize;
    let checksum = crc32fast::hash(&next[head]);
    next[12..16].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, next).unwrap();
    let head = segment::Head::read(&fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(head, segment::Head::Later { version: 2 });
    let (_, recovered) = Spool::open(config(directory.path())).unwrap();
    assert_eq!(
        (recovered[0].segments.len(), recovered[0].unreadable),
        (0, 1)
    );
}

#[test]
fn cursors_are_those_of_their_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = cursor::path(directory.path(), 7);
    let cursor = Cursor {
        sequence: 3,
        frontier: 40,
        owed: 2,
        newest_ms: -5,
        shards: vec![38, 40],
    };
    let written = cursor.to_bytes();
    let (version, next) = next_version(&written, 8);
    format("spool-cursor").check(version, &written).unwrap();
    for (version, kept) in format("spool-cursor").kept().unwrap() {
        fs::write(&path, kept).unwrap();
        let read = Cursor::read(&path);
        assert_eq!(read, Found::Cursor(cursor.clone()), "{version}");
    }
    fs::write(&path, next).unwrap();
    assert_eq!(Cursor::read(&path), Found::Other { version: 2 });
}

#[test]
fn marks_of_what_was_handed_over_are_those_of_their_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed-over");
    let mark = Mark {
        generation: 0xabc,
        position: 77,
    };
    mark.write(directory.path()).unwrap();
    let written = fs::read(&path).unwrap();
    let (version, next) = next_version(&written, 8);
    format("handed-over").check(version, &written).unwrap();
    for (version, kept) in format("handed-over").kept().unwrap() {
        fs::write(&path, kept).unwrap();
        assert_eq!(Mark::read(directory.path()), Some(mark), "{version}");
    }
    fs::write(&path, next).unwrap();
    assert_eq!(Mark::read(directory.path()), None);
}

#[test]
fn ledgers_of_what_was_taken_over_are_those_of_their_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taken-over");
    let mut ledger = Ledger::default();
    ledger.note("generator-1", 0xabc, 77);
    ledger.note("generator-2", 1, 5);
    ledger.write(directory.path(), false).unwrap();
    let written = fs::read(&path).unwrap();
    let (version, next) = next_version(&written, 8);
    format("taken-over").check(version, &written).unwrap();
    for (version, kept) in format("taken-over").kept().unwrap() {
        fs::write(&path, kept).unwrap();
        assert_eq!(Ledger::read(directory.path()), ledger, "{version}");
    }
    fs::write(&path, next).unwrap();
    assert_eq!(Ledger::read(directory.path()), Ledger::default());
}

#[test]
fn chunks_are_those_of_their_version() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (want, _) = spool_with(from.path(), 0..3);
    let [written] = handed_over::chunks(&reopened(from.path()), 0)
        .try_into()
        .unwrap();
    let (version, next) = next_version(&written, 8);
    format("handover-chunk").check(version, &written).unwrap();
    let (target, _) = Spool::open(config(to.path())).unwrap();
    let target = target.start(&id("acme"));
    for (version, kept) in format("handover-chunk").kept().unwrap() {
        let begin = target.extent().end;
        handed_over::take(&target, &kept, 0);
        assert_eq!(read_from(&target, begin), (want.clone(), 0), "{version}");
    }
    let refused = Chunk::read(&next).map(drop);
    assert_eq!(refused, Err(ChunkError::Version { version: 2 }));
}
