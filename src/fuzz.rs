//! What holds for any bytes: one trial for each place where the daemon reads what others wrote.
//!
//! A trial takes bytes, gives them to the real code, and panics where something does not hold; what each of them
//! asserts stands above it. The targets in `fuzz/` run them on bytes that a fuzzer makes up, and the tests of this
//! module on the seeds in `fuzz/seeds`, so no trial can fall behind the code. Compiled for these two only. What a
//! trial needs of a private module stands in that module's own `fuzz`.

mod address;
mod contract;
mod json;
mod operator;
#[cfg(test)]
mod tests;

/// Gives some bytes to the code under trial.
pub type Trial = fn(&[u8]);

/// Every trial by its name, which is that of its target and of its seeds' directory.
pub const TRIALS: [(&str, Trial); 17] = [
    ("address", address::address),
    ("certificate", contract::certificate),
    ("config", operator::config),
    ("fields", crate::api::fuzz::fields),
    ("filter", json::filter),
    ("frames", crate::journal::fuzz::frames),
    ("header", contract::header),
    ("json", json::json),
    ("pointer", json::pointer),
    ("profile", operator::profile),
    ("record", crate::store::fuzz::record),
    ("retry_after", crate::engine::fuzz::retry_after),
    ("schema", json::schema),
    ("template", operator::template),
    ("times", operator::times),
    ("url", address::url),
    ("verify", contract::verify),
];

/// Runs one trial by its name.
///
/// # Panics
/// Where something does not hold, and where there is no such trial.
pub fn run(name: &str, bytes: &[u8]) {
    let trial = TRIALS.iter().find(|(known, _)| *known == name);
    let (_, trial) = trial.expect("each target is named for its trial; a test holds that");
    trial(bytes);
}

/// Bytes as text, where they are one.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Two texts with a zero byte between, which neither of them has.
fn two(bytes: &[u8]) -> Option<(&str, &str)> {
    text(bytes)?.split_once('\0')
}
