//! From a pattern's text to checked rules, with every fault at its place.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::rule::{Range, Rule, Scalar, TextRule, Wildcard, fold};
use super::subject::Kind;
use super::{
    Alternatives, BYTES_MAX, DEPTH_MAX, Field, FilterError, Pattern, RULES_MAX, STARS_MAX, Test,
};
use crate::render::ecma;

/// The names of rules, for messages.
const RULES: &str =
    "prefix, suffix, equals-ignore-case, anything-but, numeric, exists, wildcard, cidr";
/// Faults that one answer tells: nobody mends more at once.
const FAULTS_MAX: usize = 20;

/// Parses a pattern; gives its number of rules, too.
pub(super) fn parse(text: &str) -> Result<(Pattern, usize), Vec<FilterError>> {
    let mut parser = Parser {
        path: Vec::new(),
        faults: Vec::new(),
        rules: 0,
    };
    if text.len() > BYTES_MAX {
        parser.refuse(format!("is over {BYTES_MAX} bytes"));
        return Err(parser.faults);
    }
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            parser.refuse(format!("is not JSON: {error}"));
            return Err(parser.faults);
        }
    };
    let pattern = parser.pattern(raw.get(), 1);
    if parser.rules > RULES_MAX {
        parser.path.clear();
        let count = parser.rules;
        parser.refuse(format!("has {count} rules; there may be {RULES_MAX}"));
    }
    if parser.faults.is_empty() {
        Ok((pattern, parser.rules))
    } else {
        Err(parser.faults)
    }
}

struct Parser {
    /// The keys and places down to where the parser is, escaped as a pointer has them.
    path: Vec<String>,
    faults: Vec<FilterError>,
    rules: usize,
}

impl Parser {
    fn refuse(&mut self, message: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(FilterError {
                pointer: self.pointer(),
                message: message.into(),
            });
        }
    }

    fn pointer(&self) -> String {
        self.path.iter().flat_map(|step| ["/", step]).collect()
    }

    /// Does `work` one step further down.
    fn inside<T>(&mut self, step: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.replace('~', "~0").replace('/', "~1"));
        let done = work(self);
        self.path.pop();
        done
    }

    /// A pattern: fields and alternatives.
    fn pattern(&mut self, text: &str, depth: usize) -> Pattern {
        let mut pattern = Pattern {
            fields: Vec::new(),
            alternatives: Vec::new(),
        };
        if depth > DEPTH_MAX {
            self.refuse(format!("is nested deeper than {DEPTH_MAX} levels"));
            return pattern;
        }
        let Some(members) = self.members(text) else {
            return pattern;
        };
        if members.is_empty() {
            self.refuse("is empty: name a field, such as {\"data\": {\"type\": [\"x\"]}}");
        }
        for (key, value) in members {
            self.inside(&key, |parser| {
                if key == "$or" {
                    let alternatives = parser.alternatives(value.get(), depth);
                    pattern.alternatives.extend(alternatives);
                } else if let Some(test) = parser.test(value.get(), depth) {
                    let mut quoted = String::with_capacity(key.len() + 2);
                    ecma::quote(&key, &mut quoted);
                    pattern.fields.push(Field {
                        key: quoted,
                        pointer: parser.pointer(),
                        test,
                    });
                }
            });
        }
        pattern
    }

    /// The members of an object, each key once.
    fn members<'t>(&mut self, text: &'t str) -> Option<Vec<(String, &'t RawValue)>> {
        if Kind::of(text) != Kind::Object {
            self.refuse("must be an object, such as {\"data\": {\"type\": [\"x\"]}}");
            return None;
        }
        let mut from = serde_json::Deserializer::from_str(text);
        let Ok(members) = from.deserialize_map(Members) else {
            self.refuse("has a key that Unicode text cannot hold");
            return None;
        };
        for (at, (key, _)) in members.iter().enumerate() {
            if members.iter().skip(at + 1).any(|(other, _)| other == key) {
                self.inside(key, |parser| {
                    parser.refuse("is given twice: write its rules in one array");
                });
            }
        }
        Some(members)
    }

    fn elements<'t>(&mut self, text: &'t str) -> Option<Vec<&'t RawValue>> {
        serde_json::from_str(text).ok()
    }

    fn alternatives(&mut self, text: &str, depth: usize) -> Option<Alternatives> {
        let patterns = match self.elements(text) {
            Some(patterns) if !patterns.is_empty() => patterns,
            _ => {
                self.refuse("must be an array of patterns, of which one must fit");
                return None;
            }
        };
        let mut any = Vec::with_capacity(patterns.len());
        for (at, pattern) in patterns.iter().enumerate() {
            any.push(self.inside(&at.to_string(), |parser| {
                parser.pattern(pattern.get(), depth + 1)
            }));
        }
        Some(Alternatives {
            pointer: self.pointer(),
            any,
        })
    }

    /// What a field must be: a pattern inside it, or an array of rules.
    fn test(&mut self, text: &str, depth: usize) -> Option<Test> {
        match Kind::of(text) {
            Kind::Scalar => {
                self.refuse(format!("must stand in an array: [{text}]"));
                None
            }
            Kind::Object => {
                if let Some(name) = self.rule_without_array(text) {
                    self.refuse(format!(
                        "must stand in an array to be a rule: [{{\"{name}\": …}}]"
                    ));
                    return None;
                }
                Some(Test::Inside(self.pattern(text, depth + 1)))
            }
            Kind::Array => {
                let values = self.elements(text).unwrap_or_default();
                if values.is_empty() {
                    self.refuse("is an empty array, which nothing fits: write a rule in it");
                }
                let mut rules = Vec::with_capacity(values.len());
                for (at, value) in values.iter().enumerate() {
                    self.inside(&at.to_string(), |parser| {
                        rules.extend(parser.rule(value.get()));
                    });
                }
                Some(Test::Value(rules))
            }
        }
    }

    /// The name of the rule that an object is, where it cannot be meant as a pattern.
    fn rule_without_array(&mut self, text: &str) -> Option<String> {
        let mut from = serde_json::Deserializer::from_str(text);
        let members = from.deserialize_map(Members).ok()?;
        let [(name, value)] = members.as_slice() else {
            return None;
        };
        let known = RULES.split(", ").any(|known| known == name);
        let bare = Kind::of(value.get()) == Kind::Scalar || name == "numeric";
        (known && bare).then(|| name.clone())
    }

    /// A rule: an exact value, or an object with one name.
    fn rule(&mut self, text: &str) -> Option<Rule> {
        match Kind::of(text) {
            Kind::Scalar => self.exact(text).map(Rule::Exactly),
            Kind::Array => {
                self.refuse("an array inside an array: name the rules one by one");
                None
            }
            Kind::Object => {
                let members = self.members(text)?;
                let [(name, value)] = members.as_slice() else {
                    self.refuse(format!("a rule has one name, of {RULES}"));
                    return None;
                };
                self.inside(name, |parser| parser.named(name, value.get()))
            }
        }
    }

    fn named(&mut self, name: &str, text: &str) -> Option<Rule> {
        match name {
            "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => {
                self.text_rule(name, text).map(Rule::Text)
            }
            "anything-but" => self.anything_but(text),
            "numeric" => self.numeric(text).map(Rule::Numeric),
            "exists" => {
                self.rules += 1;
                if let Ok(exists) = serde_json::from_str(text) {
                    return Some(Rule::Exists(exists));
                }
                self.refuse("must be true or false");
                None
            }
            "cidr" => {
                let range = self.string(text)?;
                match range.parse() {
                    Ok(range) => Some(Rule::Cidr(range)),
                    Err(_) => {
                        self.refuse("must be a range of addresses, such as \"10.0.0.0/24\"");
                        None
                    }
                }
            }
            _ => {
                self.refuse(format!("is no rule; there are {RULES}"));
                None
            }
        }
    }

    fn text_rule(&mut self, name: &str, text: &str) -> Option<TextRule> {
        let ignoring_case = match name {
            "prefix" | "suffix" if Kind::of(text) == Kind::Object => self.ignoring_case(text)?,
            _ => None,
        };
        if let Some(text) = ignoring_case {
            let folded = fold(&text).collect();
            return Some(match name {
                "prefix" => TextRule::PrefixIgnoringCase(folded),
                _ => TextRule::SuffixIgnoringCase(folded),
            });
        }
        let text = self.string(text)?;
        match name {
            "prefix" => Some(TextRule::Prefix(text)),
            "suffix" => Some(TextRule::Suffix(text)),
            "wildcard" => self.wildcard(&text).map(TextRule::Wildcard),
            _ => Some(TextRule::EqualsIgnoringCase(fold(&text).collect())),
        }
    }

    /// The text of `{"equals-ignore-case": "…"}`.
    #[expect(clippy::option_option, reason = "the outer one: refused")]
    fn ignoring_case(&mut self, text: &str) -> Option<Option<String>> {
        let members = self.members(text)?;
        match members.as_slice() {
            [(name, value)] if name == "equals-ignore-case" => self
                .inside(name, |parser| parser.string(value.get()))
                .map(Some),
            _ => {
                self.refuse("must be a string or {\"equals-ignore-case\": \"…\"}");
                None
            }
        }
    }

    /// A string that a rule compares with: one more rule.
    fn string(&mut self, text: &str) -> Option<String> {
        self.rules += 1;
        let string = serde_json::from_str(text).ok();
        if string.is_none() {
            self.refuse("must be a string");
        }
        string
    }

    fn wildcard(&mut self, text: &str) -> Option<Wildcard> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars().peekable();
        let mut after_star = false;
        while let Some(c) = characters.next() {
            let literal = match c {
                '*' if after_star => {
                    self.refuse("has two stars side by side: one says the same");
                    return None;
                }
                '*' => {
                    parts.push(String::new());
                    after_star = true;
                    continue;
                }
                '\\' => match characters.next_if(|c| matches!(c, '*' | '\\')) {
                    Some(escaped) => escaped,
                    None => {
                        self.refuse("has a backslash that is not before * or another backslash");
                        return None;
                    }
                },
                other => other,
            };
            after_star = false;
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        if parts.len() > STARS_MAX + 1 {
            self.refuse(format!("has over {STARS_MAX} stars"));
            return None;
        }
        Some(Wildcard::new(parts))
    }

    fn anything_but(&mut self, text: &str) -> Option<Rule> {
        if Kind::of(text) != Kind::Object {
            return self
                .one_or_more(text, Self::comparable)
                .map(Rule::NotExactly);
        }
        let members = self.members(text)?;
        match members.as_slice() {
            [(name, value)]
                if ["prefix", "suffix", "wildcard", "equals-ignore-case"]
                    .contains(&name.as_str()) =>
            {
                let rules = self.inside(name, |parser| {
                    let one = |parser: &mut Self, text: &str| parser.text_rule(name, text);
                    parser.one_or_more(value.get(), one)
                });
                rules.map(Rule::NotText)
            }
            _ => {
                self.refuse(
                    "must be a string, a number, an array of these, or an object with one of prefix, \
                     suffix, wildcard, equals-ignore-case",
                );
                None
            }
        }
    }

    /// What `one` makes of a value, or of each in an array of some.
    fn one_or_more<T>(
        &mut self,
        text: &str,
        one: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        if Kind::of(text) != Kind::Array {
            return one(self, text).map(|made| vec![made]);
        }
        let values = self.elements(text).unwrap_or_default();
        if values.is_empty() {
            self.refuse("is an empty array: name what is not wanted");
            return None;
        }
        let mut all = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let made = self.inside(&at.to_string(), |parser| one(parser, value.get()));
            all.push(made?);
        }
        Some(all)
    }

    /// A value that `anything-but` compares with.
    fn comparable(&mut self, text: &str) -> Option<Scalar<'static>> {
        match text.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9') => self.exact(text),
            _ => {
                self.refuse("must be a string or a number");
                None
            }
        }
    }

    /// An exact value: a string, a number, true, false or null.
    fn exact(&mut self, text: &str) -> Option<Scalar<'static>> {
        match text.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => {
                self.rules += 1;
                self.number(text).map(Scalar::Number)
            }
            Some(b'"') => self.string(text).map(|text| Scalar::Text(text.into())),
            _ => {
                self.rules += 1;
                Some(Scalar::of(text).into_owned())
            }
        }
    }

    /// A number that answers can show as it was given.
    fn number(&mut self, text: &str) -> Option<Decimal> {
        let exact = Decimal::parse(text);
        let shown = serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .and_then(|value| Decimal::parse(&value.to_string()));
        if exact.is_none() || exact != shown {
            self.refuse(
                "must be a number of up to 17 digits below 1e308, or a whole one of 64 bits",
            );
            return None;
        }
        exact
    }

    fn numeric(&mut self, text: &str) -> Option<Range> {
        const FORM: &str =
            "must be such as [\">\", 0] or [\">=\", 0, \"<\", 5], with =, <, <=, > or >=";
        self.rules += 1;
        let parts = match Kind::of(text) {
            Kind::Array => self.elements(text).unwrap_or_default(),
            _ => Vec::new(),
        };
        if parts.is_empty() || parts.len() % 2 != 0 || parts.len() > 4 {
            self.refuse(FORM);
            return None;
        }
        let mut range = Range::default();
        for (at, pair) in parts.chunks(2).enumerate() {
            let [operator, bound] = pair else { return None };
            if !bound
                .get()
                .starts_with(|c: char| c == '-' || c.is_ascii_digit())
            {
                self.refuse(FORM);
                return None;
            }
            let place = (2 * at + 1).to_string();
            let bound = self.inside(&place, |parser| parser.number(bound.get()))?;
            let above = || Some((bound.clone(), operator.get().contains('=')));
            let side = match operator.get() {
                "\"=\"" if parts.len() == 2 => {
                    range.below = above();
                    &mut range.above
                }
                "\">\"" | "\">=\"" => &mut range.above,
                "\"<\"" | "\"<=\"" => &mut range.below,
                _ => {
                    self.refuse(FORM);
                    return None;
                }
            };
            if operator.get() != "\"=\"" && side.is_some() {
                self.refuse("has two bounds on the same side: one says it all");
                return None;
            }
            *side = above();
        }
        if let (Some((above, from)), Some((below, to))) = (&range.above, &range.below)
            && (above > below || above == below && !(*from && *to))
        {
            self.refuse("has a lower bound that is not below the upper one: nothing fits");
            return None;
        }
        Some(range)
    }
}

/// The members of an object as they are written, repeated ones too.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
