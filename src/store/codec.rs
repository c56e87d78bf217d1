//! The one place that knows bincode: records and registry rows as bytes.
//!
//! Integers have a fixed width and are big-endian, trailing bytes are refused, and what is decoded is bounded
//! by the journal's own limit, so that a damaged length never asks for more memory than a record can have.
//! The first byte is the version of the encoding. Old versions decode for ever.

use bincode::Options as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journal::PAYLOAD_BYTES_MAX;

use super::record::{Record, Row};

const VERSION: u8 = 1;

/// Bytes that are no record or row, or one of a newer version.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version.
    #[error("encoding version {0} is newer than this version of hookwheel reads")]
    Version(u8),
    /// Not what it should be.
    #[error("not a valid record: {0}")]
    Invalid(#[from] bincode::Error),
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_big_endian()
        .with_limit(PAYLOAD_BYTES_MAX as u64)
        .reject_trailing_bytes()
}

/// Replaces what is in `to` with the record's bytes.
pub(super) fn encode_record(record: &Record, to: &mut Vec<u8>) -> Result<(), CodecError> {
    encode(record, to)
}

/// The record that `bytes` hold.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    decode(bytes)
}

/// The bytes of a registry row.
pub(super) fn encode_row(row: &Row) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode(row, &mut bytes)?;
    Ok(bytes)
}

/// The registry row that `bytes` hold.
pub(super) fn decode_row(bytes: &[u8]) -> Result<Row, CodecError> {
    decode(bytes)
}

fn encode(value: &impl Serialize, to: &mut Vec<u8>) -> Result<(), CodecError> {
    to.clear();
    to.push(VERSION);
    Ok(options().serialize_into(to, value)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(options().deserialize(body)?),
        Some((version, _)) => Err(CodecError::Version(*version)),
        None => Err(CodecError::Version(0)),
    }
}
