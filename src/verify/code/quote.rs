//! How texts and patterns are written down in other languages. It knows nothing of signatures.

use std::fmt::Write as _;

use super::Language;
use crate::profile::{Field, Piece, Template};

/// A text as a literal.
pub(super) fn text(language: Language, text: &str) -> String {
    let is_plain = text.chars().all(|letter| !letter.is_control());
    // Nothing but these two means anything between such quotes.
    if language == Language::Php && is_plain {
        return format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    }
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => literal.extend(['\\', letter]),
            '#' if language == Language::Ruby => literal.push_str("\\#"),
            '$' if language == Language::Php => literal.push_str("\\$"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            control if control.is_control() => {
                let code = u32::from(control);
                let written = match language {
                    Language::Rust if code < 0x80 => write!(literal, "\\x{code:02x}"),
                    Language::Rust | Language::Php => write!(literal, "\\u{{{code:x}}}"),
                    _ => write!(literal, "\\u{code:04x}"),
                };
                written.expect("a String takes what it is given");
            }
            letter => literal.push(letter),
        }
    }
    literal.push('"');
    literal
}

/// A text that stands in a comment.
pub(super) fn comment(language: Language, text: &str) -> String {
    let plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    match language {
        Language::Php => plain.replace("*/", "* /"),
        // There it is a docstring.
        Language::Python => plain.replace('\\', "\\\\").replace('"', "\\\""),
        _ => plain,
    }
}

/// The name of a field's group.
pub(super) const fn group_name(field: Field) -> &'static str {
    match field {
        Field::Hex | Field::Base64 => "signature",
        field => field.name(),
    }
}

/// A regular expression for what a template writes, without anchors. What is `wanted` becomes a group, once; a
/// signature has so many `bytes`.
pub(super) fn pattern(
    language: Language,
    template: &Template,
    (taken, bytes): (&mut Vec<Field>, usize),
    wanted: impl Fn(Field) -> bool,
) -> String {
    let mut pattern = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Text(text) => pattern.push_str(&literally(language, text)),
            Piece::Field(field) => {
                let form = form(language, *field, bytes);
                if wanted(*field) && !taken.contains(field) {
                    taken.push(*field);
                    let name = group_name(*field);
                    pattern.push_str(&match language {
                        Language::Python => format!("(?P<{name}>{form})"),
                        Language::Go => format!("({form})"),
                        _ => format!("(?<{name}>{form})"),
                    });
                } else {
                    pattern.push_str(&form);
                }
            }
        }
    }
    pattern
}

fn form(language: Language, field: Field, bytes: usize) -> String {
    match field {
        Field::Timestamp => "[0-9]{1,12}".to_owned(),
        Field::Attempt | Field::Retry => "[0-9]+".to_owned(),
        Field::Id => "[A-Za-z0-9_-]+".to_owned(),
        Field::Hex => format!("[0-9a-f]{{{}}}", bytes * 2),
        Field::Base64 => {
            let digits = (bytes * 8).div_ceil(6);
            let padding = "=".repeat((3 - bytes % 3) % 3);
            format!("[A-Za-z0-9+{}]{{{digits}}}{padding}", slash(language))
        }
        Field::Type | Field::Body => ".+".to_owned(),
    }
}

/// Where an expression stands between slashes, one inside is escaped.
const fn slash(language: Language) -> &'static str {
    match language {
        Language::Node | Language::Php | Language::Ruby => "\\/",
        Language::Python | Language::Go | Language::Rust => "/",
    }
}

fn literally(language: Language, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '/' => escaped.push_str(slash(language)),
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$'
            | '#' => {
                escaped.extend(['\\', letter]);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A pattern as it stands in a program, with its anchors where the language's way to match needs them. Headers are
/// printable ASCII, so there is nothing else in it.
pub(super) fn as_literal(language: Language, pattern: &str) -> String {
    match language {
        // Between slashes in the template, where the anchors stand, too.
        Language::Node | Language::Ruby => pattern.to_owned(),
        Language::Python if !pattern.contains('"') => format!("r\"{pattern}\""),
        Language::Go if !pattern.contains('`') => format!("`^{pattern}$`"),
        Language::Go => text(language, &format!("^{pattern}$")),
        Language::Php => text(language, &format!("/\\A{pattern}\\z/")),
        Language::Python | Language::Rust => text(language, pattern),
    }
}

/// The statements that read a value along a template in Rust, which has no regular expressions of its own.
pub(super) fn rust_steps(template: &Template, wanted: impl Fn(Field) -> bool) -> Vec<String> {
    let (mut steps, mut rest) = (Vec::new(), "value");
    let mut named = Vec::new();
    let mut pieces = template.pieces().iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Text(text) => {
                let text = self::text(Language::Rust, text);
                steps.push(format!("let rest = {rest}.strip_prefix({text})?;"));
                rest = "rest";
            }
            Piece::Field(field) => {
                let is_new = wanted(*field) && !named.contains(field);
                named.push(*field);
                let name = if is_new { group_name(*field) } else { "_" };
                match pieces.peek() {
                    Some(Piece::Text(text)) => {
                        let is_last = template.pieces().last() == Some(&Piece::Text(text.clone()));
                        let text = self::text(Language::Rust, text);
                        pieces.next();
                        if is_last && pieces.peek().is_none() {
                            steps.push(format!("let {name} = {rest}.strip_suffix({text})?;"));
                        } else {
                            steps.push(format!("let ({name}, rest) = {rest}.split_once({text})?;"));
                        }
                        rest = "rest";
                    }
                    _ if is_new => steps.push(format!("let {name} = {rest};")),
                    _ => {}
                }
            }
        }
    }
    steps
}

/// Without lines that hold only spaces, without more than two empty ones in a row, and with one line end at the end.
pub(super) fn tidy(text: &str) -> String {
    let (mut tidied, mut empty) = (String::with_capacity(text.len()), 0);
    for line in text.lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty <= 2 {
            tidied.push_str(line);
            tidied.push('\n');
        }
    }
    tidied.truncate(tidied.trim_end().len());
    tidied.push('\n');
    tidied
}
