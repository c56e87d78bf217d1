//! Where an event stands in its product's distributed trace: the W3C Trace Context headers `traceparent` and
//! `tracestate` (<https://www.w3.org/TR/trace-context-2/>). Pure. It decides nothing: a daemon without tracing passes it
//! on, and who does not understand one ignores it, as the recommendation asks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a `tracestate` may have; the recommendation asks that at least 512 characters are passed on.
const STATE_BYTES_MAX: usize = 512;
/// A list's members, by the recommendation.
const STATE_MEMBERS_MAX: usize = 32;
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const PARENT_BYTES: usize = 55;

/// The trace and the operation in it that an event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The operation (span) that caused this one; never zero.
    pub parent_id: u64,
    /// Bit 0: the caller may have recorded it (sampled). Bit 1: the trace's id is random.
    pub flags: u8,
    /// What tracing systems say of it to each other, as it came.
    pub state: Option<String>,
}

impl TraceContext {
    /// Reads the two headers. `None` where `parent` is none by the recommendation; then the trace begins anew. A `state`
    /// that is none, or too long, is left out.
    #[must_use]
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let (head, rest) = parent.split_at_checked(PARENT_BYTES)?;
        let mut parts = head.split('-');
        let version = hex(parts.next()?, 2)?;
        // A later version may say more behind a further dash; version 0 may not, and 255 is none.
        let is_whole = rest.is_empty() || (version > 0 && rest.starts_with('-'));
        if version == 0xff || !is_whole {
            return None;
        }
        let trace_id = hex(parts.next()?, 32)?;
        let parent_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let is_one = trace_id != 0 && parent_id != 0 && parts.next().is_none();
        is_one.then(|| Self {
            trace_id,
            parent_id,
            // What the others will mean is not known, so it is not passed on.
            flags: flags & 0b11,
            state: state.and_then(read_state),
        })
    }

    /// The `traceparent` header's value, version 00.
    #[must_use]
    pub fn parent(&self) -> String {
        let Self {
            trace_id,
            parent_id,
            flags,
            ..
        } = self;
        format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}")
    }

    /// The same trace, caused by another operation of it.
    #[must_use]
    pub fn child(&self, parent_id: u64) -> Self {
        Self {
            parent_id,
            ..self.clone()
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent())
    }
}

/// Lower-case hexadecimal digits, exactly so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = text.len() == digits && text.bytes().all(is_hex);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// A list of `key=value` with commas between, in printable ASCII. It is passed on as it is, so only what a header may
/// carry is looked at, and that it is such a list.
fn read_state(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t']);
    let printable = |byte: u8| (0x20..0x7f).contains(&byte) || byte == b'\t';
    let members = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']));
    let named = |member: &str| {
        member.is_empty()
            || member
                .split_once('=')
                .is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    let fits = !text.is_empty()
        && text.len() <= STATE_BYTES_MAX
        && text.bytes().all(printable)
        && members.clone().all(named)
        && members.filter(|member| !member.is_empty()).count() <= STATE_MEMBERS_MAX;
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_well_formed_is_passed_on_as_it_came() {
        let read = TraceContext::parse(PARENT, Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
        let read = read.unwrap();
        assert_eq!(read.parent(), PARENT);
        let state = read.state.as_deref();
        assert_eq!(state, Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
        assert_eq!(
            read.child(1).parent(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-01"
        );
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-what.comes";
        let read = TraceContext::parse(later, None).unwrap();
        assert_eq!(
            read.parent(),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
        );
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        for text in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text, None), None, "{text:?}");
        }
    }

    #[test]
    fn a_state_that_is_none_is_left_out_and_the_trace_goes_on() {
        let long = format!("a={}", "b".repeat(STATE_BYTES_MAX));
        let many = vec!["a=b"; STATE_MEMBERS_MAX + 1].join(",");
        for text in ["", " ", "a", "=b", "a=", "a=b\r\nX: y", "a=ü", &long, &many] {
            let read = TraceContext::parse(PARENT, Some(text)).unwrap();
            assert_eq!(read.state, None, "{text:?}");
        }
        let read = TraceContext::parse(PARENT, Some(" a=b, ,c=d=e ")).unwrap();
        assert_eq!(read.state.as_deref(), Some("a=b, ,c=d=e"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_reads_back(text in "[0-9a-f-]{50,60}|\\PC*") {
            if let Some(read) = TraceContext::parse(&text, None) {
                prop_assert_eq!(TraceContext::parse(&read.parent(), None), Some(read));
            }
        }
    }
}
