//! Numbers and texts of records: short where they usually are.

use super::RestoreError;

/// Whole numbers from here on may differ from their neighbours by less than a
/// float64 can tell.
const WHOLE: f64 = (1_u64 << 53) as f64;

/// Appends a number in groups of seven bits, the lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that is short if it is near to 0.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

/// Appends a float64, bit for bit; a whole one that is not negative is short.
pub fn put_number(out: &mut Vec<u8>, value: f64) {
    let whole = value as u64;
    if value < WHOLE && (whole as f64).to_bits() == value.to_bits() {
        put_varint(out, whole << 1);
    } else {
        out.push(1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends bytes with their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was appended, and never past the end.
#[derive(Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// So many bytes.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], RestoreError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An array of bytes.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn byte(&mut self) -> Result<u8, RestoreError> {
        self.array().map(|[byte]| byte)
    }

    /// What [`put_varint`] appended.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn varint(&mut self) -> Result<u64, RestoreError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RestoreError::damaged("a number is too long"))
    }

    /// What [`put_varint`] appended, which must fit the type.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, RestoreError> {
        let value = self.varint()?;
        T::try_from(value).map_err(|_| RestoreError::damaged("a number is too large"))
    }

    /// What [`put_signed`] appended.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn signed(&mut self) -> Result<i64, RestoreError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// What [`put_number`] appended.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn number(&mut self) -> Result<f64, RestoreError> {
        let value = self.varint()?;
        match value & 1 {
            0 => Ok((value >> 1) as f64),
            _ => Ok(f64::from_le_bytes(self.array()?)),
        }
    }

    /// What [`put_bytes`] appended.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn bytes(&mut self) -> Result<&'a [u8], RestoreError> {
        let length = self.small()?;
        self.take(length)
    }

    /// The same as text.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Damaged`].
    pub fn text(&mut self) -> Result<&'a str, RestoreError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RestoreError::damaged("a text is not UTF-8"))
    }
}

const CUT_OFF: RestoreError = RestoreError::damaged("a record is cut off");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// forall numbers: what is read is what was appended, to the last bit.
        #[test]
        fn numbers_come_back(whole in any::<u64>(), signed in any::<i64>(), bits in any::<u64>(), count in 0_u32..5_000) {
            let mut out = Vec::new();
            put_varint(&mut out, whole);
            put_signed(&mut out, signed);
            let numbers = [f64::from_bits(bits), f64::from(count), -0.0, 0.1, WHOLE, f64::NAN, f64::INFINITY];
            numbers.iter().for_each(|number| put_number(&mut out, *number));
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varint().unwrap(), whole);
            prop_assert_eq!(cursor.signed().unwrap(), signed);
            for number in numbers {
                prop_assert_eq!(cursor.number().unwrap().to_bits(), number.to_bits());
            }
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn usual_numbers_are_short() {
        let mut out = Vec::new();
        put_number(&mut out, 0.0);
        put_number(&mut out, 63.0);
        put_signed(&mut out, -64);
        assert_eq!(out.len(), 3);
    }
}
