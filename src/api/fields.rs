//! Reading a JSON object field by field, so that one answer names every field at fault.
//!
//! Values are taken as raw text first: an event's `data` is never parsed into a tree, and a field's error
//! points at that field.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::UnixMicros;

use super::error::{FieldError, Problem};

/// Fields at fault that one answer names: nobody mends more at once, and a small body must not make a large answer.
const FAULTS_MAX: usize = 100;

/// The members of one JSON object, taken one by one.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// At most [`FAULTS_MAX`].
    errors: Vec<FieldError>,
    /// How many more there are.
    more: usize,
}

impl<'a> Fields<'a> {
    /// Reads an object; its values are not looked into yet.
    ///
    /// # Errors
    /// 400 `json_invalid` with line and column where the text is not one JSON object.
    pub(super) fn parse(text: &'a str) -> Result<Self, Problem> {
        let mut from = serde_json::Deserializer::from_str(text);
        let members = from.deserialize_map(Members).and_then(|members| {
            from.end()?;
            Ok(members)
        });
        let members = members.map_err(|error| {
            let detail = format!("the body is not a JSON object: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "json_invalid", detail)
        })?;
        let mut fields = Self {
            members,
            errors: Vec::new(),
            more: 0,
        };
        fields.refuse_repeated();
        Ok(fields)
    }

    fn refuse_repeated(&mut self) {
        let mut names: Vec<&str> = self.members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let mut repeated: Vec<String> = names
            .windows(2)
            .filter_map(|pair| match pair {
                [a, b] if a == b => Some((*a).to_owned()),
                _ => None,
            })
            .collect();
        repeated.dedup();
        for name in repeated {
            self.refuse(&name, "is given more than once");
        }
    }

    /// The names of the members that are not yet taken.
    pub(super) fn names(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// Whether a member is there and not yet taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member == name)
    }

    /// Takes a member as raw JSON text; `None` where absent.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a str> {
        let mut found = None;
        self.members.retain(|(member, value)| {
            let hit = member == name;
            if hit {
                found = Some(value.get());
            }
            !hit
        });
        found
    }

    /// Takes a member as a `T`. `None`: absent, or wrong (then it is noted). `Some(None)`: null.
    pub(super) fn nullable<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Option<Option<T>> {
        let raw = self.raw(name)?;
        match serde_json::from_str(raw) {
            Ok(value) => Some(value),
            Err(_) => {
                self.refuse(name, format!("must be {expected}"));
                None
            }
        }
    }

    /// Takes a member as a time; null is none.
    pub(super) fn time(&mut self, name: &str) -> Option<UnixMicros> {
        let text: String = self.nullable(name, "an RFC 3339 time").flatten()?;
        let at = UnixMicros::parse(&text);
        at.map_err(|why| self.refuse(name, why.to_string())).ok()
    }

    /// Takes a member as a `T`; null is wrong.
    pub(super) fn value<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        match self.nullable(name, expected)? {
            Some(value) => Some(value),
            None => {
                self.refuse(name, format!("must be {expected}, not null"));
                None
            }
        }
    }

    /// Takes a member that is an object, to be read field by field and given back to [`Fields::close`].
    /// `None`: absent, or wrong (then it is noted). `Some(None)`: null.
    pub(super) fn object(&mut self, name: &str, expected: &str) -> Option<Option<Self>> {
        let raw = self.raw(name)?;
        if raw == "null" {
            return Some(None);
        }
        match Self::parse(raw) {
            Ok(inner) => Some(Some(inner)),
            Err(_) => {
                self.refuse(name, format!("must be {expected}"));
                None
            }
        }
    }

    /// Ends the reading of a member taken with [`Fields::object`]; what is wrong with it is noted here.
    pub(super) fn close(&mut self, name: &str, mut inner: Self, known: &str) {
        inner.refuse_unknown(known);
        self.more += inner.more;
        for error in inner.errors {
            let pointer = format!("/{name}{}", error.pointer);
            self.note(|| FieldError { pointer, ..error });
        }
    }

    /// Takes a member that must be there.
    pub(super) fn required<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Option<T> {
        if self.has(name) {
            return self.value(name, expected);
        }
        self.refuse_as("missing", name, format!("is missing: give {expected}"));
        None
    }

    /// Notes that a field is wrong.
    pub(super) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.refuse_as("invalid", name, detail);
    }

    /// Notes that a field is wrong, with a code of its own. `path` is a member's name, or a path of
    /// several joined by `/`.
    pub(super) fn refuse_as(&mut self, code: &'static str, path: &str, detail: impl Into<String>) {
        self.note(|| FieldError {
            pointer: format!("/{path}"),
            code,
            detail: detail.into(),
        });
    }

    fn note(&mut self, error: impl FnOnce() -> FieldError) {
        if self.errors.len() < FAULTS_MAX {
            self.errors.push(error());
        } else {
            self.more += 1;
        }
    }

    /// Ends the reading: every member that nobody took is unknown.
    ///
    /// # Errors
    /// 400 with all the fields at fault.
    pub(super) fn finish(mut self, known: &str) -> Result<(), Problem> {
        self.refuse_unknown(known);
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::some_fields(self.errors, self.more))
        }
    }

    fn refuse_unknown(&mut self, known: &str) {
        for (name, _) in std::mem::take(&mut self.members) {
            let pointer = name.replace('~', "~0").replace('/', "~1");
            let detail = format!("is not known here; the fields are: {known}");
            self.refuse_as("unknown_field", &pointer, detail);
        }
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // An object with more members than any call knows is refused anyway; this bounds the list.
        const MEMBERS_MAX: usize = 64;
        let mut members = Vec::with_capacity(8);
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if members.len() == MEMBERS_MAX {
                return Err(serde::de::Error::custom("more than 64 members"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_field_at_fault_at_once() {
        let text = r#"{"url": 5, "b/c": 1, "name": "n", "name": "m"}"#;
        let mut fields = Fields::parse(text).unwrap();
        assert_eq!(fields.value::<String>("url", "a string"), None);
        assert_eq!(
            fields.value::<String>("name", "a string").as_deref(),
            Some("m")
        );
        assert_eq!(fields.required::<String>("events", "a list"), None);
        let problem = fields.finish("url, name, events").unwrap_err();
        let shown = problem.to_json();
        for pointer in ["\"/url\"", "\"/b~1c\"", "\"/name\"", "\"/events\""] {
            assert!(shown.contains(pointer), "{pointer} is not in {shown}");
        }
    }

    #[test]
    fn names_a_hundred_faults_and_says_how_many_more_there_are() {
        let mut fields = Fields::parse(r#"{"inner": {"a": 1}}"#).unwrap();
        let mut inner = fields.object("inner", "an object").unwrap().unwrap();
        for at in 0..150 {
            inner.refuse(&format!("list/{at}"), "is none");
        }
        // With the unknown `a` it has 151 faults.
        fields.close("inner", inner, "list");
        fields.refuse("late", "is wrong too");
        let problem = fields.finish("inner").unwrap_err();
        let shown: serde_json::Value = serde_json::from_str(&problem.to_json()).unwrap();
        let errors = shown["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 101);
        assert_eq!(errors[99]["pointer"], "/inner/list/99");
        assert_eq!(errors[100]["code"], "more_faults");
        assert_eq!(errors[100]["detail"], "and 52 more fields are wrong");
        assert_eq!(shown["detail"], "152 fields are wrong; see `errors`");
        // Shortened further, as in a batch, none is forgotten.
        let shown: serde_json::Value =
            serde_json::from_str(&problem.with_faults_up_to(2).to_json()).unwrap();
        let errors = shown["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 3);
        assert_eq!(errors[2]["detail"], "and 150 more fields are wrong");
    }

    #[test]
    fn keeps_raw_values_to_the_letter_however_deep() {
        let deep = format!("{}1.0{}", "[".repeat(10_000), "]".repeat(10_000));
        let text = format!("{{\"data\": {deep}}}");
        assert_eq!(Fields::parse(&text).unwrap().raw("data"), Some(&*deep));
        for bad in ["", "[]", "{\"a\":1", "{} x", "nul"] {
            assert_eq!(
                Fields::parse(bad).unwrap_err().code,
                "json_invalid",
                "{bad:?}"
            );
        }
    }
}
