//! The one place that knows bincode: records and registry rows as bytes.
//!
//! Integers and lengths take as many bytes as they need, trailing bytes are refused, and what is decoded is
//! bounded by the journal's own limit, so that a damaged length never asks for more memory than a record can
//! have. The first byte is the version of the encoding. Old versions decode for ever; in the first one integers
//! and lengths had a fixed width, which took a quarter of what is written for a usual delivery.

use std::sync::Arc;

use bincode::Options as _;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::journal::PAYLOAD_BYTES_MAX;
use crate::model::Job;

use super::earlier::{EarlierRow, OrderedWebhook, PlainWebhook, TokenWebhook};
use super::record::{Record, Row};

/// What is written. Its form is that of version 2, with kinds of records and values that older programs do not know.
const VERSION: u8 = 5;
/// Webhooks have TLS settings and access tokens, and no more than that.
const TOKENS: u8 = 4;
/// Webhooks have an order, and no more than that.
const ORDERED: u8 = 3;
/// Fewer kinds of records and values.
const FEWER: u8 = 2;
/// Fixed widths.
const FIXED: u8 = 1;
/// The first byte of a varint that is followed by others; one below it is the number itself.
const VARINT_LONG: u8 = 251;

/// Bytes that are no record or row, or one of a newer version.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version.
    #[error("encoding version {0} is newer than this version of hookwheel reads")]
    Version(u8),
    /// Written by a newer version.
    #[error("a record of kind {0} is newer than this version of hookwheel reads")]
    Kind(u32),
    /// Not what it should be.
    #[error("not a valid record: {0}")]
    Invalid(#[from] bincode::Error),
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_varint_encoding()
        .with_big_endian()
        .with_limit(PAYLOAD_BYTES_MAX as u64)
        .reject_trailing_bytes()
}

fn fixed() -> impl bincode::Options {
    options().with_fixint_encoding()
}

/// Replaces what is in `to` with the record's bytes.
pub(super) fn encode_record(record: &Record, to: &mut Vec<u8>) -> Result<(), CodecError> {
    encode(record, to)
}

/// The record that `bytes` hold.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    let mut record = decode(bytes)?;
    if let Record::AcceptedTraced { event, trace, .. } = &mut record {
        Arc::make_mut(event).trace = Some(trace.clone());
    }
    Ok(record)
}

/// Whether a record is of a version and a kind that are known, without reading it.
pub(super) fn check_known(bytes: &[u8]) -> Result<(), CodecError> {
    let kind = match bytes.split_first() {
        Some((&(VERSION | TOKENS | ORDERED | FEWER), body)) => match body.first() {
            Some(kind) if *kind < VARINT_LONG => u32::from(*kind),
            Some(_) => u32::MAX,
            None => 0,
        },
        Some((&FIXED, body)) => body
            .first_chunk()
            .map_or(0, |kind| u32::from_be_bytes(*kind)),
        other => {
            return Err(CodecError::Version(
                other.map_or(0, |(version, _)| *version),
            ));
        }
    };
    if kind < kinds() {
        Ok(())
    } else {
        Err(CodecError::Kind(kind))
    }
}

/// How many kinds of records there are: asked of the type itself, so that no number has to be kept in step.
fn kinds() -> u32 {
    let mut kinds = Kinds(0);
    // It always ends with an error: it only listens to what the type asks for.
    let asked = Record::deserialize(&mut kinds);
    debug_assert!(asked.is_err() && kinds.0 > 0);
    kinds.0
}

/// Hears how many variants an enum has.
struct Kinds(u32);

impl<'de> Deserializer<'de> for &mut Kinds {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only an enum is listened to"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = u32::try_from(variants.len()).unwrap_or(u32::MAX);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The bytes of a registry row.
pub(super) fn encode_row(row: &Row) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode(row, &mut bytes)?;
    Ok(bytes)
}

/// The registry row that `bytes` hold.
pub(super) fn decode_row(bytes: &[u8]) -> Result<Row, CodecError> {
    match bytes.first() {
        Some(&(FEWER | FIXED)) => decode::<EarlierRow<PlainWebhook>>(bytes).map(Row::from),
        Some(&TOKENS) => decode::<EarlierRow<TokenWebhook>>(bytes).map(Row::from),
        Some(&ORDERED) => decode::<EarlierRow<OrderedWebhook>>(bytes).map(Row::from),
        _ => decode(bytes),
    }
}

/// The bytes of a job.
pub(super) fn encode_job(job: &Job) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode(job, &mut bytes)?;
    Ok(bytes)
}

/// The job that `bytes` hold.
pub(super) fn decode_job(bytes: &[u8]) -> Result<Job, CodecError> {
    decode(bytes)
}

fn encode(value: &impl Serialize, to: &mut Vec<u8>) -> Result<(), CodecError> {
    to.clear();
    to.push(VERSION);
    Ok(options().serialize_into(to, value)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&(VERSION | TOKENS | ORDERED | FEWER), body)) => Ok(options().deserialize(body)?),
        Some((&FIXED, body)) => Ok(fixed().deserialize(body)?),
        Some((version, _)) => Err(CodecError::Version(*version)),
        None => Err(CodecError::Version(0)),
    }
}
