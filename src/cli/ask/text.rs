//! Text for terminals: pieces with a style each, made harmless as they are put in.
//!
//! What receivers answer and clients post may hold control characters, which would move the cursor, or characters
//! that turn the direction of writing. Here they are escaped once, so nothing that is printed can hold one: a
//! [`Text`] is the only thing that a screen takes. Colour is never the only sign of anything.

use std::borrow::Cow;

/// How a piece of text looks where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Doubt,
    Bad,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Doubt => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }

    /// The look of a state's or verdict's word.
    pub(super) fn of_state(word: &str) -> Self {
        match word {
            "delivered" | "active" | "done" | "ready" | "success" | "activated" | "created" => {
                Self::Good
            }
            "waiting"
            | "held"
            | "running"
            | "paused"
            | "not_registered_then"
            | "would_match_today"
            | "disabled"
            | "failing" => Self::Doubt,
            "failed" | "dropped" | "expired" | "unclear" | "not ready" | "removed" => Self::Bad,
            _ => Self::Plain,
        }
    }
}

/// A line's text: pieces with a style each, without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pieces: Vec<(Style, String)>,
}

impl Text {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// One piece with a style.
    pub(super) fn styled(style: Style, text: &str) -> Self {
        Self::new().with(style, text)
    }

    /// The word of a state in its style.
    pub(super) fn state(word: &str) -> Self {
        Self::styled(Style::of_state(word), word)
    }

    /// The same with one piece more.
    pub(super) fn with(mut self, style: Style, text: &str) -> Self {
        if !text.is_empty() {
            self.pieces.push((style, harmless(text).into_owned()));
        }
        self
    }

    /// The same with a plain piece more.
    pub(super) fn put(self, text: &str) -> Self {
        self.with(Style::Plain, text)
    }

    /// The same with another text behind it.
    pub(super) fn join(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// Columns that it takes on a terminal.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| width_of(text)).sum()
    }

    /// The same, cut to so many columns; where something is missing it ends with `…`.
    pub(super) fn cut(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns.saturating_sub(1);
        let mut kept = Self::new();
        for (style, text) in self.pieces {
            let mut piece = String::new();
            let mut is_full = false;
            for c in text.chars() {
                let width = char_width(c);
                if width > left {
                    is_full = true;
                    break;
                }
                left -= width;
                piece.push(c);
            }
            kept.pieces.push((style, piece));
            if is_full {
                break;
            }
        }
        if columns > 0 {
            kept.pieces.push((Style::Plain, "…".to_owned()));
        }
        kept
    }

    /// The same, filled up with spaces to so many columns, on the left or on the right.
    pub(super) fn fill(self, columns: usize, on_left: bool) -> Self {
        let missing = columns.saturating_sub(self.width());
        let spaces = Self::new().put(&" ".repeat(missing));
        if on_left {
            spaces.join(self)
        } else {
            self.join(spaces)
        }
    }

    /// As a terminal takes it, or plain.
    pub(super) fn render(&self, colours: bool) -> String {
        let mut rendered = String::new();
        for (style, text) in &self.pieces {
            if colours && *style != Style::Plain {
                rendered.push_str(style.code());
                rendered.push_str(text);
                rendered.push_str("\x1b[0m");
            } else {
                rendered.push_str(text);
            }
        }
        rendered.truncate(rendered.trim_end_matches(' ').len());
        rendered
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new().put(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// Whether a terminal would do something else with it than show it where it stands.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        // The Arabic mark turns writing, too; the others show nothing: the soft hyphen, fillers, notes between lines,
        // and tags, by which a whole text can be hidden.
        || matches!(c, '\u{61c}' | '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text with its control characters, and those that hide or turn others, escaped.
pub(in crate::cli) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn width_of(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Columns of a character: East Asian wide forms and pictures take two, marks that combine none.
const fn char_width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// JSON text over several lines, each value to the letter as it stands. What a terminal would not just show is
/// escaped as JSON escapes it; in JSON it can stand in strings only.
pub(super) fn indented(json: &str) -> String {
    let mut shown = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    // Deeper ones stand below each other: indented, a megabyte of brackets would be terabytes of spaces.
    const INDENTED_MAX: usize = 40;
    let new_line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.push_str(&"  ".repeat(depth.min(INDENTED_MAX)));
    };
    let mut characters = json.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = characters.next() {
        if in_string {
            push_escaped(&mut shown, c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            ' ' | '\n' | '\t' => {}
            '"' => {
                in_string = true;
                shown.push(c);
            }
            '{' | '[' => {
                shown.push(c);
                while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|c| matches!(c, '}' | ']')) {
                    shown.push(end);
                    continue;
                }
                depth += 1;
                new_line(&mut shown, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                new_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            _ => push_escaped(&mut shown, c),
        }
    }
    shown
}

/// JSON text on its line, with what a terminal would not just show escaped as JSON escapes it.
pub(super) fn on_a_line(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    json.chars().for_each(|c| push_escaped(&mut shown, c));
    shown
}

fn push_escaped(shown: &mut String, c: char) {
    if is_harmful(c) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    } else {
        shown.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let bad = "a\x1b[2Jb\r\nc\u{9b}31m\u{202e}d\u{7f}";
        let shown = Text::from(bad).render(true);
        assert_eq!(shown, "a\\u{1b}[2Jb\\r\\nc\\u{9b}31m\\u{202e}d\\u{7f}");
        assert!(
            !Text::styled(Style::Bad, bad)
                .cut(9)
                .render(false)
                .contains(char::is_control)
        );
        let hidden = Text::from("\u{61c}a\u{ad}b\u{e0041}").render(false);
        assert_eq!(hidden, "\\u{61c}a\\u{ad}b\\u{e0041}");
        let json = "{\"a\":\"x\u{9b}y\u{7f}\u{e0041}\"}";
        let shown = indented(json);
        assert_eq!(shown, "{\n  \"a\": \"x\\u009by\\u007f\\udb40\\udc41\"\n}");
        let (read, was): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(&shown).unwrap(),
            serde_json::from_str(json).unwrap(),
        );
        assert_eq!(read, was);
    }

    #[test]
    fn a_cut_text_says_so_and_keeps_to_its_columns() {
        assert_eq!(Text::from("webhook").cut(7).render(false), "webhook");
        assert_eq!(Text::from("webhooks").cut(7).render(false), "webhoo…");
        assert_eq!(Text::from("日本語").cut(5).render(false), "日本…");
        assert_eq!(Text::from("日本語").cut(4).width(), 3);
        assert_eq!(Text::from("x").cut(0).render(false), "");
        let two = Text::styled(Style::Good, "ab").put("cd");
        assert_eq!(two.clone().cut(3).render(true), "\x1b[32mab\x1b[0m…");
        assert_eq!(two.fill(6, true).render(false), "  abcd");
    }

    #[test]
    fn json_is_indented_to_the_letter() {
        let json = r#"{"n":1e400,"big":123456789012345678901234567890,"s":"a\"{,:\\","e":[],"l":[1, {"x":null}]}"#;
        let shown = indented(json);
        assert!(shown.contains("\"n\": 1e400,\n"), "{shown}");
        assert!(
            shown.contains("\"big\": 123456789012345678901234567890,"),
            "{shown}"
        );
        assert!(shown.contains(r#""s": "a\"{,:\\","#), "{shown}");
        assert!(shown.contains("\"e\": [],"), "{shown}");
        assert!(
            shown.ends_with("  {\n      \"x\": null\n    }\n  ]\n}"),
            "{shown}"
        );
        assert!(indented(&"[".repeat(10_000)).len() < 1_000_000);
    }
}
