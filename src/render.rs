//! From an event to the bytes of a request's body, and from a subscription to the events it gets.
//!
//! [`ecma`] gives JSON the one form that survives `JSON.stringify(JSON.parse(body))`; [`Envelope`] is a
//! profile's body template, [`Formats`] are those that a webhook may name instead; [`pattern`] matches event
//! types, [`filter`] whole events, [`Pointer`] finds a place in one. Nothing here signs, sends or reads a clock.
//! Invariant: a value that a product posted reaches the receiver unaltered.

pub mod ecma;
mod envelope;
pub mod filter;
mod format;
pub mod pattern;
mod pointer;
mod raw;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use envelope::{Envelope, EnvelopeError, RenderError, example};
pub use format::{Format, FormatError, Formats, RawFormat};
pub use pointer::{Pointer, PointerError};

use crate::profile::{ProfileError, Profiles};

/// Compiles the envelope of every profile, by the profile's name.
///
/// # Errors
/// What is wrong with each template, at its place in the operator's text.
pub fn compile_all(profiles: &Profiles) -> Result<BTreeMap<String, Envelope>, Vec<ProfileError>> {
    let mut envelopes = BTreeMap::new();
    let mut errors = Vec::new();
    for profile in profiles.iter() {
        match Envelope::compile(profile) {
            Ok(envelope) => {
                envelopes.insert(profile.name.clone(), envelope);
            }
            Err(error) => errors.push(ProfileError {
                profile: profile.name.clone(),
                span: profile.body_span.clone(),
                message: error.to_string(),
            }),
        }
    }
    if errors.is_empty() {
        Ok(envelopes)
    } else {
        Err(errors)
    }
}
