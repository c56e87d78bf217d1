//! What is wrong with a config, each fault with its place, the line as written, and the fix.
//!
//! Collects every fault and stops at none. Never prints what may be a secret: of a line that sets a
//! hash, a key or a password, only the part before the value is shown.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::tree::Origin;

/// More of a line than this is not shown; it would only wrap.
const LINE_CHARS_MAX: usize = 160;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file could not be read.
    #[error("{}: the config file cannot be read: {cause}; {fix}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// The file was read, and these things are wrong with it, in the order of the file. Never empty.
    #[error("{}", list(.0))]
    Invalid(Vec<ConfigError>),
}

impl ConfigErrors {
    /// The faults found in the file; empty where it could not be read.
    #[must_use]
    pub fn faults(&self) -> &[ConfigError] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid(faults) => faults,
        }
    }
}

/// One fault, or what should be known of a config that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// The key concerned, such as `accounts[0].keys[1].hash`; empty for a syntax error.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// How to put it right.
    pub fix: String,
    /// The line as written and the caret's line below it.
    source: Option<(String, String)>,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the config file; line and column (in characters) from 1.
    File {
        /// The file's name as given.
        name: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment: {name}"),
        }
    }
}

impl ConfigError {
    /// Place, field, problem and fix on one line, as for a log.
    #[must_use]
    pub fn line(&self) -> String {
        let field = if self.field.is_empty() { "" } else { ": " };
        let (place, name) = (&self.place, &self.field);
        format!("{place}{field}{name}: {}; {}", self.problem, self.fix)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())?;
        if let (Some((text, caret)), Place::File { line, .. }) = (&self.source, &self.place) {
            let gutter = " ".repeat(line.to_string().len());
            write!(f, "\n{gutter} |\n{line} | {text}\n{gutter} | {caret}")?;
        }
        Ok(())
    }
}

fn list(faults: &[ConfigError]) -> String {
    let mut text = String::new();
    for fault in faults {
        text.push_str(&fault.to_string());
        text.push_str("\n\n");
    }
    let noun = if faults.len() == 1 { "error" } else { "errors" };
    text.push_str(&format!("{} {noun} in the config", faults.len()));
    text
}

/// The collector of faults of one file.
#[derive(Debug)]
pub(super) struct Faults<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl<'t> Faults<'t> {
    /// A collector for the file named `file` with this text.
    pub(super) const fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds one fault.
    pub(super) fn add(
        &mut self,
        at: &Origin,
        field: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let fault = self.describe(at, field, problem.into(), fix.into());
        self.found.push(fault);
    }

    /// Adds what is no fault, but should be known.
    pub(super) fn warn(
        &mut self,
        at: &Origin,
        field: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let warning = self.describe(at, field, problem.into(), fix.into());
        self.warnings.push(warning);
    }

    /// What should be known of a config that is right.
    pub(super) fn into_warnings(self) -> Vec<ConfigError> {
        self.warnings
    }

    fn describe(&self, at: &Origin, field: &str, problem: String, fix: String) -> ConfigError {
        let (place, source) = match at {
            Origin::File(span) => {
                let (line, column) = self.position(span.start);
                let place = self.in_file(line, column);
                // A header's line is its value, which may be a credential.
                let shown = (!field.contains(".headers."))
                    .then(|| self.excerpt((line, column), span.len(), field.is_empty()));
                (place, shown.flatten())
            }
            Origin::Environment(name) => (Place::Environment(name.clone()), None),
            Origin::Whole => (self.in_file(1, 1), None),
        };
        ConfigError {
            place,
            field: field.to_owned(),
            problem,
            fix,
            source,
        }
    }

    /// The line of a place in the file, from 1, for messages that name a second place.
    pub(super) fn line_of(&self, at: &Origin) -> usize {
        match at {
            Origin::File(span) => self.position(span.start).0,
            Origin::Environment(_) | Origin::Whole => 1,
        }
    }

    /// Whether anything was found.
    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All faults, in the order of the file, those of the environment last.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.found.sort_by(|a, b| a.place.cmp(&b.place));
        ConfigErrors::Invalid(self.found)
    }

    fn in_file(&self, line: usize, column: usize) -> Place {
        let name = self.file.to_owned();
        Place::File { name, line, column }
    }

    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
        (line, column)
    }

    fn excerpt(
        &self,
        (line, column): (usize, usize),
        span: usize,
        is_syntax: bool,
    ) -> Option<(String, String)> {
        let written = self.text.lines().nth(line - 1)?;
        let mut visible = visible_chars(written);
        if self.may_be_credential(line, is_syntax) {
            let value = written.find('=').map_or(0, |at| at + 1);
            visible = visible.min(written.get(..value).unwrap_or("").chars().count());
        }
        let shown: String = written.chars().take(visible).collect();
        if shown.trim().is_empty() {
            return None;
        }
        let cut = shown.len() < written.len();
        let pad: String = written
            .chars()
            .take((column - 1).min(LINE_CHARS_MAX))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let room = (shown.chars().count() + 1).saturating_sub(column).max(1);
        let caret = "^".repeat(span.clamp(1, room));
        let shown = if cut { format!("{shown}…") } else { shown };
        Some((shown, pad + &caret))
    }
}

impl Faults<'_> {
    /// Whether a value in this line may be a credential whatever its name: below `[webhooks.headers]`, and where an entry
    /// of `[[webhooks]]` is no TOML, as headers and texts of several lines stand there. So this goes by the text.
    fn may_be_credential(&self, line: usize, is_syntax: bool) -> bool {
        let above: Vec<&str> = self.text.lines().take(line.saturating_sub(1)).collect();
        let mut names = above.iter().rev().map(|line| line.trim());
        let name = names.find(|line| line.starts_with('['));
        name.is_some_and(|name| {
            name.contains("headers") || (is_syntax && name.contains("webhooks"))
        })
    }
}

/// How many characters of a line may be shown: all, unless it sets something that may be a secret. Of a webhook's URL
/// the path and the query may be one.
fn visible_chars(line: &str) -> usize {
    const SECRET: [&str; 7] = ["hash", "key", "secret", "token", "password", "url", "value"];
    let mut end = line.len();
    for (at, _) in line.match_indices('=') {
        let key = line
            .get(..at)
            .unwrap_or("")
            .trim_end()
            .trim_end_matches(['"', '\'']);
        let begin = key.rfind([' ', '\t', '{', ',']).map_or(0, |at| at + 1);
        let of_headers = key.get(begin..).unwrap_or("").starts_with("headers");
        if of_headers || SECRET.iter().any(|word| key.ends_with(word)) {
            end = end.min(at + 1);
        }
    }
    let chars = line.get(..end).unwrap_or("").chars().count();
    chars.min(LINE_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, span: std::ops::Range<usize>) -> String {
        let mut faults = Faults::new("c.toml", text);
        faults.add(&Origin::File(span), "a.b", "is wrong", "make it right");
        faults.into_errors().faults()[0].to_string()
    }

    #[test]
    fn shows_the_line_and_a_caret_under_the_value() {
        let text = "# first\n\tlisten = \"x\" # é\n";
        let at = text.find("\"x\"").unwrap();
        assert_eq!(
            one(text, at..at + 3),
            "c.toml:2:11: a.b: is wrong; make it right\n  |\n2 | \tlisten = \"x\" # é\n  | \t         ^^^"
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = "é = 1\n";
        assert!(
            one(text, 5..6).starts_with("c.toml:1:5: "),
            "{}",
            one(text, 5..6)
        );
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_cut_before_the_value() {
        for text in [
            "hash = \"hunter2\"",
            "keys = [{ name = \"a\", key= \"hunter2\" }]",
            "\"secret\" = 'hunter2'",
            "auth_value = \"hunter2",
        ] {
            let shown = one(text, 0..4);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains('…'), "{shown}");
        }
    }

    #[test]
    fn a_line_of_a_table_of_headers_is_cut_whatever_its_name() {
        let text = "[[webhooks]]\nurl = \"u\"\n[webhooks.headers]\nX-Api = 'hunter2\n";
        let at = text.find('\'').unwrap();
        let shown = one(text, at..at + 1);
        assert!(shown.contains("4 | X-Api =…"), "{shown}");
        // What is no TOML has no field.
        for text in [
            "[[webhooks]]\nheaders = {\n  X-Api = \"hunter2\n}\n",
            "[[webhooks]]\nname = \"\"\"\nhunter2\n",
        ] {
            let at = text.find("hunter2").unwrap();
            let mut faults = Faults::new("c.toml", text);
            faults.add(&Origin::File(at..at + 1), "", "not TOML", "write TOML");
            let shown = faults.into_errors().faults()[0].to_string();
            assert!(shown.starts_with("c.toml:3:"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let text = "[webhooks.headers]\nA = \"b\"\n[server]\nlisten = 3\n";
        let at = text.find('3').unwrap();
        assert!(one(text, at..at + 1).contains("listen = 3"));
    }

    #[test]
    fn a_span_at_the_end_of_the_file_is_reported_without_a_panic() {
        assert!(one("a = [1,\n", 8..8).starts_with("c.toml:2:1: "));
        assert!(one("", 0..0).starts_with("c.toml:1:1: "));
        assert!(one("é", 1..99).starts_with("c.toml:1:"));
    }
}
