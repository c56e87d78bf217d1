//! Type patterns: what a subscription names, and which events it gets.
//!
//! A pattern is a type (`pipeline.run.failed`), the beginning of types (`pipeline.*`), or `*`. It is
//! checked against the profile's catalogue when a webhook is registered, so a misspelt one is refused
//! and does not silently match nothing.

use std::borrow::Cow;

use super::raw;
use crate::model::{Event, OPERATIONAL};
use crate::profile::{MatchPath, Profile, check_type};

/// A type or pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has not the form of a type or a pattern.
    #[error("{0}")]
    Malformed(String),
    /// It names operational events, which are the daemon's own.
    #[error("`{0}`: types that begin with `{OPERATIONAL}` are operational events; {1}")]
    Operational(String, &'static str),
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
        let unknown = |known: Vec<String>| PatternError::Unknown {
            given: text.to_owned(),
            known,
        };
        let is_operational = profile
            .operational_types()
            .any(|name| pattern.matches(name));
        if text.starts_with(OPERATIONAL) {
            return match (profile.operational, is_operational) {
                (true, true) => Ok(pattern),
                (true, false) => Err(unknown(
                    profile.operational_types().map(str::to_owned).collect(),
                )),
                (false, _) => Err(PatternError::Operational(
                    text.to_owned(),
                    "only webhooks of the account that the config names in [alerts] get them",
                )),
            };
        }
        let mut known = profile.subscribable().peekable();
        if known.peek().is_some()
            && !is_operational
            && !known.any(|subject| pattern.matches(subject))
        {
            return Err(unknown(profile.subscribable().map(str::to_owned).collect()));
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

/// The types of an event that subscriptions are compared with, as the profile's `match_on` says; of an operational
/// event its own. What a client writes into its data is never taken for one.
#[must_use]
pub fn subjects<'a>(profile: &Profile, event: &'a Event) -> Vec<Cow<'a, str>> {
    if event.event_type.starts_with(OPERATIONAL) {
        return vec![Cow::Borrowed(event.event_type.as_str())];
    }
    let paths = profile.match_on.iter();
    paths
        .filter_map(|path| match path {
            MatchPath::Type => Some(Cow::Borrowed(event.event_type.as_str())),
            MatchPath::Data(keys) => raw::find(&event.data, keys)
                .and_then(raw::string)
                .filter(|subject| !subject.starts_with(OPERATIONAL)),
        })
        .collect()
}

/// Checks the type of an event that is posted.
///
/// # Errors
/// [`PatternError`] for a wrong form, for a type that the profile does not have, and for operational ones.
pub fn check_posted(profile: &Profile, event_type: &str) -> Result<(), PatternError> {
    check_type(event_type).map_err(PatternError::Malformed)?;
    if event_type.starts_with(OPERATIONAL) {
        return Err(PatternError::Operational(
            event_type.to_owned(),
            "nobody posts them; choose another type",
        ));
    }
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
    fn operational_types_are_for_one_account_and_posted_by_nobody() {
        let profiles = Profiles::built_in();
        for name in ["standard", "dataflow", "anomalyarmor"] {
            let mut profile = profiles.get(name).unwrap().as_ref().clone();
            for text in [
                "hookwheel.*",
                "hookwheel.webhook.disabled",
                "hookwheel.x",
                "hookwheel.",
            ] {
                let refused = Pattern::parse(&profile, text).unwrap_err();
                assert!(
                    matches!(refused, PatternError::Operational(..)),
                    "{name}: {refused}"
                );
            }
            for text in ["hookwheel.webhook.disabled", "hookwheel.x", "hookwheel."] {
                let refused = check_posted(&profile, text).unwrap_err();
                assert!(
                    matches!(refused, PatternError::Operational(..)),
                    "{name}: {refused}"
                );
            }
            profile.operational = true;
            for text in [
                "*",
                "hookwheel.*",
                "hook*",
                "hookwheel.webhook.*",
                "hookwheel.backlog.high",
            ] {
                assert!(Pattern::parse(&profile, text).is_ok(), "{name}: {text}");
            }
            for text in ["hookwheel.x", "hookwheel.webhooks.*", "hookwheel."] {
                let refused = Pattern::parse(&profile, text).unwrap_err().to_string();
                assert!(
                    refused.contains("there are hookwheel.webhook.disabled"),
                    "{refused}"
                );
            }
            assert!(check_posted(&profile, "hookwheel.webhook.disabled").is_err());
        }
    }

    #[test]
    fn what_data_says_of_its_type_makes_no_operational_event() {
        let profiles = Profiles::built_in();
        let armor = profiles.get("anomalyarmor").unwrap();
        let account = AccountName::new("acme").unwrap();
        let id = EventId::new("evt_1").unwrap();
        let mut event = example(armor, &account, id, UnixMicros(0)).unwrap();
        event.data = event
            .data
            .replace("schema_change", "hookwheel.backlog.high");
        assert_eq!(subjects(armor, &event), ["alert.triggered"]);
        event.event_type = "hookwheel.backlog.high".to_owned();
        event.data = event
            .data
            .replace("hookwheel.backlog.high", "schema_change");
        assert_eq!(subjects(armor, &event), ["hookwheel.backlog.high"]);
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
