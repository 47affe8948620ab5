//! Arbitrary bytes as datagrams of gossip: see `opening::check`.

#![no_main]

#[path = "../opening.rs"]
mod opening;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| opening::check(bytes));
