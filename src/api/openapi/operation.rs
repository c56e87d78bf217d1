//! One call of the API: how it is reached, who may make it, what it takes and answers, and the handler that does it.
//!
//! Invariant: a handler is reached by an [`Operation`] only, so no call is without its description.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use http::Method;
use serde_json::Value;

use crate::api::Api;
use crate::model::Scope;

use super::shapes::{Named, named, text, text_like, whole};

/// Groups of codes that calls of one kind share.
pub(super) type Codes = &'static [&'static str];

/// What any request can be answered.
pub(super) const OF_ALL: Codes = &["length_ambiguous", "connections_full"];
/// … one with a key.
pub(super) const OF_KEYS: Codes = &["unauthorized", "internal", "memory_full"];
/// … one that needs a key with a scope.
pub(super) const OF_SCOPES: Codes = &["scope_missing"];
/// … one whose body is read.
pub(super) const OF_BODIES: Codes = &[
    "utf8_invalid",
    "body_incomplete",
    "json_invalid",
    "body_timeout",
    "body_too_slow",
    "too_large",
    "encoding_unsupported",
];
/// … one whose body is an object.
pub(super) const OF_OBJECTS: Codes = &["fields_invalid", "missing", "unknown_field"];
/// … one that has parameters in its query.
pub(super) const OF_QUERIES: Codes = &["query_invalid"];
/// … one of a list with pages.
pub(super) const OF_PAGES: Codes = &["limit_invalid", "cursor_invalid"];
/// … one that names something in its path.
pub(super) const OF_NAMES: Codes = &["not_found"];
/// … one that writes to the journal.
pub(super) const OF_WRITES: Codes = &["busy", "stopping", "disk_full", "too_large"];
/// … one that changes a webhook.
pub(super) const OF_CHANGES: Codes = &["changed_in_between", "not_found"];
/// … one that reads a great many records.
pub(super) const OF_SCANS: Codes = &["busy", "too_many_reads"];
/// … one that reads a few.
pub(super) const OF_LOOK_UPS: Codes = &["busy"];

/// A parameter of the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) schema: Value,
    pub(super) required: bool,
}

/// What a call takes.
pub(super) struct Body {
    pub(super) schema: Value,
    pub(super) required: bool,
    pub(super) examples: Vec<Named>,
}

/// What a call answers where nothing is wrong.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) means: &'static str,
    pub(super) content: Content,
    /// Headers beside those of every answer, by their names among the document's components.
    pub(super) headers: &'static [&'static str],
}

/// The kinds of body an answer has.
pub(super) enum Content {
    /// With an example that was recorded, where there is one.
    Json {
        schema: Value,
    },
    Text {
        kinds: &'static [&'static str],
        example: &'static str,
    },
    Nothing,
}

/// A call of the API.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) means: &'static str,
    /// Whether a key is asked for.
    pub(super) has_key: bool,
    /// What the key needs; none: any key will do.
    pub(super) scope: Option<Scope>,
    pub(super) query: Vec<Parameter>,
    pub(super) headers: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) codes: Vec<Codes>,
    pub(super) route: MethodRouter<Arc<Api>>,
}

impl Operation {
    pub(super) fn get<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(Method::GET, path, routing::get(handler))
    }

    pub(super) fn post<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(Method::POST, path, routing::post(handler))
    }

    pub(super) fn patch<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(Method::PATCH, path, routing::patch(handler))
    }

    pub(super) fn delete<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(Method::DELETE, path, routing::delete(handler))
    }

    fn new(method: Method, path: &'static str, route: MethodRouter<Arc<Api>>) -> Self {
        let codes = if path.contains('{') {
            vec![OF_ALL, OF_NAMES]
        } else {
            vec![OF_ALL]
        };
        Self {
            method,
            path,
            id: "",
            tag: "",
            summary: "",
            means: "",
            has_key: false,
            scope: None,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
            codes,
            route,
        }
    }

    /// Its name for programs, the group that it is listed with, its name for people, and what it does.
    pub(super) fn named(
        mut self,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
        means: &'static str,
    ) -> Self {
        (self.id, self.tag, self.summary, self.means) = (id, tag, summary, means);
        self
    }

    /// The scope that a key needs for it.
    pub(super) fn needs(mut self, scope: Scope) -> Self {
        (self.has_key, self.scope) = (true, Some(scope));
        self.codes.push(OF_KEYS);
        self.codes.push(OF_SCOPES);
        // Who posts events has a bound on these; all other calls are counted together.
        self.codes.push(match scope {
            Scope::Send => &["too_many_events"],
            Scope::Admin | Scope::Read => &["too_many_requests"],
        });
        self
    }

    /// That it is made with a key, and that any will do.
    pub(super) fn needs_any_key(mut self) -> Self {
        self.has_key = true;
        self.codes.push(OF_KEYS);
        self.codes.push(&["too_many_requests"]);
        self
    }

    /// A parameter of the query; its schema says what it means.
    pub(super) fn asks(self, name: &'static str, schema: Value) -> Self {
        self.with_parameter(name, schema, false)
    }

    /// A parameter of the query that must be there.
    pub(super) fn must_ask(self, name: &'static str, schema: Value) -> Self {
        self.with_parameter(name, schema, true)
    }

    fn with_parameter(mut self, name: &'static str, schema: Value, required: bool) -> Self {
        if self.query.is_empty() {
            self.codes.push(OF_QUERIES);
        }
        self.query.push(Parameter {
            name,
            schema,
            required,
        });
        self
    }

    /// A header of the request that is read, where there is one.
    pub(super) fn reads_header(mut self, name: &'static str, schema: Value) -> Self {
        self.headers.push(Parameter {
            name,
            schema,
            required: false,
        });
        self
    }

    /// The parameters of a list, whose cursors look like this.
    pub(super) fn paged(self, rows_default: usize, rows_max: usize, cursor: &str) -> Self {
        let mut limit = whole(1, rows_max as u64, "Rows of one page at most.");
        if let Some(members) = limit.as_object_mut() {
            members.insert("default".to_owned(), rows_default.into());
        }
        let means = "`next_cursor` of the page before, unchanged.";
        let mut paged = self
            .asks("limit", limit)
            .asks("cursor", text_like(cursor, means));
        paged.codes.push(OF_PAGES);
        paged
    }

    /// A body that must be there, and examples of it with what each shows.
    pub(super) fn takes(self, schema: Value, examples: Vec<Named>) -> Self {
        self.with_body(schema, true, examples)
    }

    /// A body that may be left out.
    pub(super) fn may_take(self, schema: Value, examples: Vec<Named>) -> Self {
        self.with_body(schema, false, examples)
    }

    fn with_body(mut self, schema: Value, required: bool, examples: Vec<Named>) -> Self {
        self.codes.push(OF_BODIES);
        if schema.get("type").and_then(Value::as_str) != Some("array") {
            self.codes.push(OF_OBJECTS);
        }
        self.body = Some(Body {
            schema,
            required,
            examples,
        });
        self
    }

    /// JSON with a status.
    pub(super) fn answers(self, status: u16, means: &'static str, schema: Value) -> Self {
        self.with_answer(status, means, Content::Json { schema })
    }

    /// A text with a status, in one of these forms, as the client asks.
    pub(super) fn answers_text(
        self,
        status: u16,
        means: &'static str,
        kinds: &'static [&'static str],
        example: &'static str,
    ) -> Self {
        self.with_answer(status, means, Content::Text { kinds, example })
    }

    /// Nothing but a status.
    pub(super) fn answers_nothing(self, status: u16, means: &'static str) -> Self {
        self.with_answer(status, means, Content::Nothing)
    }

    fn with_answer(mut self, status: u16, means: &'static str, content: Content) -> Self {
        self.answers.push(Answer {
            status,
            means,
            content,
            headers: &[],
        });
        self
    }

    /// Headers of the answer that was given last.
    pub(super) fn with_headers(mut self, headers: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers = headers;
        }
        self
    }

    /// Codes that it can answer beside those of its kind.
    pub(super) fn refuses(mut self, codes: Codes) -> Self {
        self.codes.push(codes);
        self
    }

    /// The names in its path, each with the schema of what may stand there.
    pub(super) fn path_parameters(&self) -> Vec<(&'static str, Value)> {
        let parts: Vec<&'static str> = self.path.split('/').collect();
        let pairs = parts.windows(2);
        let found = pairs.filter_map(|pair| match pair {
            [before, part] => Some((*before, part.strip_prefix('{')?.strip_suffix('}')?)),
            _ => None,
        });
        found.map(|(of, name)| (name, path_schema(of))).collect()
    }
}

/// What stands in a path behind this word.
fn path_schema(of: &str) -> Value {
    match of {
        "webhooks" => named("WebhookId"),
        "jobs" => named("JobId"),
        "events" | "deliveries" => named("EventId"),
        "event-types" => text("An event type."),
        _ => text("A name."),
    }
}
