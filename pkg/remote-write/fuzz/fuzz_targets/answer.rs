//! Arbitrary bytes as the answer of a receiver: see `answers::check`.

#![no_main]

#[path = "../answers.rs"]
mod answers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    answers::check(bytes);
});
