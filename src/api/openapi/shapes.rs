//! Words to write JSON Schemas with (draft 2020-12), short enough to stand beside the code that reads or writes what
//! they describe.
//!
//! What a client gives is closed: a field that nobody knows is refused, and the schema says so. What it is answered is
//! open, as later versions may add members.

use serde_json::{Map, Value, json};

/// Named schemas, parts of an object, or parameters.
pub(in crate::api) type Named = (&'static str, Value);

/// The schema of this name among the document's components.
pub(in crate::api) fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The same, with words of its own.
pub(in crate::api) fn named_as(name: &str, means: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}"), "description": means })
}

pub(in crate::api) fn text(means: &str) -> Value {
    json!({ "type": "string", "description": means })
}

/// A text with a bound. A bound in bytes is one in characters, too.
pub(in crate::api) fn text_up_to(length_max: usize, means: &str) -> Value {
    json!({ "type": "string", "maxLength": length_max, "description": means })
}

pub(in crate::api) fn text_like(pattern: &str, means: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": means })
}

pub(in crate::api) fn time(means: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": means })
}

pub(in crate::api) fn flag(means: &str) -> Value {
    json!({ "type": "boolean", "description": means })
}

/// A whole number from 0.
pub(in crate::api) fn count(means: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": means })
}

pub(in crate::api) fn whole(from: u64, to: u64, means: &str) -> Value {
    json!({ "type": "integer", "minimum": from, "maximum": to, "description": means })
}

pub(in crate::api) fn number(from: f64, means: &str) -> Value {
    json!({ "type": "number", "minimum": from, "description": means })
}

pub(in crate::api) fn one_of(names: &[&str], means: &str) -> Value {
    json!({ "type": "string", "enum": names, "description": means })
}

pub(in crate::api) fn list(items: Value, means: &str) -> Value {
    json!({ "type": "array", "items": items, "description": means })
}

/// A list with bounds.
pub(in crate::api) fn list_of(from: usize, to: usize, items: Value, means: &str) -> Value {
    json!({ "type": "array", "minItems": from, "maxItems": to, "items": items, "description": means })
}

/// An object of any names, whose values are alike.
pub(in crate::api) fn table(values: Value, means: &str) -> Value {
    json!({ "type": "object", "additionalProperties": values, "description": means })
}

/// Any JSON.
pub(in crate::api) fn anything(means: &str) -> Value {
    json!({ "description": means })
}

/// The same schema, or null.
pub(in crate::api) fn or_null(mut schema: Value) -> Value {
    let Some(members) = schema.as_object_mut() else {
        return schema;
    };
    if let Some(names) = members.get_mut("enum").and_then(Value::as_array_mut) {
        names.push(Value::Null);
    }
    match members.get("type").cloned() {
        Some(Value::String(one)) => {
            members.insert("type".to_owned(), json!([one, "null"]));
            schema
        }
        // Several, or one that stands elsewhere.
        _ => {
            let means = members.remove("description");
            let mut either = json!({ "anyOf": [schema, { "type": "null" }] });
            if let (Some(means), Some(either)) = (means, either.as_object_mut()) {
                either.insert("description".to_owned(), means);
            }
            either
        }
    }
}

/// The same schema with one more of its words, such as `maximum`.
pub(in crate::api) fn also(mut schema: Value, word: &str, value: impl Into<Value>) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.insert(word.to_owned(), value.into());
    }
    schema
}

/// The same schema with what holds where nothing is given.
pub(in crate::api) fn by_default(schema: Value, value: Value) -> Value {
    also(schema, "default", value)
}

/// The same schema with a value that fits it.
pub(in crate::api) fn such_as(schema: Value, value: Value) -> Value {
    also(schema, "examples", json!([value]))
}

/// An object as a client gives it: with these fields and no others.
pub(in crate::api) fn given(required: &[&str], fields: Vec<Named>, means: &str) -> Value {
    also(
        object(fields, required, means),
        "additionalProperties",
        false,
    )
}

/// An object as it is answered: with all of these members, which may be null where they say so.
pub(in crate::api) fn answered(members: Vec<Named>, means: &str) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    object(members, &names, means)
}

/// As [`answered`], where some members may be absent.
pub(in crate::api) fn answered_with(
    members: Vec<Named>,
    perhaps: Vec<Named>,
    means: &str,
) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    object(members.into_iter().chain(perhaps).collect(), &names, means)
}

fn object(members: Vec<Named>, required: &[&str], means: &str) -> Value {
    let properties: Map<String, Value> = members
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let mut schema = json!({ "type": "object", "description": means, "properties": properties });
    if let (false, Some(members)) = (required.is_empty(), schema.as_object_mut()) {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}

/// An object with the members of another one and more of them.
pub(in crate::api) fn with_more(base: &Value, more: &Value, means: &str) -> Value {
    let mut schema = base.clone();
    let Some(members) = schema.as_object_mut() else {
        return schema;
    };
    members.insert("description".to_owned(), json!(means));
    for name in ["properties", "required"] {
        let added = more.get(name).cloned().unwrap_or_default();
        match (members.get_mut(name), added) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (None, new @ (Value::Object(_) | Value::Array(_))) => {
                members.insert(name.to_owned(), new);
            }
            _ => {}
        }
    }
    schema
}

/// An object with a scope field: what profiles call it is theirs.
pub(in crate::api) fn with_scope(schema: Value, fields: &[String], bytes_max: usize) -> Value {
    let means = "The scope, under the name that your profile has for it (`scope_field` of GET /api/v1/profiles): an event \
                 goes to webhooks of the same scope and to those without one. Up to 200 bytes.";
    let mut more = Map::new();
    for name in fields {
        more.insert(name.clone(), or_null(text_up_to(bytes_max, means)));
    }
    let words = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    with_more(&schema, &json!({ "properties": more }), words)
}

/// A page of a list.
pub(in crate::api) fn page_of(row: Value, means: &str) -> Value {
    let cursor = "Give it as `cursor` for the rows behind these; null where there are none.";
    let members = vec![
        ("data", list(row, "The rows.")),
        ("next_cursor", or_null(text(cursor))),
    ];
    answered(members, means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_added_to_any_kind_of_schema() {
        assert_eq!(or_null(text("t"))["type"], json!(["string", "null"]));
        let chosen = or_null(one_of(&["a"], "t"));
        assert_eq!(chosen["enum"], json!(["a", null]));
        let reference = or_null(named_as("Webhook", "words"));
        assert_eq!(reference["anyOf"][1], json!({ "type": "null" }));
        assert_eq!(reference["description"], "words");
    }

    #[test]
    fn objects_are_joined_with_what_they_require() {
        let one = answered(vec![("a", text("t"))], "one");
        let two = answered_with(vec![("b", text("t"))], vec![("c", text("t"))], "two");
        let both = with_more(&one, &two, "both");
        assert_eq!(both["required"], json!(["a", "b"]));
        assert_eq!(both["properties"].as_object().unwrap().len(), 3);
        assert_eq!(both["description"], "both");
    }
}
