//! Small files that are there whole or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

const VERSION: u32 = 1;

/// What a file of this format holds; `None` if there is none.
///
/// # Errors
///
/// What the system says, or that it is damaged or of a later version.
pub(crate) fn read(path: &Path, magic: &[u8; 8]) -> io::Result<Option<Vec<u8>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let payload = unsealed(&bytes, magic);
    payload.map(Some).ok_or_else(|| {
        let path = path.display();
        let version = bytes.strip_prefix(magic).and_then(<[u8]>::first_chunk);
        let version = version.map(|version| u32::from_le_bytes(*version));
        let problem = match version.filter(|version| *version != VERSION) {
            Some(version) => format!("{path} has version {version}, which is not known here"),
            None => format!("{path} cannot be read"),
        };
        io::Error::new(ErrorKind::InvalidData, problem)
    })
}

fn unsealed(bytes: &[u8], magic: &[u8; 8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(magic)?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, payload) = rest.split_first_chunk::<4>()?;
    let is_whole = u32::from_le_bytes(*version) == VERSION
        && u32::from_le_bytes(*checksum) == crc32fast::hash(payload);
    is_whole.then(|| payload.to_vec())
}

/// Writes a file in place of what is there, if `syncs` so that it lasts.
///
/// # Errors
///
/// What the system says; then what was there before still is.
pub(crate) fn write(path: &Path, magic: &[u8; 8], payload: &[u8], syncs: bool) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(magic)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&crc32fast::hash(payload).to_le_bytes())?;
    file.write_all(payload)?;
    if syncs {
        file.sync_data()?;
    }
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(directory) if syncs => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
