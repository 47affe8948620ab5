//! Arbitrary bytes as each of the protocols that are converted to OTLP.
//!
//! Shared by the fuzz target and the replay of its corpus.

use spanmill_distributor::conversion::zipkin::Options;
use spanmill_distributor::conversion::{ConversionError, ThriftEncoding, jaeger, zipkin};

/// A conversion by the name of its part of the corpus.
type Conversion = fn(&[u8]) -> Result<Vec<u8>, ConversionError>;

/// Every conversion that there is.
pub(crate) const ALL: [(&str, Conversion); 7] = [
    ("zipkin_v1_json", |bytes| zipkin::v1_json(bytes, PARSED)),
    ("zipkin_v2_json", |bytes| zipkin::v2_json(bytes, PARSED)),
    ("zipkin_protobuf", |bytes| {
        zipkin::list_of_spans(bytes, PARSED)
    }),
    ("jaeger_protobuf", jaeger::post_spans),
    ("jaeger_thrift_batch", jaeger::batch),
    ("jaeger_thrift_binary", |bytes| {
        jaeger::datagram(ThriftEncoding::Binary, bytes)
    }),
    ("jaeger_thrift_compact", |bytes| {
        jaeger::datagram(ThriftEncoding::Compact, bytes)
    }),
];

const PARSED: Options = Options {
    parse_string_tags: true,
};

/// What is written per byte that is read, at most: the shortest span with its own
/// resource.
const MOST: usize = 64;

/// Converts `bytes`, which must end without a panic; what comes out must be an OTLP
/// request of a bounded length. Gives how many spans it has, refused ones included.
pub(crate) fn check(bytes: &[u8], conversion: Conversion) -> u64 {
    let Ok(request) = conversion(bytes) else {
        return 0;
    };
    assert!(
        request.len() <= MOST * bytes.len(),
        "{} of {}",
        request.len(),
        bytes.len()
    );
    let checked = otlp::validate::check(&request);
    checked.expect("what is written is an OTLP request").spans
}
