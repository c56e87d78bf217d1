//! The table of operations as an OpenAPI 3.1 document.
//!
//! Examples of answers are recorded from the daemon itself, by `tests/it/openapi.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answers;
use super::operation::{Answer, Content, Operation};
use super::operations;
use super::shapes::text;
use crate::api::codes;
use crate::model::Scope;

/// Answers that the daemon gave, by operation and status.
const EXAMPLES: &str = include_str!("examples.json");

const ABOUT: &str = "\
Hookwheel delivers webhooks: events are posted once, stored durably, signed, and sent over HTTPS to every webhook that \
wants them, again and again until they arrive or their schedule ends.\n\n\
**Keys.** Each call under `/api/v1` needs a key, as `X-API-Key: …` or `Authorization: Bearer …`. A key has scopes: `admin` \
manages, `send` posts events, `read` reads; who may manage may also read. A key sees its own account only.\n\n\
**Errors** are problem documents (RFC 9457) with a stable `code` for programs, a `detail` that says what to do, and a JSON \
pointer for each field at fault. Fields and parameters that a call does not know are refused.\n\n\
**Lists** have `limit` rows at most and a `next_cursor`, which is given back unchanged as `cursor`.\n\n\
**Times** are RFC 3339 in UTC. **Durations** are whole numbers with a unit: `250ms`, `5s`, `2m`, `1h`, `7d`.\n\n\
**Limits.** Answers to a key that has limits say how it stands in `RateLimit-Policy` and `RateLimit`; over them, and where \
the daemon is busy, `Retry-After` says when to go on.";

/// The document; `scope_fields` are what the profiles call a scope.
pub(super) fn make(scope_fields: &[String]) -> Value {
    let operations = operations::all();
    let examples: Value =
        serde_json::from_str(EXAMPLES).expect("a test reads the recorded examples");
    let shared = Shared::of(&operations);
    let mut paths: Map<String, Value> = Map::new();
    for operation in &operations {
        let shown = show(operation, &shared, &examples);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.as_str().to_ascii_lowercase(), shown);
        }
    }
    let named = answers::schemas(scope_fields).into_iter();
    let schemas: Map<String, Value> = named
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let tags = operations::TAGS;
    let tags: Vec<Value> = tags
        .iter()
        .map(|(name, means)| json!({ "name": name, "description": means }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hookwheel",
            "summary": "Durable, signed webhook delivery.",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The daemon that this document comes from." }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": shared.responses(),
            "headers": headers(),
            "securitySchemes": security(),
        },
    })
}

fn security() -> Value {
    json!({
        "ApiKey": {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "A key of the config (`hookwheel key new` makes one).",
        },
        "Bearer": {
            "type": "http", "scheme": "bearer",
            "description": "The same key as a bearer token.",
        },
    })
}

/// The headers of answers; those that are always there say so.
fn headers() -> Value {
    let header = |schema: Value, is_always: bool| {
        let means = schema.get("description").cloned().unwrap_or_default();
        json!({ "description": means, "required": is_always, "schema": schema })
    };
    let seconds = json!({ "type": "integer", "minimum": 0, "description": "After so many seconds it may be tried again." });
    json!({
        "RateLimit": header(text("What the key has left, and for how long: `\"requests\";r=99;t=60`. Only where it has limits."), false),
        "RateLimit-Policy": header(text("The key's limits: `\"requests\";q=100;w=60`. Only where it has any."), false),
        "Retry-After": header(seconds, true),
        "WWW-Authenticate": header(text("How to authenticate."), true),
        "Location": header(text("Where what was made is to be found."), true),
        "ETag": header(text("The document's tag, for `If-None-Match`."), true),
    })
}

fn show(operation: &Operation, shared: &Shared, examples: &Value) -> Value {
    let scopes: Vec<&str> = operation.scope.into_iter().map(Scope::as_str).collect();
    let security = if operation.has_key {
        json!([{ "ApiKey": scopes }, { "Bearer": scopes }])
    } else {
        json!([])
    };
    let mut shown = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.means,
        "security": security,
    });
    let mut put = |name: &str, value: Value| {
        if let Some(members) = shown.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    if let Some(scope) = operation.scope {
        put("x-scope", json!(scope.as_str()));
    }
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        put("parameters", Value::Array(parameters));
    }
    if let Some(body) = &operation.body {
        let examples: Map<String, Value> = body
            .examples
            .iter()
            .map(|(summary, value)| {
                let name = summary
                    .to_ascii_lowercase()
                    .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                (name, json!({ "summary": summary, "value": value }))
            })
            .collect();
        let content =
            json!({ "application/json": { "schema": body.schema, "examples": examples } });
        put(
            "requestBody",
            json!({ "required": body.required, "content": content }),
        );
    }
    let mut responses = BTreeMap::new();
    for answer in &operation.answers {
        let example = examples.pointer(&format!("/{}/{}", operation.id, answer.status));
        responses.insert(
            answer.status,
            show_answer(answer, operation.has_key, example),
        );
    }
    for (status, codes) in refusals(operation) {
        // What a status says beside its success, as for `readyz`, is told there.
        responses
            .entry(status)
            .or_insert_with(|| shared.show(status, &codes));
    }
    let responses: Map<String, Value> = responses
        .into_iter()
        .map(|(status, shown)| (status.to_string(), shown))
        .collect();
    put("responses", Value::Object(responses));
    shown
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let of_path = operation.path_parameters().into_iter().map(|(name, schema)| {
        let means = match schema.get("description") {
            Some(means) => means.clone(),
            None => json!(format!("The {} that the call is about.", schema_name(&schema))),
        };
        json!({ "name": name, "in": "path", "required": true, "description": means, "schema": schema })
    });
    let in_query = operation.query.iter().map(|parameter| ("query", parameter));
    let in_headers = operation
        .headers
        .iter()
        .map(|parameter| ("header", parameter));
    let named = in_query.chain(in_headers).map(|(place, parameter)| {
        let means = parameter
            .schema
            .get("description")
            .cloned()
            .unwrap_or_default();
        json!({
            "name": parameter.name, "in": place, "required": parameter.required, "description": means,
            "schema": parameter.schema,
        })
    });
    of_path.chain(named).collect()
}

/// `WebhookId` as words.
fn schema_name(schema: &Value) -> &'static str {
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match name.rsplit('/').next() {
        Some("WebhookId") => "webhook",
        Some("JobId") => "job",
        Some("EventId") => "event",
        _ => "thing",
    }
}

fn show_answer(answer: &Answer, has_key: bool, example: Option<&Value>) -> Value {
    let mut shown = json!({ "description": answer.means });
    let mut put = |name: &str, value: Value| {
        if let Some(members) = shown.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    let limits: &[&str] = if has_key {
        &["RateLimit", "RateLimit-Policy"]
    } else {
        &[]
    };
    let names: Vec<&str> = answer.headers.iter().chain(limits).copied().collect();
    if !names.is_empty() {
        put("headers", header_references(&names));
    }
    match &answer.content {
        Content::Nothing => {}
        Content::Text { kinds, example } => {
            let media = json!({ "schema": text("Plain text."), "example": example });
            let content = kinds.iter().map(|kind| ((*kind).to_owned(), media.clone()));
            put("content", Value::Object(content.collect()));
        }
        Content::Json { schema } => {
            let mut media = json!({ "schema": schema });
            if let (Some(example), Some(members)) = (example, media.as_object_mut()) {
                members.insert("example".to_owned(), example.clone());
            }
            put("content", json!({ "application/json": media }));
        }
    }
    shown
}

fn header_references(names: &[&str]) -> Value {
    let references = names.iter().map(|name| {
        (
            (*name).to_owned(),
            json!({ "$ref": format!("#/components/headers/{name}") }),
        )
    });
    Value::Object(references.collect())
}

/// The codes that an operation can be refused with, by status.
fn refusals(operation: &Operation) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let mut found: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    for name in operation.codes.iter().flat_map(|group| group.iter()) {
        let status = codes::find(name).map_or(500, |code| code.status);
        found.entry(status).or_default().insert(name);
    }
    found
}

/// A refusal that several operations have: a status and its codes.
type Refusal = (u16, BTreeSet<&'static str>);

/// The refusals that are named once and referred to.
struct Shared {
    names: HashMap<Refusal, String>,
}

impl Shared {
    fn of(operations: &[Operation]) -> Self {
        let mut used: BTreeMap<Refusal, usize> = BTreeMap::new();
        for operation in operations {
            for refusal in refusals(operation) {
                *used.entry(refusal).or_default() += 1;
            }
        }
        let (mut names, mut taken) = (HashMap::new(), HashMap::<u16, usize>::new());
        for (refusal, _) in used.into_iter().filter(|(_, count)| *count > 1) {
            let number = taken.entry(refusal.0).or_default();
            *number += 1;
            let reason = StatusCode::from_u16(refusal.0).ok();
            let reason = reason
                .and_then(|status| status.canonical_reason())
                .unwrap_or("Error");
            let reason: String = reason.split(' ').collect();
            let name = match number {
                1 => reason,
                number => format!("{reason}{number}"),
            };
            names.insert(refusal, name);
        }
        Self { names }
    }

    fn show(&self, status: u16, codes: &BTreeSet<&'static str>) -> Value {
        match self.names.get(&(status, codes.clone())) {
            Some(name) => json!({ "$ref": format!("#/components/responses/{name}") }),
            None => refusal(status, codes),
        }
    }

    fn responses(&self) -> Value {
        let sorted: BTreeMap<&String, Value> = self
            .names
            .iter()
            .map(|((status, codes), name)| (name, refusal(*status, codes)))
            .collect();
        json!(sorted)
    }
}

fn refusal(status: u16, names: &BTreeSet<&'static str>) -> Value {
    let lines = names.iter().filter_map(|name| codes::find(name));
    let lines: Vec<String> = lines
        .map(|code| format!("- `{}`: {}", code.name, code.means))
        .collect();
    let schema = json!({
        "$ref": "#/components/schemas/Problem",
        "properties": { "status": { "const": status }, "code": { "enum": names } },
    });
    let headers: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        503 | 507 => &["Retry-After"],
        _ => &[],
    };
    let mut shown = json!({
        "description": lines.join("\n"),
        "content": { "application/problem+json": { "schema": schema, "example": example(status, names) } },
    });
    if let (false, Some(members)) = (headers.is_empty(), shown.as_object_mut()) {
        members.insert("headers".to_owned(), header_references(headers));
    }
    shown
}

/// A problem as it is answered, with the code's meaning as its detail.
fn example(status: u16, names: &BTreeSet<&'static str>) -> Value {
    let code = names.iter().find_map(|name| codes::find(name));
    let (name, means) = code.map_or(("internal", ""), |code| (code.name, code.means));
    let reason = StatusCode::from_u16(status).ok();
    json!({
        "type": format!("urn:hookwheel:problem:{name}"),
        "title": reason.and_then(|status| status.canonical_reason()).unwrap_or("Error"),
        "status": status,
        "code": name,
        "detail": means,
    })
}
