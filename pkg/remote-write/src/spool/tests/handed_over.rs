//! From one spool to another.

use super::*;
use crate::handover::Outstanding;
use crate::handover::chunk::{Chunk, ChunkError, Origin, encode};
use crate::handover::export::Exporter;
use crate::progress::Progress;

/// What a node hands over that has sent nothing from a position on.
pub(super) fn chunks(spool: &Arc<TenantSpool>, position: u64) -> Vec<bytes::Bytes> {
    let outstanding = Outstanding::of(1, &Progress::at(position));
    let mut exporter = Exporter::new(Arc::clone(spool), vec![outstanding]);
    let mut chunks = Vec::new();
    while let Some(exported) = exporter.next().unwrap() {
        let origin = Origin {
            tenant: spool.tenant().clone(),
            source: "a".to_owned(),
            generation: 1,
            first: exported.first,
            end: exported.end,
        };
        chunks.push(encode(&origin, &exported.records));
    }
    chunks
}

pub(super) fn take(spool: &Arc<TenantSpool>, chunk: &[u8], from: u64) {
    let chunk = Chunk::read(chunk).unwrap();
    let mut taking = TakeOver::begin(Arc::clone(spool)).unwrap();
    chunk.replay(from, &mut taking);
    taking.commit().unwrap();
}

proptest! {
    /// forall rows in collections, with labels of all or without: another spool that
    /// takes them over has them after its own, bit for bit, and goes on as before.
    #[test]
    fn what_is_taken_over_is_what_was_appended(
        collections in prop::collection::vec((any::<bool>(), prop::collection::vec(row(), 1..5)), 1..5)
    ) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (source, _) = Spool::open(config(from.path())).unwrap();
        let (target, _) = Spool::open(config(to.path())).unwrap();
        let (source, target) = (source.start(&id("acme")), target.start(&id("acme")));
        let labels = [("cluster".to_owned(), "x1".to_owned()), ("set".to_owned(), "hidden".to_owned())];
        let mut want = Kept::default();
        let first = &collections[0].1[0];
        let mut own = begin(&target, &labels);
        write_row(&mut own, false, first);
        own.finish();
        write_row(&mut want, true, first);
        for (external, rows) in &collections {
            let labels = if *external { &labels[..] } else { &[] };
            let mut append = begin(&source, labels);
            for row in rows {
                write_row(&mut append, false, row);
                write_row(&mut want, *external, row);
            }
            append.finish();
        }
        for chunk in chunks(&source, 0) {
            take(&target, &chunk, 0);
        }
        let mut own = begin(&target, &labels);
        write_row(&mut own, false, first);
        own.finish();
        write_row(&mut want, true, first);
        prop_assert_eq!(&read_from(&target, 0), &(want.all.clone(), 0));
        prop_assert_eq!(read_from(&reopened(to.path()), 0), (want.all, 0));
    }

    /// forall bytes: as a chunk they are read or refused.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        before in prop::sample::select(vec![&b""[..], b"spanhand", b"spanhand\x01\0\0\0"]),
    ) {
        let _ = Chunk::read(&[before, &bytes].concat());
        // Past the checksum.
        let origin = Origin {
            tenant: id("acme"),
            source: String::new(),
            generation: 0,
            first: 0,
            end: u64::MAX,
        };
        let _ = Chunk::read(&encode(&origin, &bytes));
    }
}

/// forall bytes of a chunk: when one is flipped or it ends there, all of it is refused.
#[test]
fn damaged_chunk_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    append(&tenant, 0..3);
    let [chunk] = &chunks(&tenant, 0)[..] else {
        panic!("one chunk");
    };
    assert!(Chunk::read(chunk).is_ok());
    for place in 0..chunk.len() {
        let mut flipped = chunk.to_vec();
        flipped[place] ^= 0x10;
        let error = Chunk::read(&flipped).unwrap_err();
        let is_version = (8..12).contains(&place);
        let says_version = matches!(error, ChunkError::Version { .. });
        assert_eq!(says_version, is_version, "{place}: {error}");
        assert!(Chunk::read(&chunk[..place]).is_err(), "{place}");
    }
}

/// A chunk may have been taken in part, by a source that has cut it elsewhere.
#[test]
fn only_what_is_from_a_position_on_is_taken() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [source, target] = directories.each_ref().map(|directory| {
        let (spool, _) = Spool::open(config(directory.path())).unwrap();
        spool.start(&id("acme"))
    });
    let appended = append(&source, 0..3);
    // Each label set has two samples, so that the third begins at 4.
    for chunk in chunks(&source, 2) {
        take(&target, &chunk, 4);
    }
    assert_eq!(read_from(&target, 0), (appended[4..].to_vec(), 0));
}

/// What was begun and not committed leaves nothing, not even a number that later rows
/// could refer to.
#[test]
fn take_over_that_is_given_up_leaves_nothing() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [source, target] = directories.each_ref().map(|directory| {
        let (spool, _) = Spool::open(config(directory.path())).unwrap();
        spool.start(&id("acme"))
    });
    append(&source, 0..3);
    for chunk in chunks(&source, 0) {
        let chunk = Chunk::read(&chunk).unwrap();
        let mut taking = TakeOver::begin(Arc::clone(&target)).unwrap();
        chunk.replay(0, &mut taking);
    }
    let own = append(&target, 7..9);
    assert_eq!(read_from(&target, 0), (own.clone(), 0));
    assert_eq!(read_from(&reopened(directories[1].path()), 0), (own, 0));
}

/// A collection of long ago, between those of now, begins no segment at each.
#[test]
fn old_samples_go_into_segments_of_their_own_time() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [source, target] = directories.each_ref().map(|directory| {
        let config = SpoolConfig {
            max_age: Duration::from_secs(8),
            ..config(directory.path())
        };
        let (spool, _) = Spool::open(config).unwrap();
        spool.start(&id("acme"))
    });
    append(&source, 0..4);
    let own = append(&target, 100_000..100_001);
    for position in [0, 4, 8, 12] {
        let all = chunks(&source, position);
        take(&target, &all[0], 0);
    }
    assert_eq!(read_from(&target, 0).0.len(), own.len() + 16 + 12 + 8 + 4);
    assert_eq!(segments(directories[1].path()).len(), 1);
    append(&target, 100_001..100_002);
    assert_eq!(segments(directories[1].path()).len(), 1);
}
