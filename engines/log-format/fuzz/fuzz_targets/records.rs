//! See `checks/records.rs`.
#![no_main]

#[path = "../checks/records.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
