//! Arbitrary bytes as a segment of the spool: see `reading::check`.

#![no_main]

#[path = "../reading.rs"]
mod reading;

thread_local! {
    static DIRECTORY: reading::Directory = reading::Directory::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| DIRECTORY.with(|directory| directory.check(bytes)));
