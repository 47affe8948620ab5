//! Ids of traces and spans, which arrive in any length.

/// An id of fixed length: padded with zeros on the left (D25), or cut there.
pub(crate) fn padded<const N: usize>(id: &[u8]) -> [u8; N] {
    if let Ok(id) = id.try_into() {
        return id;
    }
    let mut padded = [0; N];
    for (place, byte) in padded.iter_mut().rev().zip(id.iter().rev()) {
        *place = *byte;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_id_is_padded_on_the_left() {
        let padded = padded::<16>;
        assert_eq!(padded(&[7, 8])[14..], [7, 8]);
        assert_eq!(padded(&[7, 8])[..14], [0; 14]);
        assert_eq!(padded(&[9; 16]), [9; 16]);
        assert_eq!(padded(&[]), [0; 16]);
    }
}
