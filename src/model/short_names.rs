//! How header names are kept with an attempt: common ones as one control character, which no header name can
//! have (RFC 9110, 5.1).
//!
//! An attempt has a handful of headers, and their names took more room than their values.

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};

/// The names that have a short form: that of the first one is U+0001. What is here is on people's disks: a name
/// is never moved nor taken out, and there is room for 31.
const NAMES: [&str; 31] = [
    "content-type",
    "content-length",
    "date",
    "server",
    "connection",
    "keep-alive",
    "vary",
    "cache-control",
    "etag",
    "location",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "x-content-type-options",
    "x-frame-options",
    "x-powered-by",
    "x-request-id",
    "alt-svc",
    "via",
    "x-cache",
    "age",
    "allow",
    "x-xss-protection",
    "referrer-policy",
    "content-security-policy",
    "access-control-allow-origin",
    "retry-after",
    "traceparent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

type Headers = Vec<(String, String)>;

fn short(name: &str) -> Option<char> {
    let place = NAMES.iter().position(|known| *known == name)?;
    char::from_u32(u32::try_from(place).ok()? + 1)
}

fn long(short: char) -> Option<&'static str> {
    let place = u32::from(short).checked_sub(1)?;
    NAMES.get(usize::try_from(place).ok()?).copied()
}

pub(super) fn serialize<S: Serializer>(headers: &Headers, to: S) -> Result<S::Ok, S::Error> {
    let mut list = to.serialize_seq(Some(headers.len()))?;
    for (name, value) in headers {
        let mut buffer = [0; 4];
        let kept = short(name).map_or(&**name, |short| short.encode_utf8(&mut buffer));
        list.serialize_element(&(kept, value))?;
    }
    list.end()
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Headers, D::Error> {
    from.deserialize_seq(List)
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Headers;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("names and values of headers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
        // The number is a stranger's word.
        let mut headers = Vec::with_capacity(list.size_hint().unwrap_or(0).min(64));
        while let Some(Pair(name, value)) = list.next_element()? {
            headers.push((name, value));
        }
        Ok(headers)
    }
}

struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (name, value) = <(String, String)>::deserialize(from)?;
        let mut chars = name.chars();
        let known = match (chars.next(), chars.next()) {
            (Some(only), None) => long(only),
            _ => None,
        };
        Ok(Self(known.map_or(name, str::to_owned), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_form_is_a_control_character_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for name in NAMES {
            let short = short(name).unwrap();
            assert!(short < ' ' && seen.insert(short), "{name}");
            assert_eq!(long(short), Some(name));
        }
        for other in ["x-hook", "", "\u{20}"] {
            assert_eq!(short(other), None);
        }
        assert_eq!((long('\0'), long(' '), long('a')), (None, None, None));
    }
}
