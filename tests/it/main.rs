//! The integration tests: what an operator, a client or a receiver would see, and the rules of the source.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "clippy.toml frees tests of these, but not the helper functions beside them"
)]

mod alerts;
mod api;
mod attempts;
mod audit;
mod backup;
mod bad_inputs;
mod browser;
mod chaos;
mod client;
mod clock;
mod commands;
mod config;
mod contract;
mod declared;
mod delivery;
mod dice;
mod doctor;
mod documented;
mod egress;
mod explain;
mod filters;
mod flips;
mod flood;
mod formats;
mod full_disk;
mod hangups;
mod hogs;
mod hold;
mod kill;
mod ledger;
mod limits;
mod listen;
mod lists;
mod live;
mod log;
mod migration;
mod misbehave;
mod monitoring;
mod nth;
mod oauth;
mod openapi;
mod order;
mod otlp;
mod outside;
mod pace;
mod power;
mod progress;
mod refusals;
mod repair;
mod replay;
mod rotation;
mod rude;
mod schemas;
mod sealed;
mod server_tls;
mod setup;
mod shim;
mod siege;
mod stats;
mod stop;
mod supervised;
mod support;
mod table;
mod tidy;
mod traces;
mod upgrade;
mod verifier;
mod web;
