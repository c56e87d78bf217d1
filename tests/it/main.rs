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
mod clock;
mod commands;
mod config;
mod contract;
mod delivery;
mod filters;
mod formats;
mod kill;
mod ledger;
mod listen;
mod lists;
mod migration;
mod misbehave;
mod nth;
mod outside;
mod power;
mod refusals;
mod rotation;
mod rude;
mod shim;
mod stop;
mod support;
mod table;
mod tidy;
mod web;
