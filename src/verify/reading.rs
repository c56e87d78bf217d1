//! Header values, read backwards along the templates that they were written with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::profile::{Field, Piece, Template};

/// What header values say, field by field.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    fields: Vec<(Field, String)>,
}

impl Reading {
    /// Reads `value` as something that `template` wrote, with a signature of `bytes` bytes; `None` where it
    /// cannot be.
    pub(super) fn of(template: &Template, value: &str, bytes: usize) -> Option<Self> {
        let mut reading = Self::default();
        let mut rest = value;
        let mut pieces = template.pieces().iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Field(field) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => rest.find(text.as_str())?,
                        Some(Piece::Field(_)) => return None, // nothing parts the two
                        None => rest.len(),
                    };
                    let (text, behind) = rest.split_at(end);
                    if !has_form(*field, text, bytes) {
                        return None;
                    }
                    reading.fields.push((*field, text.to_owned()));
                    rest = behind;
                }
            }
        }
        rest.is_empty().then_some(reading)
    }

    /// Takes over what `other` says and this does not.
    pub(super) fn add(&mut self, other: Self) {
        for (field, text) in other.fields {
            if self.text(field).is_none() {
                self.fields.push((field, text));
            }
        }
    }

    /// A field's text.
    pub(super) fn text(&self, field: Field) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| *name == field);
        found.map(|(_, text)| text.as_str())
    }

    /// The signature's bytes.
    pub(super) fn signature(&self) -> Option<Vec<u8>> {
        if let Some(hex) = self.text(Field::Hex) {
            return unhex(hex);
        }
        STANDARD.decode(self.text(Field::Base64)?).ok()
    }

    /// The time, whole seconds since 1970.
    pub(super) fn timestamp_s(&self) -> Option<u64> {
        self.text(Field::Timestamp)?.parse().ok()
    }
}

/// A template for people: placeholders in angle brackets.
pub(super) fn form(template: &Template) -> String {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Field(field) => format!("<{}>", field.name()),
    };
    template.pieces().iter().map(part).collect()
}

fn has_form(field: Field, text: &str, signature_bytes: usize) -> bool {
    match field {
        Field::Timestamp | Field::Attempt | Field::Retry => {
            text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
        }
        Field::Hex => unhex(text).is_some_and(|bytes| bytes.len() == signature_bytes),
        Field::Base64 => STANDARD
            .decode(text)
            .is_ok_and(|bytes| bytes.len() == signature_bytes),
        Field::Id | Field::Type => !text.is_empty(),
        Field::Body => false,
    }
}

/// Lower-case digits only: receivers compare the text, so capitals would not pass with them.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
