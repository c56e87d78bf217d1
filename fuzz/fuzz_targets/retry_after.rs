//! The target of the trial `retry_after`; see `hookwheel::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hookwheel::fuzz::run("retry_after", bytes));
