//! A Rust source file as tokens without comments, and what it names.
//!
//! Enough of the language to tell code from comments and literals and to follow paths; no parser. Macros
//! that build paths from pieces would escape it, and there are none.

use std::ops::RangeInclusive;

/// One token, with the line it stands in, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a token is. Numbers and lifetimes are of no interest and left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    Mark(char),
    Literal(String),
}

/// A top-level module that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) module: String,
    pub(super) line: usize,
    pub(super) in_test: bool,
}

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path below the package, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
    /// The top-level modules it names, `*` for all at once.
    pub(super) names: Vec<Named>,
    /// The modules it declares as files of their own, and whether as tests.
    pub(super) declares: Vec<(String, bool)>,
    /// The lines of code that is compiled for tests only.
    pub(super) test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let mut walk = Walk::new(path, &tokens);
        walk.run();
        let (names, declares, test_lines) = (walk.names, walk.declares, walk.test_lines);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
            names,
            declares,
            test_lines,
        }
    }

    /// The top-level module that the file belongs to: `foo` for `src/foo.rs` and `src/foo/bar.rs`.
    pub(super) fn module(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        let first = inside.split('/').next().unwrap_or(inside);
        first.trim_end_matches(".rs")
    }

    pub(super) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }
}

/// A block in braces.
#[derive(Clone, Copy, Debug)]
struct Block {
    is_module: bool,
    is_test: bool,
    first_line: usize,
}

/// The way through a file's tokens.
struct Walk<'a> {
    tokens: &'a [Token],
    /// How far the file's own module is below the crate's root.
    depth: usize,
    /// The crate's own name, where the file is not part of the library but uses it.
    is_binary: bool,
    blocks: Vec<Block>,
    /// Parentheses and brackets that are open.
    open: usize,
    /// The line of a `#[cfg(test)]` whose item has not ended yet.
    test_from: Option<usize>,
    module_next: bool,
    names: Vec<Named>,
    declares: Vec<(String, bool)>,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl<'a> Walk<'a> {
    fn new(path: &str, tokens: &'a [Token]) -> Self {
        let inside = path.trim_start_matches("src/");
        let is_root = inside == "lib.rs" || inside == "main.rs";
        Self {
            tokens,
            depth: if is_root {
                0
            } else {
                inside.split('/').count()
            },
            is_binary: inside == "main.rs",
            blocks: Vec::new(),
            open: 0,
            test_from: None,
            module_next: false,
            names: Vec::new(),
            declares: Vec::new(),
            test_lines: Vec::new(),
        }
    }

    fn run(&mut self) {
        let mut at = 0;
        while let Some(token) = self.tokens.get(at) {
            at = match &token.kind {
                Kind::Mark('#') => self.attribute(at),
                Kind::Mark(mark) => self.mark(at, *mark),
                Kind::Word(word) => self.word(at, word),
                Kind::Literal(_) => at + 1,
            };
        }
    }

    fn attribute(&mut self, at: usize) -> usize {
        let inner = usize::from(self.is_mark(at + 1, '!'));
        if !self.is_mark(at + 1 + inner, '[') {
            return at + 1;
        }
        let end = self.matching(at + 1 + inner, '[', ']');
        let words: Vec<&str> = (at..end).filter_map(|i| self.word_at(i)).collect();
        let for_tests = words.first() == Some(&"cfg") && words.contains(&"test");
        if for_tests && !words.contains(&"not") {
            let line = self.tokens[at].line;
            self.test_from = Some(self.test_from.unwrap_or(line));
        }
        end + 1
    }

    fn mark(&mut self, at: usize, mark: char) -> usize {
        let line = self.tokens[at].line;
        match mark {
            '(' | '[' => self.open += 1,
            ')' | ']' => self.open = self.open.saturating_sub(1),
            '{' => {
                let is_test = self.in_test();
                let first_line = self.test_from.take().unwrap_or(line);
                self.blocks.push(Block {
                    is_module: std::mem::take(&mut self.module_next),
                    is_test,
                    first_line,
                });
            }
            '}' => {
                if let Some(block) = self.blocks.pop()
                    && block.is_test
                {
                    self.test_lines.push(block.first_line..=line);
                }
            }
            ';' if self.open == 0 => {
                if let Some(first) = self.test_from.take() {
                    self.test_lines.push(first..=line);
                }
            }
            _ => {}
        }
        at + 1
    }

    fn word(&mut self, at: usize, word: &str) -> usize {
        let starts_path = !(at >= 2 && self.is_path_mark(at - 2));
        match word {
            "mod" => {
                if let Some(name) = self.word_at(at + 1) {
                    if self.is_mark(at + 2, ';') {
                        self.declares.push((name.to_owned(), self.in_test()));
                    } else {
                        self.module_next = true;
                    }
                }
                at + 1
            }
            "crate" if self.is_path_mark(at + 1) => self.root_path(at + 3),
            "hookwheel" if self.is_binary && starts_path && self.is_path_mark(at + 1) => {
                self.root_path(at + 3)
            }
            "super" if starts_path => {
                let mut next = at;
                let mut climbed = 0;
                while self.word_at(next) == Some("super") && self.is_path_mark(next + 1) {
                    climbed += 1;
                    next += 3;
                }
                let inline = self.blocks.iter().filter(|block| block.is_module).count();
                if climbed > 0 && climbed == self.depth + inline {
                    self.root_path(next)
                } else {
                    next.max(at + 1)
                }
            }
            _ => at + 1,
        }
    }

    /// Notes what follows the crate's root in a path.
    fn root_path(&mut self, at: usize) -> usize {
        if self.is_mark(at, '{') {
            let end = self.matching(at, '{', '}');
            let mut depth = 0;
            for i in at..end {
                match &self.tokens[i].kind {
                    Kind::Mark('{') => depth += 1,
                    Kind::Mark('}') => depth -= 1,
                    _ => {}
                }
                let begins = self.is_mark(i, '{') || self.is_mark(i, ',');
                if depth == 1 && begins {
                    self.name(i + 1);
                }
            }
            end + 1
        } else {
            self.name(at);
            at + 1
        }
    }

    fn name(&mut self, at: usize) {
        let module = match self.tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Word(word)) if word != "self" => word.clone(),
            Some(Kind::Mark('*')) => "*".to_owned(),
            _ => return,
        };
        let in_test = self.in_test();
        self.names.push(Named {
            module,
            line: self.tokens[at].line,
            in_test,
        });
    }

    fn in_test(&self) -> bool {
        self.test_from.is_some() || self.blocks.last().is_some_and(|block| block.is_test)
    }

    fn matching(&self, from: usize, open: char, close: char) -> usize {
        let mut depth = 0;
        for at in from..self.tokens.len() {
            depth += usize::from(self.is_mark(at, open));
            depth -= usize::from(self.is_mark(at, close));
            if depth == 0 {
                return at;
            }
        }
        self.tokens.len()
    }

    fn is_mark(&self, at: usize, mark: char) -> bool {
        self.tokens.get(at).map(|token| &token.kind) == Some(&Kind::Mark(mark))
    }

    fn is_path_mark(&self, at: usize) -> bool {
        self.is_mark(at, ':') && self.is_mark(at + 1, ':')
    }

    fn word_at(&self, at: usize) -> Option<&'a str> {
        match &self.tokens.get(at)?.kind {
            Kind::Word(word) => Some(word),
            Kind::Mark(_) | Kind::Literal(_) => None,
        }
    }
}

/// The tokens of a text. Comments are left out, doc comments too.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let in_word = |at: usize| {
        chars
            .get(at)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&c) = chars.get(at) {
        let (end, kind) = if c == '/' && is(at + 1, '/') {
            (past(&chars, at, |i| is(i, '\n')), None)
        } else if c == '/' && is(at + 1, '*') {
            (block_comment_end(&chars, at), None)
        } else if let Some((start, end, after)) = string(&chars, at) {
            let content = chars[start..end].iter().collect();
            (after, Some(Kind::Literal(content)))
        } else if c == '\'' && in_word(at + 1) && !is(at + 2, '\'') {
            (past(&chars, at + 1, |i| !in_word(i)), None)
        } else if in_word(at) {
            let end = past(&chars, at, |i| !in_word(i));
            let word: String = chars[at..end].iter().collect();
            (end, Some(Kind::Word(word)).filter(|_| !c.is_numeric()))
        } else {
            (at + 1, Some(Kind::Mark(c)).filter(|_| !c.is_whitespace()))
        };
        if let Some(kind) = kind {
            found.push(Token { line, kind });
        }
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    found
}

/// The first place from `at` on where `stop` holds, or the end.
fn past(chars: &[char], at: usize, stop: impl Fn(usize) -> bool) -> usize {
    (at..chars.len()).find(|i| stop(*i)).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0usize, from);
    while at < chars.len() {
        match chars[at..].get(..2) {
            Some(['/', '*']) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/']) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// A string or character literal at `at`: where its content begins and ends, and what comes after it.
fn string(chars: &[char], at: usize) -> Option<(usize, usize, usize)> {
    let prefix: String = chars[at..].iter().take(2).collect();
    let prefix = ["br", "cr", "b", "c", "r"]
        .into_iter()
        .find(|p| prefix.starts_with(p))
        .unwrap_or("");
    let mut start = at + prefix.len();
    if prefix.ends_with('r') {
        let hashes = past(chars, start, |i| chars[i] != '#') - start;
        start += hashes;
        if chars.get(start) != Some(&'"') {
            return None;
        }
        let closes = |i: usize| {
            chars[i] == '"'
                && chars[i + 1..]
                    .iter()
                    .take(hashes)
                    .filter(|c| **c == '#')
                    .count()
                    == hashes
        };
        let end = past(chars, start + 1, closes);
        return Some((start + 1, end, (end + 1 + hashes).min(chars.len())));
    }
    let quote = *chars.get(start)?;
    let is_char = quote == '\''
        && (chars.get(start + 1) == Some(&'\\') || chars.get(start + 2) == Some(&'\''));
    if quote != '"' && !is_char {
        return None;
    }
    let mut end = start + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    let end = end.min(chars.len());
    Some((start + 1, end, (end + 1).min(chars.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<(String, usize, bool)> {
        Source::new(path, text)
            .names
            .into_iter()
            .map(|named| (named.module, named.line, named.in_test))
            .collect()
    }

    fn row(module: &str, line: usize, in_test: bool) -> (String, usize, bool) {
        (module.to_owned(), line, in_test)
    }

    #[test]
    fn finds_paths_from_the_root_in_every_form() {
        let text = "use crate::a::X;\nuse crate::{b, c::{d, e}, self};\nfn f(x: crate::g::Y) {}\n\
                    use super::h;\npub(crate) fn i() { super::j::k() }\nuse crate::*;\n";
        let found: Vec<String> = names("src/x.rs", text).into_iter().map(|n| n.0).collect();
        assert_eq!(found, ["a", "b", "c", "g", "h", "j", "*"]);
    }

    #[test]
    fn a_climb_counts_only_if_it_reaches_the_root() {
        let text = "use super::a;\nuse super::super::b;\nmod inner { use super::super::c; use super::super::super::d; }\n";
        assert_eq!(
            names("src/x/y.rs", text),
            [row("b", 2, false), row("d", 3, false)]
        );
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = "//! [`crate::a`]\n/* crate::b /* crate::c */ crate::d */\n\
                    const X: &str = \"crate::e\\\"crate::f\";\nconst Y: &str = r#\"crate::g\" crate::h\"#;\n\
                    const Z: char = '\"'; fn l<'a>(x: &'a str) { crate::real(); }\n";
        assert_eq!(names("src/x.rs", text), [row("real", 5, false)]);
    }

    #[test]
    fn knows_code_that_is_for_tests_only() {
        let text = "use crate::a;\n#[cfg(test)]\nuse crate::b;\nuse crate::c;\n#[cfg(test)]\nmod tests {\n\
                    fn f(x: [u8; 3]) { use crate::d; }\n}\nuse crate::e;\n#[cfg(not(test))]\nuse crate::f;\n\
                    #[cfg(test)]\nmod more;\n";
        let source = Source::new("src/x.rs", text);
        let flags: Vec<(&str, bool)> = source
            .names
            .iter()
            .map(|n| (n.module.as_str(), n.in_test))
            .collect();
        assert_eq!(
            flags,
            [
                ("a", false),
                ("b", true),
                ("c", false),
                ("d", true),
                ("e", false),
                ("f", false)
            ]
        );
        assert!(source.is_test_line(5) && source.is_test_line(8) && !source.is_test_line(9));
        assert_eq!(source.declares, [("more".to_owned(), true)]);
    }

    #[test]
    fn the_binary_names_modules_through_the_library() {
        let found = names(
            "src/main.rs",
            "use hookwheel::{cli, daemon};\nfn main() { hookwheel::demo::run() }\n",
        );
        assert_eq!(found.len(), 3);
    }
}
