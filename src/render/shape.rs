//! What templates do to text besides choosing it: cutting to a length, escaping, listing an event's data.
//!
//! Lengths are counted in a unit that is never less than the receiver's own: `utf16` (code units, which
//! are never fewer than characters) or `json` (bytes of UTF-8 as they stand in a JSON string, which are never
//! fewer than either). A text that is cut ends in an ellipsis, between characters, and never inside an escape.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::envelope::write_json;
use super::raw::Raw;

/// What stands at the end of a text that was cut.
const ELLIPSIS: &str = "…";
/// What stands for a text without anything to see: receivers refuse empty ones.
const BLANK: &str = "(empty)";
/// Entries that `fields` lists: more are read by nobody, and no receiver takes more.
const FIELDS_MAX: usize = 100;
/// Up to this many UTF-16 units a value is short: several have room side by side.
const SHORT_MAX: usize = 40;

/// Adds the filters:
/// - `value | text`: a string as it is, nothing for null, any other value as JSON;
/// - `value | json`: the value as JSON, in a string;
/// - `value | truncate(max, unit="utf16")`: the text, cut;
/// - `value | mrkdwn(max)`: the text with `&`, `<` and `>` as entities, cut so that all this is within `max`;
/// - `object | items`: its members as `[key, value]`;
/// - `object | fields(count, name, value, total, unit="utf16", mrkdwn=false)`: its first members for people, as
///   `{name, value, short}`, those of an inner object as `outer.inner`; never more than `count`, none over the
///   lengths `name` and `value`, and all together within `total`;
/// - `fields | lines(pattern)`: one line for each, `{name}` and `{value}` of the pattern filled in.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("text", |value: Value| text(&value).map(Cow::into_owned));
    environment.add_filter("json", |value: Value| json(&value));
    environment.add_filter("items", |value: Value| items(&value));
    environment.add_filter("truncate", |value: Value, max: usize, options: Kwargs| {
        let measure = measure(&options, false)?;
        options.assert_all_used()?;
        Ok::<_, Error>(measure.cut(&text(&value)?, max))
    });
    environment.add_filter("mrkdwn", |value: Value, max: usize| {
        let measure = Measure {
            unit: Unit::Utf16,
            escaped: true,
        };
        Ok::<_, Error>(measure.cut(&text(&value)?, max))
    });
    environment.add_filter("fields", |value: Value, options: Kwargs| {
        fields(&value, &options)
    });
    environment.add_filter("lines", |fields: Value, pattern: &str| {
        lines(&fields, pattern)
    });
}

/// What a length is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Utf16,
    Json,
}

/// How a text is written and counted.
#[derive(Clone, Copy, Debug)]
struct Measure {
    unit: Unit,
    escaped: bool,
}

fn measure(options: &Kwargs, may_escape: bool) -> Result<Measure, Error> {
    let unit = match options.get::<Option<&str>>("unit")? {
        None | Some("utf16") => Unit::Utf16,
        Some("json") => Unit::Json,
        Some(other) => {
            return Err(wrong(format!(
                "`{other}` is no unit; there are utf16 and json"
            )));
        }
    };
    let escaped = may_escape && options.get::<Option<bool>>("mrkdwn")?.unwrap_or(false);
    Ok(Measure { unit, escaped })
}

impl Measure {
    /// The text as it is written if that is within `max`, or as much of it as is with an ellipsis.
    fn cut(self, text: &str, max: usize) -> String {
        let room = max.checked_sub(self.length_of('…'));
        let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
        let (mut length, mut with_ellipsis) = (0_usize, 0);
        for c in text.chars() {
            let entity = self.entity(c);
            length = length.saturating_add(match entity {
                Some(entity) => entity.len(),
                None => self.length_of(c),
            });
            if length > max {
                out.truncate(with_ellipsis);
                out.push_str(if room.is_some() { ELLIPSIS } else { "" });
                return out;
            }
            match entity {
                Some(entity) => out.push_str(entity),
                None => out.push(c),
            }
            if room.is_some_and(|room| length <= room) {
                with_ellipsis = out.len();
            }
        }
        out
    }

    /// The length of `text`, no more of which is looked at than is needed to see that it is over `max`.
    fn length(self, text: &str, max: usize) -> usize {
        let mut length = 0_usize;
        for c in text.chars() {
            length += self.entity(c).map_or_else(|| self.length_of(c), str::len);
            if length >= max {
                return max;
            }
        }
        length
    }

    const fn entity(self, c: char) -> Option<&'static str> {
        match c {
            '&' if self.escaped => Some("&amp;"),
            '<' if self.escaped => Some("&lt;"),
            '>' if self.escaped => Some("&gt;"),
            _ => None,
        }
    }

    const fn length_of(self, c: char) -> usize {
        match self.unit {
            Unit::Utf16 => c.len_utf16(),
            Unit::Json => match c {
                '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
                '\0'..'\u{20}' => 6,
                other => other.len_utf8(),
            },
        }
    }
}

/// A value as a person reads it.
fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(Cow::Borrowed("")),
        ValueKind::String => Ok(Cow::Borrowed(value.as_str().unwrap_or_default())),
        // An instant.
        ValueKind::Plain if value.downcast_object_ref::<Raw>().is_none() => {
            Ok(Cow::Owned(value.to_string()))
        }
        _ => json(value).map(Cow::Owned),
    }
}

fn json(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, 0)?;
    Ok(out)
}

fn items(value: &Value) -> Result<Value, Error> {
    if let Some(raw) = value.downcast_object::<Raw>() {
        let pairs = raw.members();
        return Ok(pairs
            .map(|(key, value)| Value::from(vec![Value::from(key.as_ref()), value]))
            .collect());
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => {
            let pairs = value
                .try_iter()?
                .map(|key| Ok(Value::from(vec![key.clone(), value.get_item(&key)?])));
            pairs
                .collect::<Result<Vec<Value>, Error>>()
                .map(Value::from)
        }
        _ => Err(wrong("items are those of an object".to_owned())),
    }
}

fn fields(value: &Value, options: &Kwargs) -> Result<Value, Error> {
    let bound = |name: &str| options.get::<usize>(name);
    let (count, name_max, value_max) = (bound("count")?, bound("name")?, bound("value")?);
    let total = bound("total")?;
    let measure = measure(options, true)?;
    options.assert_all_used()?;
    if !(1..=FIELDS_MAX).contains(&count) {
        return Err(wrong(format!("count is from 1 to {FIELDS_MAX}")));
    }
    let listed = listed(value, count)?;
    let lengths: Vec<usize> = listed
        .iter()
        .flat_map(|(name, value)| {
            [
                measure.length(name, name_max),
                measure.length(value, value_max),
            ]
        })
        .collect();
    let level = level(&lengths, total);
    let cut = |text: &str, max: usize| Value::from(measure.cut(text, max.min(level)));
    let shown = listed.iter().map(|(name, value)| {
        let short = value.encode_utf16().nth(SHORT_MAX).is_none();
        Value::from(BTreeMap::from([
            ("name", cut(name, name_max)),
            ("value", cut(value, value_max)),
            ("short", Value::from(short)),
        ]))
    });
    Ok(shown.collect())
}

/// The greatest length to which each may be cut, so that all together are within `total`: what the
/// short ones leave goes to the long ones.
fn level(lengths: &[usize], total: usize) -> usize {
    let fits = |level: usize| lengths.iter().map(|one| (*one).min(level)).sum::<usize>() <= total;
    let (mut low, mut high) = (0, lengths.iter().copied().max().unwrap_or(0));
    if fits(high) {
        return usize::MAX;
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The first members for people: names and values as text.
fn listed(value: &Value, count: usize) -> Result<Vec<(String, String)>, Error> {
    let Some(raw) = value.downcast_object::<Raw>() else {
        return Ok(match value.kind() {
            ValueKind::Undefined | ValueKind::None => Vec::new(),
            _ => vec![("data".to_owned(), visible(text(value)?.into_owned()))],
        });
    };
    if !raw.as_str().starts_with('{') {
        return Ok(vec![("data".to_owned(), readable(value)?)]);
    }
    let mut listed = Vec::new();
    for (key, value) in raw.members() {
        let inner = value.downcast_object::<Raw>();
        let inner: Option<Arc<Raw>> = inner.filter(|inner| inner.as_str().starts_with("{\""));
        match inner {
            None => listed.push((visible(key.into_owned()), readable(&value)?)),
            Some(inner) => {
                for (inner_key, value) in inner.members().take(count) {
                    listed.push((format!("{key}.{inner_key}"), readable(&value)?));
                }
            }
        }
        if listed.len() >= count {
            listed.truncate(count);
            break;
        }
    }
    Ok(listed)
}

/// A value as text: of a list of plain values, these side by side.
fn readable(value: &Value) -> Result<String, Error> {
    let Some(raw) = value.downcast_object_ref::<Raw>() else {
        return Ok(visible(match value.kind() {
            ValueKind::None => "null".to_owned(),
            _ => text(value)?.into_owned(),
        }));
    };
    let nested = |text: &str| text.contains(['[', '{']);
    match raw.as_str().get(1..) {
        Some(inner) if raw.as_str().starts_with('[') && inner != "]" && !nested(inner) => {
            let plain = value
                .try_iter()?
                .map(|element| Ok(text(&element)?.into_owned()));
            plain
                .collect::<Result<Vec<String>, Error>>()
                .map(|plain| visible(plain.join(", ")))
        }
        _ => Ok(raw.as_str().to_owned()),
    }
}

fn visible(text: String) -> String {
    if text.trim().is_empty() {
        BLANK.to_owned()
    } else {
        text
    }
}

fn lines(fields: &Value, pattern: &str) -> Result<String, Error> {
    let mut out = String::new();
    for field in fields.try_iter()? {
        let (name, value) = (field.get_attr("name")?, field.get_attr("value")?);
        if !out.is_empty() {
            out.push('\n');
        }
        // Only the pattern's own marks are filled in, not what looks like one in an event.
        let (before, behind) = pattern.split_once("{value}").unwrap_or((pattern, ""));
        out.push_str(&before.replace("{name}", &text(&name)?));
        if pattern.contains("{value}") {
            out.push_str(&text(&value)?);
        }
        out.push_str(&behind.replace("{name}", &text(&name)?));
    }
    Ok(out)
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}
