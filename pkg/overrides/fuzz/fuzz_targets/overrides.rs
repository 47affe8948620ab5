//! Arbitrary bytes as settings of tenants: see `documents::Sources::check`.

#![no_main]

#[path = "../documents.rs"]
mod documents;

thread_local! {
    static SOURCES: documents::Sources = documents::Sources::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    SOURCES.with(|sources| sources.check(bytes));
});
