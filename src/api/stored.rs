//! JSON as it was stored, for answers: shown as it stands, without a tree in memory.
//!
//! What clients' usual parsers would refuse, and with it the whole answer, is shown as a string that holds its text:
//! lone surrogates, numbers beyond a double, nesting beyond some hundred levels.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A stored JSON text.
#[derive(Debug)]
pub(super) enum Stored<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Stored<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match serde_json::from_str::<Sound>(text).and_then(|Sound| serde_json::from_str(text)) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(text),
        }
    }
}

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// What a tree could be made of; each part is read as for a tree, and dropped.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Sound, A::Error> {
        while let Some(Sound) = items.next_element()? {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Sound, A::Error> {
        while let Some((Sound, Sound)) = members.next_entry()? {}
        Ok(Sound)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(text: &str) -> Value {
        let text = serde_json::to_string(&json!({ "data": null }))
            .map(|shown| shown.replace("null", &serde_json::to_string(&Stored::of(text)).unwrap()));
        serde_json::from_str::<Value>(&text.unwrap()).unwrap()["data"].take()
    }

    #[test]
    fn json_is_shown_as_it_stands() {
        for text in [
            "null",
            "[]",
            "{\"b\":1,\"a\":[1.5,\"\\u00e9\",true,null,{}]}",
            "-1e-7",
            "\"x\"",
        ] {
            assert_eq!(serde_json::to_string(&Stored::of(text)).unwrap(), text);
        }
    }

    #[test]
    fn what_parsers_refuse_is_shown_as_text() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["\"\\ud800\"", "{\"\\udfff\":1}", "[1e999]", &deep] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert_eq!(shown(text), Value::String(text.to_owned()));
        }
    }
}
