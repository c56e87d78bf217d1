//! JSON pointers (RFC 6901): a place in an event's `data`, found in its text.
//!
//! As the text is in the stable form of [`super::ecma`], a value has one spelling there, but for the order of an
//! object's members: two values are the same if their texts are.

use super::raw::{Parts, find};

/// The longest pointer, bytes.
const BYTES_MAX: usize = 200;

/// A place in a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It is empty, which is the whole value.
    #[error("is empty, which is the whole of `data`; name a place in it, such as \"/customer/id\"")]
    Whole,
    /// It does not begin with a slash.
    #[error("does not begin with `/`; write a JSON pointer into `data`, such as \"/customer/id\"")]
    Slash,
    /// It has a tilde that escapes nothing.
    #[error("has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`)")]
    Tilde,
    /// It is too long.
    #[error("is over {BYTES_MAX} bytes")]
    Long,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// [`PointerError`], which says how to write it.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.len() > BYTES_MAX {
            return Err(PointerError::Long);
        }
        if text.is_empty() {
            return Err(PointerError::Whole);
        }
        let steps = text.strip_prefix('/').ok_or(PointerError::Slash)?;
        let steps = steps.split('/').map(step);
        steps.collect::<Result<_, _>>().map(Self)
    }

    /// The text of the value at this place of `data`; `None` where there is none.
    #[must_use]
    pub fn find<'a>(&self, data: &'a str) -> Option<&'a str> {
        self.0.iter().try_fold(data, |value, step| {
            if value.starts_with('[') {
                let at = index(step)?;
                Parts::of(value).nth(at).map(|(_, element)| element)
            } else {
                find(value, std::slice::from_ref(step))
            }
        })
    }
}

/// One step without its escapes.
fn step(text: &str) -> Result<String, PointerError> {
    let mut parts = text.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (None, Some(rest)) => ('/', rest),
            (None, None) => return Err(PointerError::Tilde),
        };
        plain.push(escaped);
        plain.push_str(rest);
    }
    Ok(plain)
}

/// An array's index: digits, and no zero before others.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (step == "0" || !step.starts_with('0'));
    plain.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_examples_of_the_rfc() {
        let data = r##"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"k\"l":6," ":7,"m~n":8,"a":{"b":[{"c":null}]}}"##;
        for (pointer, found) in [
            ("/foo", Some(r#"["bar","baz"]"#)),
            ("/foo/0", Some("\"bar\"")),
            ("/foo/00", None),
            ("/foo/2", None),
            ("/foo/-", None),
            ("/foo/+1", None),
            ("/foo/99999999999999999999", None),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/a/b/0/c", Some("null")),
            ("/a/b/0/c/d", None),
            ("/nowhere/x", None),
        ] {
            assert_eq!(
                Pointer::parse(pointer).unwrap().find(data),
                found,
                "{pointer}"
            );
        }
        assert_eq!(Pointer::parse("/a").unwrap().find("\"text\""), None);
    }

    #[test]
    fn refuses_what_is_no_pointer() {
        let long = format!("/{}", "x".repeat(BYTES_MAX));
        for (text, error) in [
            ("", PointerError::Whole),
            ("customer/id", PointerError::Slash),
            ("/a~2", PointerError::Tilde),
            ("/a~", PointerError::Tilde),
            (long.as_str(), PointerError::Long),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_another_reader(text in "(/[a-b0-1~]{0,2}){1,3}") {
            let data = r#"{"a":{"b":[0,[1,2],{"1":3}],"0":"x"},"b":[[4],{"a":5}],"":{"":6},"1":7,"~":8}"#;
            let tree: serde_json::Value = serde_json::from_str(data).unwrap();
            if let Ok(pointer) = Pointer::parse(&text) {
                let found = pointer.find(data).map(str::to_owned);
                prop_assert_eq!(found, tree.pointer(&text).map(ToString::to_string));
            }
        }
    }
}
