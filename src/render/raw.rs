//! Parts of a JSON text, found by their spans: nothing is decoded that nobody asks for, and what is
//! passed on keeps its bytes.
//!
//! The text is an event's `data` or `metadata`, which were brought into their stable form at intake. On
//! any other text these functions return some part of it or nothing; they do not panic.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::ecma;

/// The value at the path `keys` inside the JSON value `text`, as its text.
pub(super) fn find<'a>(text: &'a str, keys: &[String]) -> Option<&'a str> {
    keys.iter().try_fold(text, |value, key| member(value, key))
}

/// The text of a JSON string without its quotes and escapes; `None` for any other value, and for a
/// string with lone surrogates, which Unicode text cannot hold.
pub(super) fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut wanted = String::with_capacity(key.len() + 2);
    ecma::quote(key, &mut wanted); // the stable form has one spelling for each key
    Parts::of(object)
        .find(|(name, _)| *name == Some(wanted.as_str()))
        .map(|(_, value)| value)
}

/// The members of an object (key with quotes, value) or the elements of an array (no key).
pub(super) struct Parts<'a> {
    text: &'a str,
    pos: usize,
    object: bool,
}

impl<'a> Parts<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let object = text.starts_with('{');
        let pos = if object || text.starts_with('[') {
            1
        } else {
            text.len()
        };
        Self { text, pos, object }
    }

    /// The value that starts at `pos`; moves behind it.
    fn value(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.pos..)?;
        let length = value_length(rest.as_bytes());
        self.pos += length;
        rest.get(..length).filter(|value| !value.is_empty())
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (Option<&'a str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let key = if self.object {
            let key = self.value()?;
            self.pos += 1; // the colon
            Some(key)
        } else {
            None
        };
        let value = self.value()?;
        self.pos += 1; // the comma, or the end
        Some((key, value))
    }
}

/// How many bytes the JSON value at the start of `bytes` has.
pub(super) fn value_length(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += string_length(bytes.get(at..).unwrap_or_default());
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// An array or object inside an event, or a scalar that only its text can hold: for templates.
#[derive(Clone)]
pub(super) struct Raw {
    text: Arc<str>,
    from: usize,
    to: usize,
}

impl Raw {
    /// The template value of a whole JSON text.
    pub(super) fn whole(text: &str) -> Value {
        Self {
            text: Arc::from(text),
            from: 0,
            to: text.len(),
        }
        .into_value()
    }

    /// The JSON text.
    pub(super) fn as_str(&self) -> &str {
        self.text.get(self.from..self.to).unwrap_or_default()
    }

    /// The members of an object, each key with its quotes taken off; none of any other value.
    pub(super) fn members(self: &Arc<Self>) -> impl Iterator<Item = (Cow<'_, str>, Value)> {
        Parts::of(self.as_str()).filter_map(|(key, value)| Some((string(key?)?, self.part(value))))
    }

    /// A native value where it prints as the same text, so that templates can compare and join it.
    fn into_value(self) -> Value {
        let text = self.as_str();
        match text.as_bytes().first() {
            Some(b'"') => string(text).map(|text| Value::from(text.as_ref())),
            Some(b't') => Some(Value::from(true)),
            Some(b'f') => Some(Value::from(false)),
            Some(b'n') => Some(Value::from(())),
            Some(b'-' | b'0'..=b'9') => number(text),
            _ => None,
        }
        .unwrap_or_else(|| Value::from_object(self))
    }

    /// The template value of `part`, which is a slice of this text: its place in it is all that is kept.
    fn part(&self, part: &str) -> Value {
        let offset = part.as_ptr().addr() - self.text.as_ptr().addr();
        Self {
            text: Arc::clone(&self.text),
            from: offset,
            to: offset + part.len(),
        }
        .into_value()
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(integer) = text.parse::<i64>() {
        return (integer.to_string() == text).then(|| Value::from(integer));
    }
    let double: f64 = text.parse().ok()?;
    let same = ryu_js::Buffer::new().format(double) == text;
    same.then(|| Value::from(double))
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.to - self.from)
    }
}

impl Object for Raw {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.as_str().as_bytes().first() {
            Some(b'{') => ObjectRepr::Map,
            Some(b'[') => ObjectRepr::Seq,
            _ => ObjectRepr::Plain,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if let Some(name) = key.as_str() {
            return self.get_value_by_str(name);
        }
        let (name, element) = Parts::of(self.as_str()).nth(key.as_usize()?)?;
        name.is_none().then(|| self.part(element))
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        member(self.as_str(), key).map(|value| self.part(value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let parts = Parts::of(self.as_str());
        match self.repr() {
            ObjectRepr::Map => Enumerator::Values(
                parts
                    .filter_map(|(key, _)| string(key?).map(|key| Value::from(key.as_ref())))
                    .collect(),
            ),
            ObjectRepr::Seq => Enumerator::Values(parts.map(|(_, e)| self.part(e)).collect()),
            _ => Enumerator::NonEnumerable,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !matches!(self.as_str(), "{}" | "[]")
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn finds_parts_as_they_are_written() {
        let text = r#"{"a":{"b":[1,{"c":"x}]\"y"}],"é\n":1e400},"z":"","n":null}"#;
        assert_eq!(find(text, &path("a.b")), Some(r#"[1,{"c":"x}]\"y"}]"#));
        assert_eq!(find(text, &path("a.é\n")), Some("1e400"));
        assert_eq!(find(text, &path("z")), Some("\"\""));
        assert_eq!(find(text, &path("n")), Some("null"));
        assert_eq!(find(text, &path("a.b.c")), None);
        assert_eq!(find(text, &path("n.x")), None);
        assert_eq!(find(text, &path("b")), None);
        assert_eq!(find("{}", &path("b")), None);
        assert_eq!(string(r#""a\"b""#).unwrap(), "a\"b");
        assert_eq!(string(r#""\ud800""#), None);
        assert_eq!(string("1"), None);
    }

    proptest! {
        #[test]
        fn finds_each_member_of_any_object(
            members in prop::collection::btree_map("[a-z\"\\\\\u{e9}\n]{1,5}", any::<String>(), 0..10)
        ) {
            let text = ecma::normalise(&serde_json::to_string(&members).unwrap()).unwrap().text;
            for (key, value) in &members {
                let found = find(&text, std::slice::from_ref(key)).and_then(string);
                prop_assert_eq!(found.as_deref(), Some(value.as_str()));
            }
        }

        #[test]
        fn does_not_panic_on_any_text(text in "[\\[{\"a\\\\:,}\\]\u{e9}]{0,30}") {
            let found = find(&text, &["a".to_owned()]);
            prop_assert!(found.is_none_or(|part| text.contains(part)));
            let whole = Raw::whole(&text);
            let listed = whole.try_iter().map_or(0, Iterator::count);
            prop_assert!(listed <= text.len());
        }
    }
}
