//! Whether a segment can be anything, and reading it ends with what is in it.
//!
//! Shared by the fuzz target and the replay of its corpus.

use std::path::PathBuf;

use model::TenantId;
use spanmill_remote_write::inspect::inspect;

/// Begins an input that is what follows a head.
const HEADED: u8 = b'H';

/// Begins an input that [`records`] are made of: few arbitrary files have one with
/// the right checksum.
const SEALED: u8 = b'R';

/// A spool of one tenant.
pub(crate) struct Directory {
    root: tempfile::TempDir,
    segment: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let tenant = root.path().join(TenantId::single().directory());
        std::fs::create_dir(&tenant).unwrap();
        Self {
            segment: tenant.join("0000000000000000.segment"),
            root,
        }
    }

    /// Reads `bytes` as a start and a sender do, which must end without a panic, and
    /// find no more samples than there is room for.
    pub(crate) fn check(&self, bytes: &[u8]) {
        let file = match bytes.split_first() {
            Some((&HEADED, rest)) => [&head()[..], rest].concat(),
            Some((&SEALED, rest)) => [head(), records(rest)].concat(),
            _ => bytes.to_vec(),
        };
        std::fs::write(&self.segment, &file).unwrap();
        let tenants = inspect(self.root.path()).unwrap();
        let (_, spooled) = tenants.first().unwrap();
        assert!(spooled.samples <= file.len() as u64, "{spooled:?}");
    }
}

/// What a segment begins with.
fn head() -> Vec<u8> {
    let tenant = TenantId::single();
    let mut rest = 1_u32.to_le_bytes().to_vec();
    rest.extend_from_slice(&0_u64.to_le_bytes());
    rest.push(tenant.as_str().len() as u8);
    rest.extend_from_slice(tenant.as_str().as_bytes());
    let mut head = b"spanmill".to_vec();
    head.extend_from_slice(&(rest.len() as u32).to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    head.extend_from_slice(&rest);
    head
}

/// Records of what is between the bytes that say their kind and length.
fn records(mut bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut position = 0_u64;
    while let [kind, length, after @ ..] = bytes {
        let (payload, rest) = after.split_at(after.len().min(usize::from(*length)));
        bytes = rest;
        let samples = match kind % 2 {
            0 => 0_u32,
            _ => u32::from(kind / 2),
        };
        let mut checked = vec![kind % 2 + 1];
        checked.extend_from_slice(&position.to_le_bytes());
        checked.extend_from_slice(&samples.to_le_bytes());
        checked.extend_from_slice(&1_700_000_000_000_i64.to_le_bytes());
        checked.extend_from_slice(payload);
        let length = (payload.len() as u32).to_le_bytes();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&length);
        hasher.update(&checked);
        file.extend_from_slice(&[0xf5, b'S', b'p', b'R']);
        file.extend_from_slice(&length);
        file.extend_from_slice(&hasher.finalize().to_le_bytes());
        file.extend_from_slice(&checked);
        position += u64::from(samples);
    }
    file
}
