//! The Rust verifiers, as generated: never edited by hand.

#[rustfmt::skip]
pub mod anomalyarmor;
#[rustfmt::skip]
pub mod dataflow;
#[rustfmt::skip]
pub mod driftguard;
#[rustfmt::skip]
pub mod driftlock;
#[rustfmt::skip]
pub mod flock;
#[rustfmt::skip]
pub mod odd;
#[rustfmt::skip]
pub mod odd_key;
#[rustfmt::skip]
pub mod signed_by_both;
#[rustfmt::skip]
pub mod signed_by_key;
#[rustfmt::skip]
pub mod standard;
