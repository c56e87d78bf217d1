//! `docs/api.md`: the document as a reference for people. `HOOKWHEEL_WRITE_GOLDEN=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use hookwheel::api::openapi;
use hookwheel::profile::Profiles;
use serde_json::Value;

use super::described::{Call, Described};

/// An example of an answer that is longer than this many lines is left to the document.
const EXAMPLE_LINES_MAX: usize = 45;
/// Codes that nearly every call has: told once, at the top.
const COMMON: [&str; 14] = [
    "length_ambiguous",
    "connections_full",
    "unauthorized",
    "scope_missing",
    "internal",
    "memory_full",
    "too_many_requests",
    "utf8_invalid",
    "body_incomplete",
    "body_timeout",
    "body_too_slow",
    "too_large",
    "encoding_unsupported",
    "query_invalid",
];

#[test]
fn the_reference_is_made_of_the_document() {
    let api = Described::new(openapi::document(&Profiles::built_in()));
    let text = reference(&api);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    if std::env::var_os("HOOKWHEEL_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let first = kept.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        kept == text,
        "docs/api.md differs from line {:?} on: run this test with HOOKWHEEL_WRITE_GOLDEN=1",
        first.map(|at| at + 1)
    );
}

fn reference(api: &Described) -> String {
    let document = &api.document;
    let mut out = String::from("# API reference\n\n");
    out += "<!-- Made from /openapi.json by tests/it/openapi/reference.rs: HOOKWHEEL_WRITE_GOLDEN=1 cargo test --test it \
            openapi::reference -->\n\n";
    out +=
        "The same as an OpenAPI 3.1 document, for tools: `GET /openapi.json`, without a key.\n\n";
    out += document["info"]["description"].as_str().unwrap();
    out += "\n\nIn the examples `$KEY` is a key and the daemon listens on `localhost:8420`.\n\n";
    let calls = api.calls();
    for tag in document["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        let links: Vec<String> = of_tag(&calls, name)
            .map(|call| format!("[{}](#{})", summary(call), anchor(summary(call))))
            .collect();
        writeln!(out, "- **{name}**: {}", links.join(" · ")).unwrap();
    }
    out += "- [Errors](#errors) · [Shapes](#shapes)\n";
    for tag in document["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        write!(
            out,
            "\n## {name}\n\n{}\n",
            tag["description"].as_str().unwrap()
        )
        .unwrap();
        for call in of_tag(&calls, name) {
            out += &section(api, call);
        }
    }
    out += &errors(api, &calls);
    out += &shapes(api);
    out
}

fn of_tag<'a>(calls: &'a [Call], tag: &str) -> impl Iterator<Item = &'a Call> {
    calls
        .iter()
        .filter(move |call| call.shown["tags"][0] == tag)
}

fn summary(call: &Call) -> &str {
    call.shown["summary"].as_str().unwrap()
}

/// As renderers of Markdown make them.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn section(api: &Described, call: &Call) -> String {
    let shown = &call.shown;
    let mut out = format!("\n### {}\n\n", summary(call));
    writeln!(
        out,
        "`{} {}`\n\n{}\n",
        call.method,
        call.path,
        shown["description"].as_str().unwrap()
    )
    .unwrap();
    match call.scope() {
        Some(scope) => writeln!(out, "Scope `{scope}`.\n").unwrap(),
        None if call.has_key() => out += "With any key.\n\n",
        None => out += "Without a key.\n\n",
    }
    out += &parameters(call);
    if let Some(body) = shown.get("requestBody") {
        let schema = &body["content"]["application/json"]["schema"];
        let may = if body["required"] == true {
            ""
        } else {
            ", which may be left out"
        };
        match fields(api, schema, "field") {
            Some(table) => write!(out, "Body{may}:\n\n{table}\n").unwrap(),
            None => writeln!(out, "Body{may}: {}.\n", kind(schema)).unwrap(),
        }
    }
    out += &curl(call);
    out += &answers(call);
    let codes = own_codes(api, call);
    if !codes.is_empty() {
        writeln!(out, "Errors of its own: {}.", codes.join("; ")).unwrap();
    }
    out.trim_end().to_owned() + "\n"
}

fn parameters(call: &Call) -> String {
    let parameters = call.shown["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if parameters.is_empty() {
        return String::new();
    }
    let mut out = "| parameter | in | is | |\n|---|---|---|---|\n".to_owned();
    for one in parameters {
        let words = one["description"].as_str().unwrap();
        let (name, place) = (one["name"].as_str().unwrap(), one["in"].as_str().unwrap());
        writeln!(
            out,
            "| `{name}` | {place} | {} | {words} |",
            kind(&one["schema"])
        )
        .unwrap();
    }
    out + "\n"
}

/// The members of an object as a table.
fn fields(api: &Described, schema: &Value, head: &str) -> Option<String> {
    let schema = resolved(api, schema);
    let members = schema["properties"].as_object()?;
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if members.is_empty() {
        return Some("No fields.\n".to_owned());
    }
    let mut out = format!("| {head} | is | |\n|---|---|---|\n");
    for (name, schema) in members {
        let words = schema["description"].as_str();
        let words = words
            .or_else(|| resolved(api, schema)["description"].as_str())
            .unwrap_or_default();
        let must = match (head, required.contains(name.as_str())) {
            ("field", true) => ", required",
            ("member", false) => ", may be absent",
            _ => "",
        };
        let more = match schema.get("default") {
            Some(value) => format!(" `{value}` if not given."),
            None => String::new(),
        };
        writeln!(
            out,
            "| `{name}` | {}{must} | {}{more} |",
            kind(schema),
            one_line(words)
        )
        .unwrap();
    }
    Some(out)
}

fn one_line(words: &str) -> String {
    words.replace('\n', " ").replace('|', "\\|")
}

fn resolved<'a>(api: &'a Described, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => api
            .document
            .pointer(reference.trim_start_matches('#'))
            .unwrap(),
        None => schema,
    }
}

/// A schema in some words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("`{}`", name.as_str().unwrap_or("null")))
            .collect();
        return names.join(", ");
    }
    if let Some(value) = schema.get("const") {
        return format!(
            "`{}`",
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        );
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let kinds: Vec<String> = any.iter().map(kind).collect();
        return kinds.join(" or ");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return "any JSON".to_owned(),
    };
    let words: Vec<String> = kinds.into_iter().map(|one| word(one, schema)).collect();
    words.join(" or ")
}

fn word(kind_name: &str, schema: &Value) -> String {
    let bounds = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    match (kind_name, bounds) {
        ("string", _) if schema["format"] == "date-time" => "time".to_owned(),
        ("string", _) => "text".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("integer", (Some(from), Some(to))) => format!("{from} to {to}"),
        ("number", (Some(from), Some(to))) => format!("a number from {from} to {to}"),
        ("integer" | "number", _) => "number".to_owned(),
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        (other, _) => other.to_owned(),
    }
}

fn curl(call: &Call) -> String {
    let path = call
        .path
        .replace(
            "webhooks/{id}",
            "webhooks/wh_0197f3c2a1b87d5e9c40aa12bb34cc56",
        )
        .replace("jobs/{id}", "jobs/job_0197f3c2a1b87d5e9c40aa12bb34cc57")
        .replace("{id}", "order-1042-paid")
        .replace("{event}", "order-1042-paid")
        .replace("{type}", "order.paid");
    let key = match call.has_key() {
        true => " \\\n  -H \"X-API-Key: $KEY\"",
        false => "",
    };
    let example = call
        .shown
        .pointer("/requestBody/content/application~1json/examples");
    let example = example
        .and_then(Value::as_object)
        .and_then(|all| all.values().next());
    let body = example.map_or(String::new(), |example| {
        format!(" \\\n  -d '{}'", example["value"])
    });
    let method = match (call.method.as_str(), body.is_empty()) {
        ("GET", _) | ("POST", false) => String::new(),
        (other, _) => format!(" -X {other}"),
    };
    format!("```sh\ncurl -sS{method} localhost:8420{path}{key}{body}\n```\n\n")
}

fn answers(call: &Call) -> String {
    let mut out = String::new();
    for (status, response) in call.shown["responses"].as_object().unwrap() {
        let number: u16 = status.parse().unwrap();
        let Some(words) = response["description"]
            .as_str()
            .filter(|_| number < 400 || !call.has_key())
        else {
            continue;
        };
        if words.starts_with("- `") {
            continue; // A refusal.
        }
        let content = response["content"]
            .as_object()
            .and_then(|content| content.iter().next());
        let what = content.map_or(String::new(), |(name, media)| match name.as_str() {
            "application/json" if media["schema"].get("$ref").is_some() => {
                format!(" {}", kind(&media["schema"]))
            }
            "application/json" => page(&media["schema"]),
            other => format!(" `{other}`"),
        });
        writeln!(out, "**{status}** {words}{what}\n").unwrap();
        let example = content.filter(|(name, _)| *name == "application/json");
        let example =
            example.map(|(_, media)| serde_json::to_string_pretty(&media["example"]).unwrap());
        if let Some(example) = example.filter(|text| text.lines().count() <= EXAMPLE_LINES_MAX) {
            write!(out, "```json\n{example}\n```\n\n").unwrap();
        }
    }
    out
}

/// A page of rows; nothing for other shapes without a name.
fn page(schema: &Value) -> String {
    let rows = schema.pointer("/properties/data/items");
    rows.map_or(String::new(), |rows| {
        format!(" `data`: list of {}; `next_cursor`.", kind(rows))
    })
}

/// The codes of a call by status, but for those that nearly all calls have.
fn own_codes(api: &Described, call: &Call) -> Vec<String> {
    let found = codes(api, call);
    found
        .into_iter()
        .filter_map(|(status, codes)| {
            let own = codes.keys().filter(|code| !COMMON.contains(&code.as_str()));
            let own: Vec<String> = own.map(|code| format!("`{code}`")).collect();
            (!own.is_empty()).then(|| format!("{status} {}", own.join(", ")))
        })
        .collect()
}

/// The codes of a call with their meanings, by status.
fn codes(api: &Described, call: &Call) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (status, response) in call.shown["responses"].as_object().unwrap() {
        let lines = resolved(api, response)["description"]
            .as_str()
            .unwrap()
            .lines();
        let pairs = lines.filter_map(|line| line.strip_prefix("- `")?.split_once("`: "));
        let codes: BTreeMap<String, String> = pairs
            .map(|(code, means)| (code.to_owned(), means.to_owned()))
            .collect();
        if !codes.is_empty() {
            found.insert(status.clone(), codes);
        }
    }
    found
}

fn errors(api: &Described, calls: &[Call]) -> String {
    let mut out = "\n## Errors\n\n".to_owned();
    out += "An error is a problem document (RFC 9457), `application/problem+json`:\n\n";
    let example = &api.document["components"]["schemas"]["Problem"]["examples"][0];
    write!(
        out,
        "```json\n{}\n```\n\n",
        serde_json::to_string_pretty(example).unwrap()
    )
    .unwrap();
    out += "A single field at fault lends the problem its code; of several it is `fields_invalid`, and each has its own. With \
            429, 503 and 507 `Retry-After` says when to try again. Codes that any call can have are not repeated with each \
            call: ";
    let common: Vec<String> = COMMON.iter().map(|code| format!("`{code}`")).collect();
    write!(
        out,
        "{}.\n\n| status | code | means |\n|---|---|---|\n",
        common.join(", ")
    )
    .unwrap();
    let mut all = BTreeMap::new();
    for call in calls {
        for (status, codes) in codes(api, call) {
            all.extend(
                codes
                    .into_iter()
                    .map(|(code, means)| ((status.clone(), code), means)),
            );
        }
    }
    for ((status, code), means) in all {
        writeln!(out, "| {status} | `{code}` | {} |", one_line(&means)).unwrap();
    }
    out + "| 405 | `method_not_allowed` | the path exists, but not with this method; see `Allow` |\n"
}

fn shapes(api: &Described) -> String {
    let mut out =
        "\n## Shapes\n\nWhat has a name above. Answers may get more members with later versions.\n"
            .to_owned();
    let schemas: BTreeMap<&String, &Value> = api.document["components"]["schemas"]
        .as_object()
        .unwrap()
        .iter()
        .collect();
    for (name, schema) in schemas {
        write!(
            out,
            "\n### {name}\n\n{}\n\n",
            schema["description"].as_str().unwrap_or_default()
        )
        .unwrap();
        // What is given closes its objects.
        let head = if schema["additionalProperties"] == false {
            "field"
        } else {
            "member"
        };
        match fields(api, schema, head) {
            Some(table) => out += &table,
            None => {
                let pattern = schema["pattern"]
                    .as_str()
                    .map(|pattern| format!(", `{pattern}`"));
                writeln!(out, "Is {}{}.", kind(schema), pattern.unwrap_or_default()).unwrap();
                for either in schema["anyOf"].as_array().into_iter().flatten() {
                    if let Some(table) = fields(api, either, "field") {
                        write!(
                            out,
                            "\n{}\n\n{table}",
                            either["description"].as_str().unwrap_or_default()
                        )
                        .unwrap();
                    }
                }
            }
        }
    }
    out
}
