//! Hookwheel: a webhook delivery daemon in one binary.
//!
//! A product posts an event once; Hookwheel stores it durably, signs it, delivers it over HTTPS to every
//! registered webhook that wants it, and retries on a timer wheel until it arrives or the schedule ends.
//! `ARCHITECTURE.md` describes the floors, the invariants and the data's way.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dashboard;
pub mod demo;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inspect;
pub mod journal;
pub mod metrics;
pub mod model;
pub mod profile;
pub mod receiver;
pub mod render;
pub mod retention;
pub mod sender;
pub mod sign;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod upkeep;
pub mod vault;
pub mod verify;
pub mod wheel;
