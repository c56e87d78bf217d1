//! Templates of one line, for headers and signatures: text with `{field}` placeholders.

use std::fmt::Write as _;

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `{id}`: the event's id.
    Id,
    /// `{timestamp}`: the time of this attempt, whole seconds since 1970.
    Timestamp,
    /// `{type}`: the event's type.
    Type,
    /// `{attempt}`: the attempt's number, from 1.
    Attempt,
    /// `{retry}`: the number of the retry, from 1. The first attempt is none: it has no header with this.
    Retry,
    /// `{body}`: the bytes of the body.
    Body,
    /// `{hex}`: the signature in lower-case hexadecimal.
    Hex,
    /// `{base64}`: the signature in base64 (RFC 4648, 4, with padding).
    Base64,
}

impl Field {
    /// Its name between the braces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Type => "type",
            Self::Attempt => "attempt",
            Self::Retry => "retry",
            Self::Body => "body",
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// A placeholder.
    Field(Field),
}

/// A template, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Parses `text`, in which the placeholders of `fields` may stand.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what can be used.
    pub fn parse(text: &str, fields: &[Field]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err(format!("`{text}` has a `{{` without its `}}`"));
            };
            let Some(field) = fields.iter().copied().find(|f| f.name() == name) else {
                return Err(format!(
                    "`{{{name}}}` is unknown here; use {}",
                    names(fields)
                ));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Field(field));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Its parts in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// How often `field` stands in it.
    #[must_use]
    pub fn count(&self, field: Field) -> usize {
        let wanted = Piece::Field(field);
        self.0.iter().filter(|piece| **piece == wanted).count()
    }

    /// Whether the template is the same for every event.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }
}

fn names(fields: &[Field]) -> String {
    let mut out = String::new();
    for (at, field) in fields.iter().enumerate() {
        let before = match at {
            0 => "",
            _ if at + 1 == fields.len() => " or ",
            _ => ", ",
        };
        write!(out, "{before}{{{}}}", field.name()).expect("writing to a String does not fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn its_pieces_make_up_the_text(text in "(a|[{}]|\\{id\\}|\\{body\\}|é| ){0,12}") {
            let fields = [Field::Id, Field::Body];
            if let Ok(template) = Template::parse(&text, &fields) {
                let part = |piece: &Piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Field(field) => ["{", field.name(), "}"].concat(),
                };
                prop_assert_eq!(template.pieces().iter().map(part).collect::<String>(), text);
            } else {
                prop_assert!(text.contains('{'), "refused: {}", text);
            }
        }
    }

    #[test]
    fn splits_text_from_placeholders() {
        let fields = [Field::Timestamp, Field::Body];
        let template = Template::parse("t={timestamp}.{body}!", &fields).unwrap();
        let expected = [
            Piece::Text("t=".to_owned()),
            Piece::Field(Field::Timestamp),
            Piece::Text(".".to_owned()),
            Piece::Field(Field::Body),
            Piece::Text("!".to_owned()),
        ];
        assert_eq!(template.pieces(), expected);
        assert_eq!(template.count(Field::Body), 1);
        assert!(!template.is_constant());
        assert!(Template::parse("plain", &fields).unwrap().is_constant());
    }

    #[test]
    fn names_what_can_be_used_instead() {
        let error = Template::parse("{nonce}", &[Field::Id, Field::Body]).unwrap_err();
        assert_eq!(error, "`{nonce}` is unknown here; use {id} or {body}");
        assert!(
            Template::parse("{id", &[Field::Id])
                .unwrap_err()
                .contains("without")
        );
    }
}
