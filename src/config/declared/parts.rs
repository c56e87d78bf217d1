//! The parts of an entry of `[[webhooks]]` that are written otherwise than in a registration: values as JSON with their
//! places, filters, headers, credentials in files.

use serde_json::{Map, Number, Value};

use crate::config::files::credential;
use crate::config::reader::Placed;
use crate::config::secrets::warn_of_eyes;
use crate::config::tree::{Kind, Node};
use crate::model::Secret;

use super::{Entry, escaped};

impl Entry<'_, '_, '_, '_> {
    /// A value as JSON, with the place of each part of it.
    pub(super) fn json(&mut self, node: Node, pointer: &str, field: &str) -> Option<Value> {
        self.note(pointer.to_owned(), node.at.clone(), field.to_owned());
        match node.kind {
            Kind::Text(text) => Some(Value::String(text)),
            Kind::Boolean(value) => Some(Value::Bool(value)),
            Kind::Integer(Some(number)) => Some(Value::Number(number.into())),
            Kind::Integer(None) => {
                self.fault(
                    &node.at,
                    field,
                    "is out of range",
                    "write a number of 64 bits",
                );
                None
            }
            Kind::Float(text) => {
                let number = text.parse().ok().and_then(Number::from_f64);
                if number.is_none() {
                    let fix = "write a number with digits";
                    self.fault(&node.at, field, "is a number that JSON has not", fix);
                }
                number.map(Value::Number)
            }
            Kind::Datetime => {
                self.fault(&node.at, field, "must not be a date", "write it in quotes");
                None
            }
            Kind::Array(items) => {
                let items = items.into_iter().enumerate().map(|(at, item)| {
                    self.json(item, &format!("{pointer}/{at}"), &format!("{field}[{at}]"))
                });
                let items: Vec<Option<Value>> = items.collect();
                items
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .map(Value::Array)
            }
            Kind::Table(entries) => {
                let members = entries.into_iter().map(|(key, (_, node))| {
                    let pointer = format!("{pointer}/{}", escaped(&key));
                    let value = self.json(node, &pointer, &format!("{field}.{key}"))?;
                    Some((key, value))
                });
                let members: Vec<Option<(String, Value)>> = members.collect();
                members
                    .into_iter()
                    .collect::<Option<Map<_, _>>>()
                    .map(Value::Object)
            }
        }
    }

    /// A filter as a table, or as JSON in a text.
    pub(super) fn filter(&mut self, node: Node) {
        let Kind::Text(text) = &node.kind else {
            return self.put_node("filter", "filter", node);
        };
        match serde_json::from_str(text) {
            Ok(value) => self.put("filter", "filter", node.at, value),
            Err(error) => {
                let fix = "write an event pattern as JSON: '{\"data\": {\"plan\": [\"pro\"]}}'";
                self.refuse(&node.at, "filter", format!("is not JSON: {error}"), fix);
            }
        }
    }

    /// Headers by name: a text, or a table that names a file with the value.
    pub(super) fn headers(&mut self, node: Node) {
        const FIX: &str =
            "write a table: headers = { Name = \"value\", Other = { value_file = \"…\" } }";
        let Kind::Table(entries) = node.kind else {
            let problem = format!("must be a table, but is {}", node.kind.name());
            return self.refuse(&node.at, "headers", problem, FIX);
        };
        let mut headers = Map::new();
        for (name, (at, node)) in entries {
            let key = format!("headers.{name}");
            let field = format!("{}.{key}", self.table.field);
            self.note(format!("/headers/{}", escaped(&name)), at, field);
            let value = match &node.kind {
                Kind::Text(text) => Some(Value::String(text.clone())),
                Kind::Table(inner) if inner.keys().eq(["value_file"]) => {
                    let key = format!("{key}.value_file");
                    inner
                        .get("value_file")
                        .and_then(|(_, node)| self.file(&key, node))
                }
                _ => {
                    self.refuse(&node.at, &key, "is no header's value", FIX);
                    None
                }
            };
            headers.extend(value.map(|value| (name, value)));
        }
        self.put("headers", "headers", node.at, Value::Object(headers));
    }

    /// The client credentials, whose secret stands in a file.
    pub(super) fn oauth2(&mut self, node: Node) {
        let Node {
            at,
            kind: Kind::Table(mut entries),
        } = node
        else {
            return self.put_node("oauth2", "oauth2", node);
        };
        let field = format!("{}.oauth2", self.table.field);
        let inline = entries.remove("client_secret");
        let file = entries.remove("client_secret_file");
        let node = Node {
            at: at.clone(),
            kind: Kind::Table(entries),
        };
        let Some(Value::Object(mut inner)) = self.json(node, "/oauth2", &field) else {
            return;
        };
        let key = "oauth2.client_secret_file";
        let secret = match (&file, &inline) {
            (Some((_, node)), _) => self.file(key, node),
            (None, Some((at, _))) => {
                let fix = "put it into a file of its own, and write client_secret_file = \"…\"";
                let problem = "is a secret, which the config does not hold";
                self.refuse(at, "oauth2.client_secret", problem, fix);
                None
            }
            (None, None) => {
                let fix = "add client_secret_file = \"…\" with the path of a file that holds it";
                self.refuse(&at, key, "is missing", fix);
                None
            }
        };
        let place = file.map_or_else(|| at.clone(), |(_, node)| node.at);
        let field = format!("{field}.client_secret_file");
        self.note("/oauth2/client_secret".to_owned(), place, field);
        // Where it is not to be had that is told, once.
        let secret = secret.unwrap_or_else(|| "unread".into());
        inner.insert("client_secret".to_owned(), secret);
        self.put("oauth2", "oauth2", at, Value::Object(inner));
    }

    /// What stands in the file that a key names.
    pub(super) fn file(&mut self, key: &str, node: &Node) -> Option<Value> {
        let Kind::Text(path) = &node.kind else {
            let problem = format!("must be a string, but is {}", node.kind.name());
            self.refuse(
                &node.at,
                key,
                problem,
                "write the path of a file, in quotes",
            );
            return None;
        };
        match credential(self.means.base, path) {
            Ok(text) if text.expose().starts_with(Secret::SEALED) => {
                let problem = format!("the text in `{path}` begins as sealed secrets do");
                self.refuse(&node.at, key, problem, "put another one there");
                None
            }
            Ok(text) => {
                let placed = Placed {
                    value: path.clone(),
                    at: node.at.clone(),
                    field: format!("{}.{key}", self.table.field),
                };
                warn_of_eyes(self.root, self.means.base, &placed, "a webhook's secret");
                Some(Value::String(text.expose().to_owned()))
            }
            Err(refusal) => {
                self.refuse(&node.at, key, refusal.problem, refusal.fix);
                None
            }
        }
    }
}
