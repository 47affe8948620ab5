//! Arbitrary bytes as OTLP/JSON: see `json::check`.

#![no_main]

#[path = "../json.rs"]
mod json;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    json::check(bytes);
});
