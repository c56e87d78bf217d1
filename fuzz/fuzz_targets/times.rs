//! The target of the trial `times`; see `hookwheel::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hookwheel::fuzz::run("times", bytes));
