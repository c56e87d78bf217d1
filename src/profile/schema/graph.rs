//! The parts of a schema and how they lead to each other: what bounds the work of judging.
//!
//! A part leads to others by its keywords, to be held against the same value (`allOf`, `$ref`, …) or against
//! what is inside of it (`properties`, `items`, …). The validator remembers what a part said of a value where
//! references go in a circle, so circles cost nothing; but it goes every *other* way that there is. So the ways are
//! counted here, and the longest row of parts for one value, as each takes a piece of the stack.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Ways through a schema from its root: each may be gone for each value of the data. Some hundred properties
/// that share definitions make some thousand.
const WAYS_MAX: u64 = 20_000;
/// Parts in a row for one value. Data has up to 120 levels, and each part takes about 450 bytes of a stack of 2 MiB.
const ROW_MAX: usize = 16;
/// Steps over which definitions refer to each other: the counting goes as deep.
const DEPTH_MAX: usize = 200;

/// A keyword's value, and what its parts are held against.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One schema.
    One,
    /// A list of them; `items` and others may also be one.
    Some,
    /// An object of them.
    Named,
}

/// The keywords that lead to parts held against the same value.
const SAME: [(&str, Form); 9] = [
    ("allOf", Form::Some),
    ("anyOf", Form::Some),
    ("oneOf", Form::Some),
    ("not", Form::One),
    ("if", Form::One),
    ("then", Form::One),
    ("else", Form::One),
    ("dependentSchemas", Form::Named),
    ("dependencies", Form::Named),
];
/// Those that lead to parts held against what is inside.
const INSIDE: [(&str, Form); 11] = [
    ("properties", Form::Named),
    ("patternProperties", Form::Named),
    ("additionalProperties", Form::One),
    ("unevaluatedProperties", Form::One),
    ("propertyNames", Form::One),
    ("items", Form::Some),
    ("prefixItems", Form::Some),
    ("additionalItems", Form::One),
    ("unevaluatedItems", Form::One),
    ("contains", Form::One),
    ("contentSchema", Form::One),
];
/// Those that only keep parts for references.
const KEPT: [(&str, Form); 2] = [("$defs", Form::Named), ("definitions", Form::Named)];
/// The references. With one resource only, dynamic ones are as plain ones.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
const ANCHORS: [&str; 2] = ["$anchor", "$dynamicAnchor"];

/// Whether a schema keeps to itself and within the bounds.
pub(super) fn check(root: &Value) -> Result<(), String> {
    let mut anchors = HashMap::new();
    gather(root, true, &mut anchors)?;
    let mut walk = Walk {
        root,
        anchors,
        rows: HashMap::new(),
        ways: HashMap::new(),
        open: vec![root],
    };
    while let Some(part) = walk.open.pop() {
        walk.row(part, 1)?;
    }
    if walk.ways(root, 0)? > WAYS_MAX {
        return Err(format!(
            "there are more than {WAYS_MAX} ways from its root to its parts; write it with fewer references to \
             definitions that refer to others"
        ));
    }
    Ok(())
}

/// Puts the keyword `name` into every part.
pub(super) fn mark(part: &mut Value, name: &str) {
    let Value::Object(members) = part else {
        return;
    };
    for (keyword, form) in SAME.iter().chain(&INSIDE).chain(&KEPT) {
        match (form, members.get_mut(*keyword)) {
            (_, None) => {}
            (Form::Named, Some(Value::Object(named))) => {
                named.values_mut().for_each(|part| mark(part, name));
            }
            (_, Some(Value::Array(list))) => list.iter_mut().for_each(|part| mark(part, name)),
            (_, Some(one)) => mark(one, name),
        }
    }
    members.insert(name.to_owned(), Value::Bool(true));
}

fn parts<'v>(
    members: &'v Map<String, Value>,
    keywords: &[(&str, Form)],
    mut each: impl FnMut(&'v Value) -> Result<(), String>,
) -> Result<(), String> {
    for (keyword, form) in keywords {
        match (form, members.get(*keyword)) {
            (_, None) => {}
            (Form::Named, Some(Value::Object(named))) => named.values().try_for_each(&mut each)?,
            (_, Some(Value::Array(list))) => list.iter().try_for_each(&mut each)?,
            (_, Some(one)) => each(one)?,
        }
    }
    Ok(())
}

/// Finds the anchors. The depth is bounded by the JSON parser.
fn gather<'v>(
    part: &'v Value,
    is_root: bool,
    anchors: &mut HashMap<&'v str, &'v Value>,
) -> Result<(), String> {
    let Value::Object(members) = part else {
        return Ok(());
    };
    if !is_root && (members.contains_key("$id") || members.get("id").is_some_and(Value::is_string))
    {
        return Err(
            "a part of it has an `$id` of its own; give only the root one, and refer to parts by `#/…`".to_owned(),
        );
    }
    for keyword in ANCHORS {
        if let Some(Value::String(anchor)) = members.get(keyword) {
            anchors.insert(anchor, part);
        }
    }
    for keywords in [&SAME[..], &INSIDE[..], &KEPT[..]] {
        parts(members, keywords, |part| gather(part, false, anchors))?;
    }
    Ok(())
}

struct Walk<'v> {
    root: &'v Value,
    anchors: HashMap<&'v str, &'v Value>,
    /// The longest row of parts for one value that begins with a part, by the part's place in memory. `None` while
    /// it is being found out.
    rows: HashMap<usize, Option<usize>>,
    /// Ways from a part, itself included; `None` while they are being counted.
    ways: HashMap<usize, Option<u64>>,
    /// Parts for what is inside, whose rows are to be looked at.
    open: Vec<&'v Value>,
}

fn place(part: &Value) -> usize {
    std::ptr::from_ref(part) as usize
}

impl<'v> Walk<'v> {
    /// The parts that a part leads to: for the same value, and for what is inside.
    fn next(&self, members: &'v Map<String, Value>) -> Result<[Vec<&'v Value>; 2], String> {
        let (mut same, mut inside) = (Vec::new(), Vec::new());
        for (keywords, found) in [(&SAME[..], &mut same), (&INSIDE[..], &mut inside)] {
            parts(members, keywords, |part| {
                found.push(part);
                Ok(())
            })?;
        }
        for keyword in REFERENCES {
            if let Some(Value::String(reference)) = members.get(keyword) {
                same.push(self.resolve(reference)?);
            }
        }
        Ok([same, inside])
    }

    /// The longest row that begins with `part`, which is the `before`th of its row. That it is refused when it is too
    /// long bounds the depth here, too.
    fn row(&mut self, part: &'v Value, before: usize) -> Result<usize, String> {
        let Value::Object(members) = part else {
            return Ok(1);
        };
        if before > ROW_MAX {
            return Err(too_long());
        }
        match self.rows.get(&place(part)) {
            Some(Some(row)) if before + row - 1 > ROW_MAX => return Err(too_long()),
            Some(Some(row)) => return Ok(*row),
            Some(None) => {
                return Err(
                    "its references go in a circle for one and the same value; let one of them stand below \
                     `properties` or `items`"
                        .to_owned(),
                );
            }
            None => {}
        }
        self.rows.insert(place(part), None);
        let [same, inside] = self.next(members)?;
        self.open.extend(inside);
        let mut longest = 1;
        for part in same {
            longest = longest.max(1 + self.row(part, before + 1)?);
        }
        self.rows.insert(place(part), Some(longest));
        Ok(longest)
    }

    /// The ways from `part`, saturating. A part in a circle is one: what it said of a value is remembered.
    fn ways(&mut self, part: &'v Value, depth: usize) -> Result<u64, String> {
        let Value::Object(members) = part else {
            return Ok(1);
        };
        if let Some(ways) = self.ways.get(&place(part)) {
            return Ok(ways.unwrap_or(1));
        }
        if depth > DEPTH_MAX {
            return Err(format!(
                "its definitions refer to each other over more than {DEPTH_MAX} steps; write it flatter"
            ));
        }
        self.ways.insert(place(part), None);
        let mut ways: u64 = 1;
        for part in self.next(members)?.into_iter().flatten() {
            ways = ways.saturating_add(self.ways(part, depth + 1)?);
        }
        self.ways.insert(place(part), Some(ways));
        Ok(ways)
    }

    fn resolve(&self, reference: &str) -> Result<&'v Value, String> {
        let outside = || {
            format!(
                "`{}` refers to something outside of it, and nothing is fetched; put it into `$defs` and write \
                 `#/$defs/…`",
                reference.escape_debug()
            )
        };
        let fragment = reference.strip_prefix('#').ok_or_else(outside)?;
        let fragment = percent_decoded(fragment);
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(&fragment)
        } else {
            self.anchors.get(fragment.as_str()).copied()
        };
        found.ok_or_else(|| {
            format!(
                "`{}` refers to a part that there is not; correct the reference",
                reference.escape_debug()
            )
        })
    }
}

fn too_long() -> String {
    format!(
        "more than {ROW_MAX} of its parts stand in a row for one value ($ref, allOf, anyOf, …); write it flatter"
    )
}

/// A URI's fragment as text (RFC 3986, 2.1); what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = behind
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped.filter(|_| *byte == b'%') {
            Some(value) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
