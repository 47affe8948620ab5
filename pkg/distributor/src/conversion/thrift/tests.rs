use super::*;

const BOTH: [Encoding; 2] = [Encoding::Binary, Encoding::Compact];

#[test]
fn message_of_each_encoding_is_read() {
    for (encoding, bytes) in [
        (
            Encoding::Binary,
            &b"\x80\x01\0\x04\0\0\0\x02hi\0\0\0\x07"[..],
        ),
        (Encoding::Binary, b"\0\0\0\x02hi\x04\0\0\0\x07"),
        (Encoding::Compact, b"\x82\x81\x07\x02hi"),
    ] {
        assert_eq!(Reader::new(encoding, bytes).message(), Ok(&b"hi"[..]));
        for end in 0..bytes.len() {
            let cut = Reader::new(encoding, &bytes[..end]).message();
            assert!(cut.is_err(), "{encoding:?} {end}");
        }
    }
    for (encoding, bytes) in [
        (Encoding::Binary, &b"\x80\x02\0\x04\0\0\0\0\0\0\0\0"[..]),
        (Encoding::Compact, b"\x82\x82\x07\0"),
        (Encoding::Compact, b"\x81\x81\x07\0"),
    ] {
        let read = Reader::new(encoding, bytes).message();
        assert_eq!(read, Err(ThriftError::UnknownVersion), "{bytes:?}");
    }
}

#[test]
fn fields_of_the_compact_encoding_are_read() {
    // 1: i64 = -2; 3: bool = true; 30: double = 1.5; the end.
    let mut bytes = vec![0x16, 3, 0x21, 0x07, 60];
    bytes.extend(1.5_f64.to_le_bytes());
    bytes.push(0);
    let mut reader = Reader::new(Encoding::Compact, &bytes);
    let mut last = 0;
    let first = reader.field(&mut last).unwrap().unwrap();
    assert_eq!((first.id, first.kind), (1, Type::I64));
    assert_eq!(reader.i64(), Ok(-2));
    let second = reader.field(&mut last).unwrap().unwrap();
    assert_eq!((second.id, second.kind), (3, Type::Bool));
    assert_eq!(reader.bool(&second), Ok(true));
    let third = reader.field(&mut last).unwrap().unwrap();
    assert_eq!((third.id, third.kind), (30, Type::Double));
    assert_eq!(reader.double(), Ok(1.5));
    assert_eq!(reader.field(&mut last), Ok(None));
}

#[test]
fn values_of_every_type_are_skipped() {
    // A field of each type, then 5: byte = 9.
    let binary: &[(u8, &[u8])] = &[
        (2, &[1]),
        (3, &[7]),
        (4, &[0; 8]),
        (6, &[0; 2]),
        (8, &[0; 4]),
        (10, &[0; 8]),
        (11, &[0, 0, 0, 2, 1, 1]),
        (12, &[3, 0, 1, 7, 0]),
        (13, &[3, 11, 0, 0, 0, 1, 7, 0, 0, 0, 0]),
        (13, &[0, 0, 0, 0, 0, 0]),
        (14, &[3, 0, 0, 0, 2, 7, 7]),
        (15, &[12, 0, 0, 0, 2, 0, 0]),
        (16, &[0; 16]),
    ];
    let compact: &[(u8, &[u8])] = &[
        (1, &[]),
        (2, &[]),
        (3, &[7]),
        (4, &[0x80, 1]),
        (5, &[0x80, 1]),
        (6, &[0x80, 1]),
        (7, &[0; 8]),
        (8, &[2, 1, 1]),
        (9, &[0x21, 1, 2]),
        (10, &[0xf3, 2, 7, 7]),
        (11, &[0]),
        (11, &[1, 0x38, 7, 0]),
        (12, &[0x13, 7, 0]),
        (13, &[0; 16]),
    ];
    for (encoding, cases) in BOTH.into_iter().zip([binary, compact]) {
        for (kind, value) in cases {
            let bytes = match encoding {
                Encoding::Binary => [&[*kind, 0, 4], *value, &[3, 0, 5, 9]].concat(),
                Encoding::Compact => [&[0x40 | *kind], *value, &[0x13, 9]].concat(),
            };
            let mut reader = Reader::new(encoding, &bytes);
            let mut last = 0;
            let field = reader.field(&mut last).unwrap().unwrap();
            reader.skip(&field).unwrap();
            let next = reader.field(&mut last).unwrap().unwrap();
            let after = (next.id, next.kind, reader.byte());
            assert_eq!(after, (5, Type::Byte, Ok(9)), "{encoding:?} {kind}");
        }
    }
}

#[test]
fn lengths_beyond_the_bytes_are_refused_before_they_are_believed() {
    let mut reader = Reader::new(Encoding::Binary, b"\x7f\xff\xff\xffabc");
    assert_eq!(reader.bytes(), Err(ThriftError::Truncated));
    let mut reader = Reader::new(Encoding::Binary, b"\xff\xff\xff\xffabc");
    assert_eq!(reader.bytes(), Err(ThriftError::NegativeLength));
    let mut reader = Reader::new(Encoding::Binary, b"\x0c\x7f\xff\xff\xffabc");
    assert_eq!(reader.list(), Err(ThriftError::Truncated));
    let mut reader = Reader::new(Encoding::Compact, b"\xfc\xff\xff\xff\xff\x7fabc");
    assert_eq!(reader.list(), Err(ThriftError::Truncated));
    let mut reader = Reader::new(Encoding::Compact, &[0xff; 12]);
    assert_eq!(reader.varint(), Err(ThriftError::VarintTooLong));
}

#[test]
fn nesting_is_bounded() {
    for (encoding, open) in [
        (Encoding::Binary, &[12, 0, 1][..]),
        (Encoding::Compact, &[0x1c]),
    ] {
        let bytes = open.repeat(100);
        let mut reader = Reader::new(encoding, &bytes);
        assert_eq!(
            reader.skip_value(Type::Struct, 0),
            Err(ThriftError::TooDeep)
        );
    }
}

#[test]
fn types_that_do_not_exist_are_refused() {
    for (encoding, bytes) in [
        (Encoding::Binary, [99, 0, 1]),
        (Encoding::Compact, [0x1e, 0, 0]),
    ] {
        let read = Reader::new(encoding, &bytes).field(&mut 0);
        assert!(
            matches!(read, Err(ThriftError::UnknownType { .. })),
            "{encoding:?}"
        );
    }
}
