//! The integration tests: what an operator, a client or a receiver would see, and the rules of the source.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "clippy.toml frees tests of these, but not the helper functions beside them"
)]

mod api;
mod backup;
mod commands;
mod config;
mod contract;
mod delivery;
mod doctor;
mod filters;
mod formats;
mod kill;
mod listen;
mod lists;
mod migration;
mod misbehave;
mod outside;
mod refusals;
mod repair;
mod rotation;
mod rude;
mod stop;
mod support;
mod table;
mod tidy;
mod upgrade;
mod web;
