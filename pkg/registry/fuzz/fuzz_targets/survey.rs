//! Arbitrary bytes as the survey of another node: see `surveys::check`.

#![no_main]

#[path = "../surveys.rs"]
mod surveys;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    surveys::check(bytes);
});
