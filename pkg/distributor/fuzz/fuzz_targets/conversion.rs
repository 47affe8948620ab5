//! Arbitrary bytes as spans of other protocols: see `conversions`.

#![no_main]

#[path = "../conversions.rs"]
mod conversions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (_, conversion) in conversions::ALL {
        conversions::check(bytes, conversion);
    }
});
