//! One daemon, one key and one screen: calls of the API whose failures are told as people need it.

use std::io;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded::Serializer;

use super::PageOptions;
use super::fault::{Done, Fault};
use super::reach::Reached;
use super::screen::Screen;
use crate::cli::client::{Answer, Client, Opened};

/// Rows of one page of the API at most.
pub(super) const ROWS_MAX: u32 = 200;
/// Pages that are asked for at most: as many as rows can be asked for, each with one.
const PAGES_MAX: u32 = 10_000;

/// A daemon that is asked.
#[derive(Debug)]
pub(in crate::cli) struct Session<'a> {
    client: Client,
    url_from: String,
    key_from: Option<String>,
    pub(super) screen: &'a Screen,
}

/// The rows of a list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) rows: Vec<Value>,
    /// Whether there are more, and from where.
    pub(super) next: Option<String>,
    /// The whole as the API tells it, each row to the letter.
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

impl<'a> Session<'a> {
    pub(in crate::cli) fn new(reached: Reached, screen: &'a Screen) -> Self {
        let Reached {
            client,
            url_from,
            key_from,
        } = reached;
        Self {
            client,
            url_from,
            key_from,
            screen,
        }
    }

    /// Where the daemon is, for people.
    pub(super) fn url(&self) -> String {
        self.client.shown()
    }

    /// What told where the daemon is.
    pub(super) fn url_from(&self) -> &str {
        &self.url_from
    }

    pub(super) const fn has_key(&self) -> bool {
        self.key_from.is_some()
    }

    pub(in crate::cli) async fn get(&mut self, path: &str) -> Done<Answer> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: Option<&Value>) -> Done<Answer> {
        self.call(Method::POST, path, body).await
    }

    /// One call that must succeed.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Done<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.call_text(method, path, body).await
    }

    /// As [`Session::call`], with the body to the letter.
    pub(super) async fn call_text(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Done<Answer> {
        let answer = self.ask(method, path, body).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(self.refused(&answer))
        }
    }

    /// One call, whatever is answered.
    pub(super) async fn ask(&mut self, method: Method, path: &str, body: String) -> Done<Answer> {
        let answer = self.client.call_text(method, path, body).await;
        answer.map_err(|error| self.unreachable(&error))
    }

    /// Asks for a stream.
    pub(super) async fn open(&mut self, path: &str) -> Done<Opened> {
        self.client
            .open(path)
            .await
            .map_err(|error| self.unreachable(&error))
    }

    /// As many rows of a list as are asked for, page by page.
    pub(super) async fn list(
        &mut self,
        path: &str,
        query: &[(&str, Option<&str>)],
        page: &PageOptions,
    ) -> Done<Listed> {
        let mut pieces: Vec<String> = Vec::new();
        let (mut left, mut cursor) = (page.limit, page.cursor.clone());
        // A page may have fewer rows than were asked for, but not none for ever.
        for _ in 0..PAGES_MAX {
            let limit = left.min(ROWS_MAX).to_string();
            let mut asked = query.to_vec();
            asked.extend([
                ("limit", Some(limit.as_str())),
                ("cursor", cursor.as_deref()),
            ]);
            let answer = self.get(&with_query(path, &asked)).await?;
            let read: Result<Page<'_>, _> = serde_json::from_str(&answer.text);
            let Ok(read) = read else {
                return Err(Fault::new(
                    "unexpected_answer",
                    format!("{path}: the answer is not a list"),
                ));
            };
            let count = u32::try_from(read.data.len()).unwrap_or(u32::MAX);
            pieces.extend(read.data.iter().map(|row| row.get().to_owned()));
            left = left.saturating_sub(count);
            // Asked for a cursor again, the same page would come for ever.
            let has_moved = read.next_cursor != cursor;
            cursor = read.next_cursor;
            if left == 0 || cursor.is_none() || !has_moved {
                break;
            }
        }
        let rows = pieces
            .iter()
            .map(|piece| serde_json::from_str(piece).unwrap_or(Value::Null))
            .collect();
        let text = format!(
            "{{\"data\":[{}],\"next_cursor\":{}}}",
            pieces.join(","),
            Value::from(cursor.clone())
        );
        Ok(Listed {
            rows,
            next: cursor,
            text,
        })
    }

    /// Says of a list that there is more of it.
    pub(super) fn tell_of_more(&self, listed: &Listed) -> Done<()> {
        match &listed.next {
            Some(cursor) => self.screen.note(format!(
                "there are more; --limit shows more at once, and --cursor {cursor} the next"
            )),
            None => Ok(()),
        }
    }

    /// What an answer that is no success comes to.
    pub(super) fn refused(&self, answer: &Answer) -> Fault {
        let fault = Fault::of(answer);
        let key = self.key_from.as_deref();
        match answer.status {
            StatusCode::UNAUTHORIZED => match key {
                Some(from) => fault.hint(format!("{} does not know the key, which came from {from}", self.url())),
                None => fault.hint("no key was given; see --key-file"),
            },
            StatusCode::FORBIDDEN => match key {
                Some(from) => fault.hint(format!(
                    "the key came from {from}; what it may do is told by `scopes` of the daemon's config"
                )),
                None => fault,
            },
            status if status.is_redirection() => {
                fault.hint("redirects are not followed, as they would carry the key elsewhere; name the daemon itself")
            }
            _ => fault,
        }
    }

    fn unreachable(&self, error: &anyhow::Error) -> Fault {
        let fault = Fault::new("unreachable", format!("{error:#}"));
        let io = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<io::Error>());
        let is_tls = error.chain().any(|cause| cause.is::<rustls::Error>())
            || io.is_some_and(|error| {
                error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>())
            });
        let fault = match io.map(io::Error::kind) {
            _ if is_tls => fault
                .hint("a private authority is named by --ca or HOOKWHEEL_CA")
                .hint("the URL must name the host that the certificate is for"),
            Some(io::ErrorKind::ConnectionRefused) => fault
                .hint("is the daemon running? `hookwheel serve` runs it")
                .hint("`systemctl status hookwheel` tells of it where it is a service"),
            _ if error.chain().any(|cause| cause.is::<hyper::Error>()) => {
                fault.hint("does it speak TLS there? then the URL begins with https://")
            }
            _ => fault,
        };
        fault.hint(format!(
            "the URL came from {}; --url or HOOKWHEEL_URL name another",
            self.url_from
        ))
    }
}

/// A path with those members of a query that there are.
pub(super) fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut members = Serializer::new(String::new());
    for (name, value) in query {
        if let Some(value) = value {
            members.append_pair(name, value);
        }
    }
    match members.finish() {
        members if members.is_empty() => path.to_owned(),
        members => format!("{path}?{members}"),
    }
}

/// A member of an answer as text; empty where it is none.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member of an answer as text, where it is one.
pub(super) fn text_if<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// A member of an answer; null where there is none.
pub(super) fn part<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// A member of an answer as a list; empty where it is none.
pub(super) fn rows<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// The texts in a member of an answer that is a list.
pub(super) fn words<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v str> {
    rows(value, name).iter().filter_map(Value::as_str)
}

/// A member of an answer as a number; 0 where it is none.
pub(super) fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// The sum of members that are numbers. What answers may be no daemon of ours, so the sum may be more than a number.
pub(super) fn sum(value: &Value, names: &[&str]) -> u64 {
    let counts = names.iter().map(|name| count(value, name));
    counts.fold(0, u64::saturating_add)
}
