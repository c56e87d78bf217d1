//! An event's text, looked into where patterns ask for it.
//!
//! Objects outside of arrays are indexed once, when the first filter asks, and the index serves all filters
//! of the account. What lies inside arrays is walked by each filter and not kept: an array may have
//! millions of elements. Invariant: on a text that is not in the stable form of [`crate::render::ecma`] the
//! results are some parts of it; nothing panics.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::render::raw::{Parts, value_length};

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Scalar,
}

impl Kind {
    pub(super) fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            _ => Self::Scalar,
        }
    }
}

/// One event, for any number of filters.
pub struct Subject<'t> {
    text: &'t str,
    /// By where the object starts.
    indexed: RefCell<HashMap<usize, Members<'t>>>,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({} bytes)", self.text.len())
    }
}

/// The members of one object, in the order of their keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct Members<'t>(Rc<[(&'t str, &'t str)]>);

impl<'t> Members<'t> {
    fn of(object: &'t str) -> Self {
        let mut members: Vec<(&str, &str)> = Parts::of(object)
            .filter_map(|(key, value)| Some((key?, value)))
            .collect();
        members.sort_unstable_by_key(|(key, _)| *key);
        Self(members.into())
    }

    /// The value of a key that is given with its quotes.
    pub(super) fn find(&self, key: &str) -> Option<&'t str> {
        let at = self.0.binary_search_by_key(&key, |(key, _)| key).ok()?;
        self.0.get(at).map(|(_, value)| *value)
    }
}

impl<'t> Subject<'t> {
    /// An event's text in the stable form, as [`super::event_text`] makes it.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            indexed: RefCell::default(),
        }
    }

    pub(super) const fn text(&self) -> &'t str {
        self.text
    }

    /// The members of an object of this text; `kept`: for the filters after this one, too.
    pub(super) fn members<'a>(&self, object: &'a str, kept: bool) -> Members<'a>
    where
        't: 'a,
    {
        let start = object
            .as_ptr()
            .addr()
            .wrapping_sub(self.text.as_ptr().addr());
        let own = self.text.get(start..start.saturating_add(object.len()));
        let Some(own) = own.filter(|_| kept) else {
            return Members::of(object);
        };
        let mut indexed = self.indexed.borrow_mut();
        let members = indexed.entry(start).or_insert_with(|| Members::of(own));
        members.clone()
    }
}

/// The elements of an array and of the arrays in it, one after another; of any other value, the value.
pub(super) fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['[', ']', ',']);
        let (element, behind) = rest.split_at_checked(value_length(rest.as_bytes()))?;
        rest = behind;
        (!element.is_empty()).then_some(element)
    })
}
