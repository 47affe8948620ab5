//! Arbitrary bytes as an OTLP request: see `agreement::check`.

#![no_main]

#[path = "../agreement.rs"]
mod agreement;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agreement::check(bytes));
