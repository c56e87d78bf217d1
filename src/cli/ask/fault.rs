//! Why a command failed, for the person at the terminal and for programs.

use std::io;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::text::{Style, Text};
use crate::cli::EXIT_USAGE;
use crate::cli::client::Answer;

const EXIT_FAILED: u8 = 1;

/// Why a command failed.
#[derive(Debug)]
pub(in crate::cli) struct Fault {
    /// Stable, for programs: the API's code, or one of the command's own.
    pub(super) code: String,
    /// What is wrong.
    pub(super) detail: String,
    /// Fields at fault, as the API names them.
    errors: Vec<Value>,
    /// What the daemon answered with, where it did.
    pub(super) status: Option<StatusCode>,
    /// What to do.
    hints: Vec<String>,
    /// The exit code.
    pub(in crate::cli) exit: u8,
}

/// What a command comes to.
pub(in crate::cli) type Done<T> = Result<T, Fault>;

impl Fault {
    /// The work failed.
    pub(in crate::cli) fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
            status: None,
            hints: Vec::new(),
            exit: EXIT_FAILED,
        }
    }

    /// What was asked for is of no use.
    pub(in crate::cli) fn usage(code: &str, detail: impl Into<String>) -> Self {
        Self {
            exit: EXIT_USAGE,
            ..Self::new(code, detail)
        }
    }

    /// The same, with what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What the daemon refused: a problem document, or whatever else was answered.
    pub(super) fn of(answer: &Answer) -> Self {
        let status = answer.status;
        let text = |name: &str| answer.body.get(name).and_then(Value::as_str);
        let fault = match (text("code"), text("detail")) {
            (Some(code), Some(detail)) => Self::new(code, detail),
            _ => {
                const SHOWN_MAX: usize = 200;
                let body: String = answer.text.trim().chars().take(SHOWN_MAX).collect();
                let detail = match body.is_empty() {
                    true => format!("answered {status}"),
                    false => format!("answered {status}: {body}"),
                };
                Self::new("unexpected_answer", detail)
                    .hint("is this a Hookwheel daemon? its URL is told by --url, HOOKWHEEL_URL or the config")
            }
        };
        let errors = answer.body.get("errors").and_then(Value::as_array).cloned();
        Self {
            errors: errors.unwrap_or_default(),
            status: Some(status),
            ..fault
        }
    }

    /// Whether one of the fields at fault has this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code == code || self.errors.iter().any(|error| error["code"] == code)
    }

    /// Whether whoever reads the output has gone, so that there is nobody to be told.
    pub(in crate::cli) fn is_silent(&self) -> bool {
        self.code == "output_closed"
    }

    /// For people: what is wrong, each field at fault, and what to do.
    pub(super) fn lines(&self) -> Vec<Text> {
        let head = Text::styled(Style::Bad, "hookwheel:")
            .put(" ")
            .put(&self.detail);
        let mut lines = vec![head];
        // One fault is the detail itself.
        let listed = self.errors.iter().filter(|_| self.errors.len() > 1);
        for error in listed {
            let pointer = error["pointer"].as_str().unwrap_or_default();
            let detail = error["detail"].as_str().unwrap_or_default();
            lines.push(
                Text::from("  ")
                    .with(Style::Bold, pointer)
                    .put("  ")
                    .put(detail),
            );
        }
        lines.extend(self.hints.iter().map(|hint| Text::from("  ").put(hint)));
        lines
    }

    /// For people, where there is no screen: what is wrong, and what to do.
    pub(super) fn told(&self) -> String {
        let hints = self.hints.iter().map(|hint| format!("\n  {hint}"));
        std::iter::once(self.detail.clone()).chain(hints).collect()
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.code));
        error.insert("detail".to_owned(), json!(self.detail));
        if let Some(status) = self.status {
            error.insert("status".to_owned(), json!(status.as_u16()));
        }
        if !self.errors.is_empty() {
            error.insert("errors".to_owned(), json!(self.errors));
        }
        if !self.hints.is_empty() {
            error.insert("hints".to_owned(), json!(self.hints));
        }
        json!({ "error": error })
    }
}

impl From<io::Error> for Fault {
    /// Of writing to standard output or standard error.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                exit: 0,
                ..Self::new("output_closed", "nobody reads the output")
            },
            _ => Self::new(
                "output_failed",
                format!("the output cannot be written: {error}"),
            ),
        }
    }
}
