//! A webhook's fields as options of the command line, and as the API takes them.
//!
//! Credentials are read from files, as others on the machine can see arguments. What has no option of its own is given
//! by `--set` or `--from`.

use std::path::{Path, PathBuf};

use clap::Args;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::fault::{Done, Fault};
use super::reach::{read_bounded, text_of};
use super::session::{Session, rows, text};

/// What the daemon takes of a body by far.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// What can be said of a webhook when it is registered or changed.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct FieldOptions {
    /// An event type, or a pattern such as `order.*`, that it wants; can be given many times. None: all.
    #[arg(
        long = "event",
        alias = "events",
        short,
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    events: Vec<String>,
    /// Its name, which commands take in place of its id.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Send this format in place of the profile's envelope, such as slack.
    #[arg(long)]
    format: Option<String>,
    /// Only events that fit this event pattern: JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// `fifo`, `none`, or a JSON pointer to the key in `data` whose events keep their order.
    #[arg(long)]
    order: Option<String>,
    /// A header to send, `Name: value`; can be given many times. For credentials see --headers-file.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// A file with headers to send, `Name: value` on each line.
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
    /// A file with a token to send as `Authorization: Bearer …`.
    #[arg(long, value_name = "FILE")]
    bearer_token_file: Option<PathBuf>,
    /// How long its receiver may take, such as 10s.
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// The waits before each retry, such as 5s,5m,1h.
    #[arg(long, value_name = "DELAYS", value_delimiter = ',')]
    retry: Vec<String>,
    /// The config's [egress.tls.NAME] to use.
    #[arg(long, value_name = "NAME")]
    tls: Option<String>,
    /// Only events of this scope, whatever the profile calls it.
    #[arg(long)]
    scope: Option<String>,
    /// Any other field of the API: a name and its JSON; can be given many times.
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
    /// A file with a JSON object to begin with, - for standard input; options replace its fields.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl FieldOptions {
    /// The fields as the API takes them.
    pub(super) async fn read(&self, session: &mut Session<'_>) -> Done<Map<String, Value>> {
        let mut fields = match &self.from {
            None => Map::new(),
            Some(path) => {
                let shown = path.display().to_string();
                match json_of(&input(path)?, &shown)? {
                    Value::Object(fields) => fields,
                    _ => {
                        return Err(Fault::usage(
                            "json_invalid",
                            format!("{shown} must hold a JSON object"),
                        ));
                    }
                }
            }
        };
        let mut put = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        if !self.events.is_empty() {
            put("events", json!(self.events));
        }
        let texts = [
            ("name", &self.name),
            ("description", &self.description),
            ("format", &self.format),
            ("timeout", &self.timeout),
            ("tls", &self.tls),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        if let Some(filter) = &self.filter {
            put("filter", json_of(&given_or_file(filter)?, "--filter")?);
        }
        match self.order.as_deref() {
            None => {}
            Some("none") => put("order", Value::Null),
            Some("fifo") => put("order", json!("fifo")),
            Some(pointer) => put("order", json!({ "key": pointer })),
        }
        if let Some(headers) = self.headers()? {
            put("headers", headers);
        }
        if let Some(path) = &self.bearer_token_file {
            put("bearer_token", json!(input(path)?.trim()));
        }
        if !self.retry.is_empty() {
            put("retry", json!({ "delays": self.retry }));
        }
        for member in &self.set {
            let (name, value) = member.split_once('=').ok_or_else(|| {
                Fault::usage(
                    "set_invalid",
                    format!("--set {member}: write a field's name, `=` and its JSON"),
                )
            })?;
            put(
                name.trim(),
                json_of(&given_or_file(value)?, &format!("--set {name}"))?,
            );
        }
        if let Some(scope) = &self.scope {
            let field = scope_field(session).await?;
            fields.insert(field, json!(scope));
        }
        Ok(fields)
    }

    fn headers(&self) -> Done<Option<Value>> {
        let mut lines = self.headers.clone();
        if let Some(path) = &self.headers_file {
            let text = input(path)?;
            lines.extend(
                text.lines()
                    .filter(|line| !line.trim().is_empty())
                    .map(str::to_owned),
            );
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let mut headers = Map::new();
        for (number, line) in (1..).zip(&lines) {
            // It may be a credential, so it is not repeated.
            let refused = || {
                let detail = format!(
                    "header {number} of {} is none: write `Name: value`",
                    lines.len()
                );
                Fault::usage("header_invalid", detail)
            };
            let (name, value) = line.split_once(':').ok_or_else(refused)?;
            let (name, value) = (name.trim(), value.trim());
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(refused());
            }
            headers.insert(name.to_owned(), json!(value));
        }
        Ok(Some(Value::Object(headers)))
    }
}

/// What the account's profile calls an event's scope.
pub(super) async fn scope_field(session: &mut Session<'_>) -> Done<String> {
    let profiles = session.get("/api/v1/profiles").await?;
    let own = rows(&profiles.body, "data")
        .iter()
        .find(|profile| profile["own"] == true);
    let field = own
        .map(|profile| text(profile, "scope_field"))
        .filter(|field| !field.is_empty());
    let missing = || {
        Fault::new(
            "unexpected_answer",
            "the daemon does not tell what its profile calls a scope",
        )
    };
    field.map(str::to_owned).ok_or_else(missing)
}

/// The text of an argument: itself, or what the file holds that `@FILE` names; `-` is standard input.
pub(super) fn given_or_file(given: &str) -> Done<String> {
    match given.strip_prefix('@') {
        Some(path) => input(Path::new(path)),
        None if given == "-" => input(Path::new("-")),
        None => Ok(given.to_owned()),
    }
}

/// The text of a file, or of standard input.
pub(super) fn input(path: &Path) -> Done<String> {
    let is_standard = path == Path::new("-");
    let read = match is_standard {
        true => text_of(std::io::stdin().lock(), INPUT_BYTES_MAX),
        false => read_bounded(path, INPUT_BYTES_MAX),
    };
    read.map_err(|error| {
        let shown = if is_standard {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        Fault::usage(
            "input_unreadable",
            format!("{shown} cannot be read: {error}"),
        )
    })
}

/// Reads JSON that somebody gave.
pub(super) fn json_of(text: &str, what: &str) -> Done<Value> {
    serde_json::from_str(text)
        .map_err(|error| Fault::usage("json_invalid", format!("{what} is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_a_wrong_ones_value_is_not_repeated() {
        let mut options = FieldOptions {
            headers: vec!["X-A: 1".into(), "X-B:a: b ".into()],
            ..Default::default()
        };
        assert_eq!(
            options.headers().unwrap().unwrap(),
            json!({ "X-A": "1", "X-B": "a: b" })
        );
        for wrong in ["hunter2", "X A: hunter2", "X-A: hunter2\r\nX-B: 2"] {
            options.headers = vec![wrong.into()];
            let detail = options.headers().unwrap_err().detail;
            assert_eq!(detail, "header 1 of 1 is none: write `Name: value`");
        }
    }
}
