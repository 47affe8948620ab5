//! Whether arbitrary bytes may be sent as OTLP/JSON.
//!
//! Shared by the fuzz target and the replay of its corpus.

/// What is written per byte that is read, at most.
const MOST: usize = 16;

/// Converts `bytes`, which must end without a panic; what comes out must be an OTLP
/// request of a bounded length. Gives how many spans it has, refused ones included;
/// `None` if it is no request.
pub(crate) fn check(bytes: &[u8]) -> Option<u64> {
    let request = spanmill_otlp::json::to_protobuf(bytes).ok()?;
    assert!(
        request.len() <= MOST * bytes.len(),
        "{} of {}",
        request.len(),
        bytes.len()
    );
    let checked = spanmill_otlp::validate::check(&request);
    Some(checked.unwrap().spans)
}
