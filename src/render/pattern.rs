//! Type patterns: what a subscription names, and which events it gets.
//!
//! A pattern is a type (`pipeline.run.failed`), the beginning of types (`pipeline.*`), or `*`. It is
//! checked against the profile's catalogue when a webhook is registered, so a misspelt one is refused
//! and does not silently match nothing.

use std::borrow::Cow;

use super::raw;
use crate::model::Event;
use crate::profile::{MatchPath, Profile, check_type};

/// A type or pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has not the form of a type or a pattern.
    #[error("{0}")]
    Malformed(String),
    /// The profile has no such type.
    #[error("`{given}` is not an event type here; there are {}", known.join(", "))]
    Unknown {
        /// What was given.
        given: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// One pattern of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every type.
    Any,
    /// `pipeline.*`: every type that starts so.
    Prefix(String),
    /// One type.
    Exact(String),
}

impl Pattern {
    /// Parses a pattern and checks it against what the profile's subscriptions may name.
    ///
    /// # Errors
    /// [`PatternError`] for a wrong form, and for what matches no type of the profile.
    pub fn parse(profile: &Profile, text: &str) -> Result<Self, PatternError> {
        let pattern = Self::read(text)?;
        let mut known = profile.subscribable().peekable();
        if known.peek().is_some() && !known.any(|subject| pattern.matches(subject)) {
            return Err(PatternError::Unknown {
                given: text.to_owned(),
                known: profile.subscribable().map(str::to_owned).collect(),
            });
        }
        Ok(pattern)
    }

    /// Reads a pattern that was checked when it was stored; the profile may have changed since.
    ///
    /// # Errors
    /// [`PatternError::Malformed`].
    pub fn read(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let prefix = text.strip_suffix('*');
        check_type(prefix.unwrap_or(text)).map_err(|message| {
            PatternError::Malformed(format!("{message}; a pattern may end in *"))
        })?;
        Ok(match prefix {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }

    /// Whether it names `subject`.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => subject.starts_with(prefix),
            Self::Exact(exact) => subject == exact,
        }
    }
}

/// Whether a subscription with these patterns gets an event with these subjects. None means all.
#[must_use]
pub fn wanted(patterns: &[Pattern], subjects: &[Cow<'_, str>]) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| subjects.iter().any(|subject| pattern.matches(subject)))
}

/// The types of an event that subscriptions are compared with, as the profile's `match_on` says.
#[must_use]
pub fn subjects<'a>(profile: &Profile, event: &'a Event) -> Vec<Cow<'a, str>> {
    let paths = profile.match_on.iter();
    paths
        .filter_map(|path| match path {
            MatchPath::Type => Some(Cow::Borrowed(event.event_type.as_str())),
            MatchPath::Data(keys) => raw::find(&event.data, keys).and_then(raw::string),
        })
        .collect()
}

/// Checks the type of an event that is posted.
///
/// # Errors
/// [`PatternError`] for a wrong form, and for a type that the profile does not have.
pub fn check_posted(profile: &Profile, event_type: &str) -> Result<(), PatternError> {
    check_type(event_type).map_err(PatternError::Malformed)?;
    let known = &profile.event_types;
    if known.is_empty() || known.iter().any(|known| known == event_type) {
        return Ok(());
    }
    Err(PatternError::Unknown {
        given: event_type.to_owned(),
        known: known.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountName, EventId, UnixMicros};
    use crate::profile::Profiles;
    use crate::render::example;

    #[test]
    fn takes_types_beginnings_and_everything() {
        let profiles = Profiles::built_in();
        let dataflow = profiles.get("dataflow").unwrap();
        for text in [
            "*",
            "pipeline.*",
            "pipeline.run.*",
            "quality.rule.failed",
            "p*",
        ] {
            assert!(Pattern::parse(dataflow, text).is_ok(), "{text}");
        }
        let pattern = Pattern::parse(dataflow, "pipeline.*").unwrap();
        assert!(pattern.matches("pipeline.created") && !pattern.matches("pipelines"));
        for text in ["pipeline.gone", "Pipeline.*", "pipeline"] {
            let error = Pattern::parse(dataflow, text).unwrap_err().to_string();
            assert!(
                error.contains("there are pipeline.run.started, "),
                "{error}"
            );
        }
        for text in ["", "**", "a*b", "a b", "é", "\0"] {
            let error = Pattern::parse(dataflow, text).unwrap_err();
            assert!(matches!(error, PatternError::Malformed(_)), "{text:?}");
        }
        let standard = profiles.get("standard").unwrap();
        assert!(Pattern::parse(standard, "anything.at-all").is_ok());
    }

    #[test]
    fn an_inner_type_can_be_subscribed_to_but_not_posted() {
        let profiles = Profiles::built_in();
        let armor = profiles.get("anomalyarmor").unwrap();
        let account = AccountName::new("acme").unwrap();
        let id = EventId::new("evt_1").unwrap();
        let event = example(armor, &account, id, UnixMicros(0)).unwrap();
        let subjects = subjects(armor, &event);
        assert_eq!(subjects, ["alert.triggered", "schema_change"]);
        let gets = |texts: &[&str]| {
            let patterns: Vec<Pattern> = texts
                .iter()
                .map(|text| Pattern::parse(armor, text).unwrap())
                .collect();
            wanted(&patterns, &subjects)
        };
        assert!(gets(&["schema_change"]));
        assert!(gets(&["alert.triggered"]));
        assert!(gets(&["connection_failed", "schema_*"]));
        assert!(gets(&[]));
        assert!(!gets(&["connection_failed"]));
        assert_eq!(check_posted(armor, "alert.triggered"), Ok(()));
        let refused = check_posted(armor, "schema_change").unwrap_err();
        assert!(refused.to_string().contains("there are alert.triggered"));
        assert!(check_posted(profiles.get("standard").unwrap(), "any.thing").is_ok());
        assert!(check_posted(profiles.get("standard").unwrap(), "any thing").is_err());
    }
}
