//! What people are told of a spool's directory.

use std::path::Path;

use super::*;
use crate::inspect::{Spooled, SpooledFor, destination_key, inspect};

const FIRST_MS: i64 = 1_700_000_000_001;

fn of_acme(directory: &Path) -> Spooled {
    let mut tenants = inspect(directory).unwrap();
    let (tenant, spooled) = tenants.pop().unwrap();
    assert_eq!((tenant, tenants.len()), (id("acme"), 0));
    spooled
}

/// The files of the only tenant with what is in them.
fn files(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(directory.join(id("acme").directory())).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn what_is_on_disk_is_told_and_left_as_it_is() {
    let (receiver, url) = Receiver::start([]).await;
    let fixture = start(vec![endpoint_of_ones(&url)], false);
    let writer = fixture.writer("acme");
    write_one(&writer, 1.0);
    fixture.flush().await;
    receiver.set_rule(|_| Some(answer_with(503, &[], "")));
    for value in [2.0, 3.0] {
        write_one(&writer, value);
    }
    assert_eq!(of_acme(fixture.directory.path()).samples, 3);
    drop(writer);
    let directory = fixture.stop().await;
    let before = files(directory.path());
    let of_kind = |kind: &str| {
        let mut files = before.iter();
        let is_it = |path: &Path| path.extension().is_some_and(|found| found == kind);
        files.find(|(path, _)| is_it(path)).unwrap()
    };
    let ((segment, bytes), (cursor, _)) = (of_kind("segment"), of_kind("cursor"));
    let want = Spooled {
        segments: 1,
        bytes: bytes.len() as u64,
        samples: 3,
        oldest_ms: Some(FIRST_MS),
        newest_ms: Some(FIRST_MS + 2),
        missing: 0,
        unreadable_files: 0,
        destinations: vec![SpooledFor {
            key: destination_key("sink"),
            pending: 2,
            oldest_pending_ms: Some(FIRST_MS),
            delivered_ms: Some(FIRST_MS),
            shards: 1,
        }],
    };
    assert_eq!(of_acme(directory.path()), want);
    assert_eq!(files(directory.path()), before);

    let mut damaged = bytes.clone();
    let second = damaged.len() - 100;
    damaged[second] ^= 1;
    std::fs::write(segment, damaged).unwrap();
    std::fs::write(cursor, b"spancurs").unwrap();
    let want = Spooled {
        samples: 2,
        missing: 1,
        unreadable_files: 1,
        destinations: Vec::new(),
        ..want
    };
    assert_eq!(of_acme(directory.path()), want);
}

#[test]
fn directory_that_cannot_be_read_is_named() {
    let nowhere = Path::new("/nonexistent/spool");
    let error = inspect(nowhere).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/spool");
    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir(empty.path().join("no tenant")).unwrap();
    assert_eq!(inspect(empty.path()).unwrap(), []);
}
