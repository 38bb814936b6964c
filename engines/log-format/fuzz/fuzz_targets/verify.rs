//! See `checks/verify.rs`.
#![no_main]

#[path = "../checks/verify.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check(bytes));
