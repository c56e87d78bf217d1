//! Receivers' code in its own language: one process for each language, questions in, answers out.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookwheel::receiver::ReceivedRequest;
use serde_json::{Value, json};

use crate::support::{PATIENCE, skip};

/// A process that runs receivers' code.
pub struct Judge {
    language: &'static str,
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    package: Result<String, String>,
}

impl Judge {
    /// Every language that this machine has; those that it has not are skipped.
    pub fn all() -> Vec<Self> {
        [Self::node(), Self::python()]
            .into_iter()
            .flatten()
            .collect()
    }

    pub fn node() -> Option<Self> {
        Self::start("node", "node", "judge.mjs", &[])
    }

    pub fn python() -> Option<Self> {
        // -B: no compiled files beside the source.
        Self::start("python", "python3", "judge.py", &["-B"])
    }

    fn start(
        language: &'static str,
        program: &str,
        script: &str,
        options: &[&str],
    ) -> Option<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/receivers");
        let spawned = Command::new(program)
            .args(options)
            .arg(directory.join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                skip(
                    &format!("receivers in {language}"),
                    &format!("{program} cannot be run: {error}"),
                );
                return None;
            }
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // There is one answer to each question, and the next question waits for it.
        let (said, answers) = sync_channel(1);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let mut judge = Self {
            language,
            questions: child.stdin.take(),
            child,
            answers,
            reader: Some(reader),
            package: Err(String::new()),
        };
        let versions = match judge.try_ask(&json!({ "op": "versions" })) {
            Ok(versions) => versions,
            Err(why) => {
                skip(&format!("receivers in {language}"), &why);
                return None;
            }
        };
        judge.package = match versions["standardwebhooks"].as_str() {
            Some(version) => Ok(version.to_owned()),
            None => Err(versions["why"].as_str().unwrap_or("unknown").to_owned()),
        };
        Some(judge)
    }

    pub const fn language(&self) -> &'static str {
        self.language
    }

    /// The version of its package `standardwebhooks`, or why there is none.
    pub const fn package(&self) -> &Result<String, String> {
        &self.package
    }

    /// Whether `receiver`, with this secret, accepts a request with these headers and this body.
    pub fn accepts(
        &mut self,
        receiver: &str,
        secret: &str,
        request: &ReceivedRequest,
        body: &[u8],
    ) -> Result<(), String> {
        let headers: serde_json::Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
            .collect();
        let said = self.ask(&json!({
            "op": "verify", "receiver": receiver, "secret": secret, "headers": headers,
            "body": BASE64.encode(body),
        }));
        match said["accepted"].as_bool() {
            Some(true) => Ok(()),
            Some(false) => Err(said["why"].as_str().unwrap_or("no match").to_owned()),
            None => panic!("{}: no verdict: {said}", self.language),
        }
    }

    /// `JSON.stringify(JSON.parse(body))`; Node only.
    pub fn stringify(&mut self, body: &str) -> String {
        let said = self.ask(&json!({ "op": "stringify", "body": BASE64.encode(body) }));
        let Some(text) = said["body"].as_str() else {
            panic!("node cannot parse {body}: {said}");
        };
        String::from_utf8(BASE64.decode(text).unwrap()).unwrap()
    }

    /// Whether the value at `path` of `body` is `value`, numbers to the last digit; Python only.
    pub fn same(&mut self, body: &str, path: &[&str], value: &str) -> bool {
        let said = self.ask(&json!({
            "op": "same", "path": path, "body": BASE64.encode(body), "value": BASE64.encode(value),
        }));
        said["same"]
            .as_bool()
            .unwrap_or_else(|| panic!("python cannot compare {body} and {value}: {said}"))
    }

    fn ask(&mut self, question: &Value) -> Value {
        self.try_ask(question).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_ask(&mut self, question: &Value) -> Result<Value, String> {
        let silent = |why: &dyn Display| format!("{} does not answer: {why}", self.language);
        let to = self.questions.as_mut().unwrap();
        to.write_all(format!("{question}\n").as_bytes())
            .and_then(|()| to.flush())
            .map_err(|error| silent(&error))?;
        let line = self
            .answers
            .recv_timeout(PATIENCE)
            .map_err(|error| silent(&error))?;
        Ok(serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Judge {
    /// The process ends when its questions do.
    fn drop(&mut self) {
        drop(self.questions.take());
        if std::thread::panicking() {
            self.child.kill().unwrap();
        }
        self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}
