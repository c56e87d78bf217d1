//! The cursor over a table: takes each key with its expected form, and collects every fault.
//!
//! A key can be read only by taking it here. So the set of known keys is what was taken: `finish`
//! reports all others, and the test of the example file learns its list from the same place. A value
//! that is wrong gives a fault and its default, and reading goes on; the result of a run with
//! faults is thrown away by the caller.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{did_you_mean, near, parse_duration};

use super::reference::Form;
use super::report::Faults;
use super::tree::{Entries, Kind, Node, Origin};
use super::values::{Refusal, parse_size};

/// What all readers of one config share.
#[derive(Debug)]
pub(super) struct Context<'t> {
    pub(super) faults: Faults<'t>,
    /// Values from the environment that no reader has taken yet, by the key's path (`server.listen`).
    pub(super) overrides: BTreeMap<String, Node>,
    /// Every key that was asked for, by its path, list places as `[]` (`accounts[].name`), and how it is written.
    pub(super) known: BTreeMap<String, Form>,
}

/// A value with its place and the name of its field.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: Origin,
    pub(super) field: String,
}

/// A default and the bounds of a value, in the form in which the config writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) default: &'static str,
    pub(super) least: &'static str,
    pub(super) most: &'static str,
}

/// A cursor over one table.
#[derive(Debug)]
pub(super) struct Reader<'c, 't> {
    context: &'c mut Context<'t>,
    /// Where the table begins: the place of what it lacks.
    at: Origin,
    field: String,
    schema: String,
    entries: Entries,
    taken: Vec<&'static str>,
}

impl<'c, 't> Reader<'c, 't> {
    /// A cursor over the whole document.
    pub(super) const fn root(context: &'c mut Context<'t>, entries: Entries) -> Self {
        Self {
            context,
            at: Origin::Whole,
            field: String::new(),
            schema: String::new(),
            entries,
            taken: Vec::new(),
        }
    }

    /// Where the table begins.
    pub(super) const fn place(&self) -> &Origin {
        &self.at
    }

    /// What all readers share.
    pub(super) const fn context(&mut self) -> &mut Context<'t> {
        self.context
    }

    /// Reports a fault of a placed value.
    pub(super) fn refuse<T>(
        &mut self,
        value: &Placed<T>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.context
            .faults
            .add(&value.at, &value.field, problem, fix);
    }

    /// Tells what is no fault, but should be known.
    pub(super) fn warn<T>(
        &mut self,
        value: &Placed<T>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.context
            .faults
            .warn(&value.at, &value.field, problem, fix);
    }

    /// What was made of a placed value; a refusal is reported there.
    pub(super) fn checked<T, V>(
        &mut self,
        value: &Placed<T>,
        made: Result<V, Refusal>,
    ) -> Option<V> {
        made.map_err(|refusal| self.refuse(value, refusal.problem, refusal.fix))
            .ok()
    }

    /// Reports that the table lacks `key`.
    pub(super) fn lacks(&mut self, key: &str, fix: impl Into<String>) {
        let field = join(&self.field, key);
        self.context.faults.add(&self.at, &field, "is missing", fix);
    }

    /// A cursor over the table `key`, over an empty one where there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Reader<'_, 't> {
        self.taken.push(key);
        let field = join(&self.field, key);
        let schema = join(&self.schema, key);
        let (at, entries) = match self.entries.remove(key) {
            None => (Origin::Whole, Entries::new()),
            Some((
                _,
                Node {
                    at,
                    kind: Kind::Table(entries),
                },
            )) => (at, entries),
            Some((_, node)) => {
                let fix = format!("write it as a table: [{field}], once, and its keys below");
                let problem = format!("must be a table, but is {}", node.kind.name());
                self.context.faults.add(&node.at, &field, problem, fix);
                (node.at, Entries::new())
            }
        };
        Reader {
            context: self.context,
            at,
            field,
            schema,
            entries,
            taken: Vec::new(),
        }
    }

    /// The tables of the list `key`, written `[[key]]`; give each to [`Reader::enter`]. At least one must
    /// be there; `remedy` says how to add one.
    pub(super) fn tables(&mut self, key: &'static str, remedy: &str) -> Vec<Placed<Entries>> {
        let empty = |(_, node): &(Origin, Node)| matches!(&node.kind, Kind::Array(items) if items.is_empty());
        if self.entries.get(key).is_none_or(empty) {
            self.lacks(key, remedy);
        }
        self.tables_if_any(key)
    }

    /// As [`Reader::tables`], of a list that may be empty, or not be there.
    pub(super) fn tables_if_any(&mut self, key: &'static str) -> Vec<Placed<Entries>> {
        self.taken.push(key);
        let field = join(&self.field, key);
        let fix = format!("write each as a table: [[{}]]", self.list_header(key));
        let Some((_, node)) = self.entries.remove(key) else {
            return Vec::new();
        };
        let Kind::Array(items) = node.kind else {
            let problem = format!("must be a list of tables, but is {}", node.kind.name());
            self.context.faults.add(&node.at, &field, problem, fix);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let field = format!("{field}[{index}]");
            if let Kind::Table(value) = item.kind {
                let at = item.at;
                tables.push(Placed { value, at, field });
            } else {
                let problem = format!("must be a table, but is {}", item.kind.name());
                self.context
                    .faults
                    .add(&item.at, &field, problem, fix.clone());
            }
        }
        tables
    }

    /// A cursor over one table of the list `key`.
    pub(super) fn enter(&mut self, key: &'static str, table: Placed<Entries>) -> Reader<'_, 't> {
        Reader {
            context: self.context,
            at: table.at,
            field: table.field,
            schema: format!("{}[]", join(&self.schema, key)),
            entries: table.value,
            taken: Vec::new(),
        }
    }

    /// The names of the tables below `key`, as in `[key.NAME]`; give each to [`Reader::enter_named`].
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(Placed<String>, Node)> {
        self.taken.push(key);
        let field = join(&self.field, key);
        let Some((_, node)) = self.entries.remove(key) else {
            return Vec::new();
        };
        let Kind::Table(entries) = node.kind else {
            let problem = format!("must be a table of tables, but is {}", node.kind.name());
            let fix = format!("write each as a table: [{field}.NAME]");
            self.context.faults.add(&node.at, &field, problem, fix);
            return Vec::new();
        };
        let named = entries.into_iter().map(|(name, (at, node))| {
            let field = join(&field, &name);
            (
                Placed {
                    value: name,
                    at,
                    field,
                },
                node,
            )
        });
        named.collect()
    }

    /// A cursor over one table of [`Reader::named`]; over an empty one where it is none.
    pub(super) fn enter_named(
        &mut self,
        key: &'static str,
        name: &Placed<String>,
        node: Node,
    ) -> Reader<'_, 't> {
        let entries = match node.kind {
            Kind::Table(entries) => entries,
            other => {
                let problem = format!("must be a table, but is {}", other.name());
                let fix = format!("write it as a table: [{}], and its keys below", name.field);
                self.refuse(name, problem, fix);
                Entries::new()
            }
        };
        Reader {
            context: self.context,
            at: node.at,
            field: name.field.clone(),
            schema: format!("{}[]", join(&self.schema, key)),
            entries,
            taken: Vec::new(),
        }
    }

    /// Whether the table has a key that nobody has taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let form = Form::new("true or false").with_default(default);
        let Some(node) = self.take(key, form) else {
            return default;
        };
        match node.value {
            Kind::Boolean(value) => value,
            other => {
                let problem = format!("must be true or false, but is {}", other.name());
                let fix = "write true or false, without quotes";
                self.context.faults.add(&node.at, &node.field, problem, fix);
                default
            }
        }
    }

    /// Names a key that was taken out of the document before, for the list of known ones.
    pub(super) fn also_known(&mut self, key: &'static str) {
        self.taken.push(key);
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<String>> {
        self.text_as(key, Form::new("string"))
    }

    fn text_as(&mut self, key: &'static str, form: Form) -> Option<Placed<String>> {
        let node = self.take(key, form)?;
        self.expect_text(node)
    }

    /// A list of texts, empty where there is none.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Placed<String>> {
        self.take(key, Form::new("list of strings").with_default("[]"))
            .map(|node| self.expect_texts(node))
            .unwrap_or_default()
    }

    /// A text, or a list of texts, in the order in which they are written.
    pub(super) fn text_or_texts(&mut self, key: &'static str) -> Vec<Placed<String>> {
        match self.take(key, Form::new("string, or list of two")) {
            None => Vec::new(),
            Some(node) if matches!(node.value, Kind::Array(_)) => self.expect_texts(node),
            Some(node) => self.expect_text(node).into_iter().collect(),
        }
    }

    /// A list of texts that may be left out, but not be empty; `remedy` says what to write.
    pub(super) fn texts_if_any(&mut self, key: &'static str, remedy: &str) -> Vec<Placed<String>> {
        self.take(key, Form::new("list of strings"))
            .map(|node| self.expect_some(node, remedy))
            .unwrap_or_default()
    }

    /// A list of texts that must be there and may not be empty; `remedy` says what to write.
    pub(super) fn some_texts(&mut self, key: &'static str, remedy: &str) -> Vec<Placed<String>> {
        let Some(node) = self.take(key, Form::new("list of strings").required()) else {
            self.lacks(key, remedy);
            return Vec::new();
        };
        self.expect_some(node, remedy)
    }

    fn expect_some(&mut self, node: Placed<Kind>, remedy: &str) -> Vec<Placed<String>> {
        if matches!(&node.value, Kind::Array(items) if items.is_empty()) {
            self.refuse(&node, "is empty", remedy);
            return Vec::new();
        }
        self.expect_texts(node)
    }

    /// A text in a form of its own; `default`, which is written in the same form, where there is none.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> T {
        let known = || parse(default).expect("defaults are written in the right form");
        let form = Form::new("string").with_default(format!("\"{default}\""));
        let Some(text) = self.text_as(key, form) else {
            return known();
        };
        parse(&text.value).unwrap_or_else(|refusal| {
            self.refuse(&text, refusal.problem, refusal.fix);
            known()
        })
    }

    /// One of a few words, the first of them where there is none.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        first: (&'static str, T),
        others: &[(&'static str, T)],
    ) -> T {
        let options: Vec<(&str, T)> = [&[first], others].concat();
        let names: Vec<String> = options
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let names = names.join(" or ");
        let form = Form::new(names.clone()).with_default(format!("\"{}\"", first.0));
        let Some(text) = self.text_as(key, form) else {
            return first.1;
        };
        if let Some((_, value)) = options.iter().find(|(name, _)| *name == text.value) {
            return *value;
        }
        let hint = did_you_mean(&text.value, options.iter().map(|(name, _)| *name));
        let problem = format!("`{}` is not known here", text.value);
        self.refuse(&text, problem, format!("{hint}write {names}"));
        first.1
    }

    /// A whole number inside a range, or none.
    pub(super) fn count_if_any(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Option<usize> {
        let is_written = self.entries.contains_key(key);
        let form = Form::new("whole number").within(range.start(), range.end());
        let count = self.count_as(key, *range.start(), range, form).value;
        is_written.then_some(count)
    }

    /// A whole number inside a range.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Placed<usize> {
        let form = Form::new("whole number").within(range.start(), range.end());
        self.count_as(key, default, range, form.with_default(default))
    }

    fn count_as(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
        form: Form,
    ) -> Placed<usize> {
        let Some(node) = self.take(key, form) else {
            return self.defaulted(key, default);
        };
        let number = match &node.value {
            Kind::Integer(number) => number.and_then(|number| usize::try_from(number).ok()),
            other => {
                let problem = format!("must be a whole number, but is {}", other.name());
                let fix = format!("write a number without quotes, such as {default}");
                self.context.faults.add(&node.at, &node.field, problem, fix);
                return self.defaulted(key, default);
            }
        };
        let value = number
            .filter(|number| range.contains(number))
            .unwrap_or_else(|| {
                let fix = format!("write a number from {} to {}", range.start(), range.end());
                self.context
                    .faults
                    .add(&node.at, &node.field, "is out of range", fix);
                default
            });
        Placed {
            value,
            at: node.at,
            field: node.field,
        }
    }

    /// A size in bytes.
    pub(super) fn size(&mut self, key: &'static str, bounds: Bounds) -> Placed<u64> {
        self.bounded(key, "size", bounds, parse_size)
    }

    /// A duration.
    pub(super) fn duration(&mut self, key: &'static str, bounds: Bounds) -> Placed<Duration> {
        self.bounded(key, "duration", bounds, |text| {
            parse_duration(text).map_err(|_| {
                Refusal::new(
                    format!("`{text}` is not a duration"),
                    format!(
                        "write a whole number and a unit (ms, s, m, h, d), such as \"{}\"",
                        bounds.default
                    ),
                )
            })
        })
    }

    /// Reports every key that nobody took.
    pub(super) fn finish(self) {
        for (key, (at, _)) in &self.entries {
            let near = near(key, self.taken.iter().copied());
            let fix = if near.is_empty() {
                format!("remove it; known here: {}", self.taken.join(", "))
            } else {
                format!("did you mean `{}`?", near.join("` or `"))
            };
            let field = join(&self.field, key);
            self.context.faults.add(at, &field, "unknown key", fix);
        }
    }

    fn bounded<T: Copy + PartialOrd>(
        &mut self,
        key: &'static str,
        kind: &'static str,
        bounds: Bounds,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Placed<T> {
        let known = |text| parse(text).expect("defaults and bounds are written in the right form");
        let (least, most) = (known(bounds.least), known(bounds.most));
        let default = self.defaulted(key, known(bounds.default));
        let quoted = |text| format!("\"{text}\"");
        let form = Form::new(kind).within(quoted(bounds.least), quoted(bounds.most));
        let Some(node) = self.take(key, form.with_default(quoted(bounds.default))) else {
            return default;
        };
        if let Kind::Integer(_) = node.value {
            let fix = format!(
                "write it with a unit, in quotes, such as \"{}\"",
                bounds.default
            );
            self.context
                .faults
                .add(&node.at, &node.field, "is a number without a unit", fix);
            return default;
        }
        let Some(text) = self.expect_text(node) else {
            return default;
        };
        match parse(&text.value) {
            Ok(value) if (least..=most).contains(&value) => Placed {
                value,
                at: text.at,
                field: text.field,
            },
            Ok(_) => {
                let fix = format!("write \"{}\" to \"{}\"", bounds.least, bounds.most);
                self.refuse(&text, format!("`{}` is out of range", text.value), fix);
                default
            }
            Err(refusal) => {
                self.refuse(&text, refusal.problem, refusal.fix);
                default
            }
        }
    }

    fn defaulted<T>(&self, key: &str, value: T) -> Placed<T> {
        Placed {
            value,
            at: self.at.clone(),
            field: join(&self.field, key),
        }
    }

    /// Takes a key's value out; `form` is how it is to be written.
    fn take(&mut self, key: &'static str, form: Form) -> Option<Placed<Kind>> {
        self.taken.push(key);
        let path = join(&self.schema, key);
        let written = self.entries.remove(key).map(|(_, node)| node);
        let node = self.context.overrides.remove(&path).or(written);
        self.context.known.insert(path, form);
        node.map(|node| Placed {
            value: node.kind,
            at: node.at,
            field: join(&self.field, key),
        })
    }

    fn expect_text(&mut self, node: Placed<Kind>) -> Option<Placed<String>> {
        let Placed { value, at, field } = node;
        if let Kind::Text(value) = value {
            return Some(Placed { value, at, field });
        }
        let problem = format!("must be a string, but is {}", value.name());
        let fix = "write the value in quotes";
        self.context.faults.add(&at, &field, problem, fix);
        None
    }

    fn expect_texts(&mut self, node: Placed<Kind>) -> Vec<Placed<String>> {
        let Placed { value, at, field } = node;
        match value {
            Kind::Array(items) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| {
                    self.expect_text(Placed {
                        value: item.kind,
                        at: item.at,
                        field: format!("{field}[{index}]"),
                    })
                })
                .collect(),
            other => {
                let problem = format!("must be a list of strings, but is {}", other.name());
                let fix = "write it in brackets: [\"…\", \"…\"]";
                self.context.faults.add(&at, &field, problem, fix);
                Vec::new()
            }
        }
    }

    /// The list's header: its path without the places in the lists above it.
    fn list_header(&self, key: &str) -> String {
        join(&self.schema, key).replace("[]", "")
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
