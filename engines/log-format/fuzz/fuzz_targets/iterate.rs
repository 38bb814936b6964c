//! See `checks/iterate.rs`.
#![no_main]

#[path = "../checks/iterate.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
