//! What a command prints, and what it asks: results on standard output, all else on standard error.
//!
//! Colours and progress are for terminals only, and never with `NO_COLOR` or `TERM=dumb`. Nobody is asked anything
//! without a terminal to answer from.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use super::fault::{Done, Fault};
use super::table::Table;
use super::text::{Style, Text, harmless, indented, on_a_line};
use super::when;
use crate::model::{Clock, UnixMillis};

/// A line that is shorter than this shows nothing of use; some terminals say 0 where they do not know.
const WIDTH_MIN: usize = 20;
/// From this width on a time has how long ago it was beside it.
const WIDE: usize = 140;

/// Standard output and standard error as they are found.
#[derive(Debug)]
pub(in crate::cli) struct Screen {
    /// Whether the API's JSON is printed in place of text.
    pub(super) json: bool,
    /// Columns of the terminal; `None` where it is none.
    pub(super) width: Option<usize>,
    colours: bool,
    colours_err: bool,
    clock: Clock,
}

impl Screen {
    /// The screen that this process has.
    pub(in crate::cli) fn find(json: bool) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal();
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        let columns = columns.or_else(|| {
            let size = tcgetwinsize(io::stdout()).ok()?;
            Some(usize::from(size.ws_col))
        });
        let columns = columns
            .filter(|columns| *columns >= WIDTH_MIN)
            .unwrap_or(80);
        Self {
            json,
            width: is_terminal.then_some(columns),
            colours: is_terminal && !plain && !json,
            colours_err: io::stderr().is_terminal() && !plain,
            clock: Clock::system(),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> UnixMillis {
        self.clock.wall()
    }

    /// Whether standard error is a terminal, which can show progress.
    pub(super) fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// A line of the result.
    pub(super) fn line(&self, text: impl Into<Text>) -> Done<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.into().render(self.colours))?;
        Ok(out.flush()?)
    }

    /// A line that is cut where the terminal ends.
    pub(super) fn row(&self, text: Text) -> Done<()> {
        match self.width {
            Some(width) => self.line(text.cut(width)),
            None => self.line(text),
        }
    }

    /// A value with its name, in line with others of their kind.
    pub(super) fn fact(&self, name: &str, value: impl Into<Text>) -> Done<()> {
        const NAMES: usize = 14;
        let name = Text::styled(Style::Dim, name).fill(NAMES, false);
        self.line(name.join(value.into()))
    }

    /// A table, or what is said where it has no rows.
    pub(super) fn table(&self, table: &Table) -> Done<()> {
        for line in table.lines(self.width) {
            self.line(line)?;
        }
        Ok(())
    }

    /// A remark beside the result.
    pub(super) fn note(&self, text: impl Into<Text>) -> Done<()> {
        let mut err = io::stderr().lock();
        writeln!(err, "{}", text.into().render(self.colours_err))?;
        Ok(())
    }

    /// A program: to the letter in a file or a pipe.
    pub(super) fn verbatim(&self, text: &str) -> Done<()> {
        let mut out = io::stdout().lock();
        for line in text.lines() {
            match self.width {
                Some(_) => writeln!(out, "{}", harmless(&line.replace('\t', "    ")))?,
                None => writeln!(out, "{line}")?,
            }
        }
        Ok(out.flush()?)
    }

    /// JSON to the letter, on one line; over several on a terminal.
    pub(super) fn json_text(&self, text: &str) -> Done<()> {
        let shown = match self.width {
            Some(_) => indented(text),
            None => text.trim_end().to_owned(),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{shown}")?;
        Ok(out.flush()?)
    }

    /// A JSON value.
    pub(super) fn json_value(&self, value: &Value) -> Done<()> {
        self.json_text(&value.to_string())
    }

    /// One JSON value of many, on a line.
    pub(super) fn json_line(&self, value: &Value) -> Done<()> {
        let text = value.to_string();
        let shown = if self.width.is_some() {
            on_a_line(&text)
        } else {
            text
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{shown}")?;
        Ok(out.flush()?)
    }

    /// JSON below a heading, for people.
    pub(super) fn json_block(&self, text: &str) -> Done<()> {
        for line in indented(text).lines() {
            self.line(Text::from("  ").put(line))?;
        }
        Ok(())
    }

    /// What went wrong.
    pub(super) fn fault(&self, fault: &Fault) -> Done<()> {
        if self.json {
            self.json_value(&fault.to_json())?;
        }
        for line in fault.lines() {
            self.note(line)?;
        }
        Ok(())
    }

    /// A time in a table: whole where it is read by programs, how long ago where there is little room.
    pub(super) fn time(&self, at: Option<&str>) -> Text {
        let Some(at) = at else { return "–".into() };
        match self.width {
            None => at.into(),
            Some(width) if width >= WIDE => when::both(at, self.now()).into(),
            Some(_) => when::relative(at, self.now())
                .unwrap_or_else(|| at.to_owned())
                .into(),
        }
    }

    /// A time on a line of its own.
    pub(super) fn moment(&self, at: &str) -> String {
        when::both(at, self.now())
    }

    /// Asks whether to go on, which `yes` has answered already.
    ///
    /// # Errors
    /// Where the answer is no, or there is nobody to ask.
    pub(in crate::cli) fn confirm(&self, question: &str, yes: bool) -> Done<()> {
        if yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let detail = format!("{question} There is no terminal to answer from");
            return Err(Fault::usage("not_confirmed", detail)
                .hint("add --yes to do it without being asked"));
        }
        {
            let mut err = io::stderr().lock();
            let question = Text::styled(Style::Bold, question).put(" [y/N] ");
            write!(err, "{} ", question.render(self.colours_err))?;
            err.flush()?;
        }
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Fault::new("not_confirmed", "nothing was changed")),
        }
    }

    /// Shows how far something has come, in place of what was shown before; nothing clears it.
    pub(super) fn progress(&self, text: Option<Text>) {
        if !self.shows_progress() {
            return;
        }
        let shown = text.map(|text| text.cut(self.width.unwrap_or(80).saturating_sub(1)));
        let shown = shown
            .map(|text| text.render(self.colours_err))
            .unwrap_or_default();
        let mut err = io::stderr().lock();
        // Whoever closed standard error does not look at progress.
        if write!(err, "\r\x1b[K{shown}")
            .and_then(|()| err.flush())
            .is_err()
        {
            tracing::debug!("standard error is closed");
        }
    }
}
