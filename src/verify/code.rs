//! Code for receivers: the verification of a profile's requests, written out in the languages that receivers use.
//!
//! It is made from the profile's rules alone, so whatever contract an operator writes down, its receivers get code for
//! it. It never holds a secret. The templates are `code/*.jinja`; what stands in them is quoted here.
//!
//! Invariants: each program compares in constant time, takes the body as bytes, accepts several keys, and refuses an
//! empty one; where the signature covers a time it refuses what is older or newer than [`super::TOLERANCE_S`].

mod quote;
#[cfg(test)]
mod tests;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};

use super::{TOLERANCE_S, ed25519, reading};
use crate::profile::{
    Algorithm, Field, KeyForm, Piece, Profile, Rotation, SignatureRule, Template,
};

/// A language that code can be had in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// JavaScript for Node, also of use in TypeScript.
    Node,
    /// Python 3.
    Python,
    /// Go.
    Go,
    /// Rust.
    Rust,
    /// PHP 8.
    Php,
    /// Ruby 3.
    Ruby,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Node,
        Self::Python,
        Self::Go,
        Self::Rust,
        Self::Php,
        Self::Ruby,
    ];

    /// The stable name, as the API uses it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Php => "php",
            Self::Ruby => "ruby",
        }
    }

    /// The language of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    const fn file_name(self) -> &'static str {
        match self {
            Self::Node => "verify-webhook.mjs",
            Self::Python => "verify_webhook.py",
            Self::Go => "webhooks.go",
            Self::Rust => "verify_webhook.rs",
            Self::Php => "WebhookVerifier.php",
            Self::Ruby => "webhook_verifier.rb",
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Node => include_str!("code/node.jinja"),
            Self::Python => include_str!("code/python.jinja"),
            Self::Go => include_str!("code/go.jinja"),
            Self::Rust => include_str!("code/rust.jinja"),
            Self::Php => include_str!("code/php.jinja"),
            Self::Ruby => include_str!("code/ruby.jinja"),
        }
    }
}

/// A part of a receiver's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverCode {
    /// What to call the file.
    pub file_name: &'static str,
    /// The program; empty where the profile signs nothing.
    pub code: String,
    /// What a receiver has to know besides, in sentences.
    pub notes: Vec<String>,
}

/// The code of a receiver that verifies this profile's requests, by the first of its signatures.
#[must_use]
pub fn receiver_code(profile: &Profile, language: Language) -> ReceiverCode {
    let file_name = language.file_name();
    let Some(rule) = profile.signatures.first() else {
        let notes = vec![
            "This profile signs nothing, so nothing can be verified: whoever knows the URL can send to it. Keep it \
             secret, or give the webhook credentials in a header, and check these."
                .to_owned(),
        ];
        return ReceiverCode {
            file_name,
            code: String::new(),
            notes,
        };
    };
    let plan = Plan::new(profile, rule, language);
    ReceiverCode {
        file_name,
        code: plan.render(),
        notes: plan.notes(),
    }
}

/// What a program is made of.
struct Plan<'p> {
    profile: &'p Profile,
    rule: &'p SignatureRule,
    language: Language,
    is_list: bool,
    /// Whether the signature covers a time.
    is_timed: bool,
    /// What is signed and stands in a header of its own: which field, the header's name and its value's form.
    own: Vec<(Field, &'p str, &'p Template)>,
}

impl<'p> Plan<'p> {
    fn new(profile: &'p Profile, rule: &'p SignatureRule, language: Language) -> Self {
        let needed = [Field::Id, Field::Timestamp]
            .into_iter()
            .filter(|field| rule.signed.count(*field) > 0 && rule.value.count(*field) == 0);
        let own = needed.filter_map(|field| {
            let (name, value) = carrier(profile, field)?;
            Some((field, name, value))
        });
        Self {
            profile,
            rule,
            language,
            is_list: profile.is_list(&rule.header_name),
            is_timed: rule.signed.count(Field::Timestamp) > 0,
            own: own.collect(),
        }
    }

    /// A name with a capital, as the language's own rules have it.
    fn pascal(&self, name: &str) -> String {
        match (self.language, name) {
            (Language::Go, "id") => "ID".to_owned(),
            _ => pascal(name),
        }
    }

    const fn is_ed25519(&self) -> bool {
        matches!(self.rule.algorithm, Algorithm::Ed25519)
    }

    fn is_hex(&self) -> bool {
        self.rule.value.count(Field::Hex) > 0
    }

    const fn signature_bytes(&self) -> usize {
        match self.rule.algorithm {
            Algorithm::HmacSha256 => 32,
            Algorithm::Ed25519 => ed25519::BYTES,
        }
    }

    /// The header's name as this language's receivers look it up.
    fn looked_up(&self, name: &str) -> String {
        let name = match self.language {
            Language::Go => name.to_owned(),
            _ => name.to_ascii_lowercase(),
        };
        quote::text(self.language, &name)
    }

    /// What a program says of a value that has not this form.
    fn malformed(&self, name: &str, value: &Template) -> String {
        let said = format!(
            "the header {name} has not the form {}",
            reading::form(value)
        );
        quote::text(self.language, &said)
    }

    fn keys(&self) -> (&'static str, &'static str) {
        match (self.is_ed25519(), self.language) {
            (false, _) => ("secrets", "secret"),
            (true, Language::Node | Language::Go | Language::Php) => ("publicKeys", "publicKey"),
            (true, _) => ("public_keys", "public_key"),
        }
    }

    const fn variable(&self) -> &'static str {
        match self.is_ed25519() {
            true => "WEBHOOK_PUBLIC_KEY",
            false => "WEBHOOK_SECRET",
        }
    }

    fn keys_text(&self) -> &'static str {
        match self.is_ed25519() {
            true => "public keys",
            false => "secrets",
        }
    }

    /// The fields that are read from a value, in their order there.
    fn groups(&self) -> Vec<Field> {
        let pieces = self.rule.value.pieces().iter();
        let mut found: Vec<Field> = Vec::new();
        for piece in pieces {
            if let Piece::Field(field) = piece
                && self.is_wanted(*field)
                && !found.contains(field)
            {
                found.push(*field);
            }
        }
        found
    }

    fn is_wanted(&self, field: Field) -> bool {
        match field {
            Field::Hex | Field::Base64 => true,
            Field::Id | Field::Timestamp => self.rule.signed.count(field) > 0,
            Field::Type | Field::Attempt | Field::Retry | Field::Body => false,
        }
    }

    /// How a program names a field that is signed.
    fn expression(&self, field: Field) -> String {
        let name = field.name();
        let is_own = self.own.iter().any(|(own, ..)| *own == field);
        let pascal = self.pascal(name);
        match (self.language, is_own) {
            (Language::Node, false) | (Language::Go, false) => name.to_owned(),
            (Language::Node, true) => format!("own{pascal}"),
            (Language::Go, true) => format!("own{pascal}[1]"),
            (Language::Python, false) => format!("found[\"{name}\"]"),
            (Language::Python | Language::Ruby | Language::Rust, true) => format!("own_{name}"),
            (Language::Ruby, false) => format!("found[:{name}]"),
            (Language::Rust, false) => format!("offer.{name}"),
            (Language::Php, false) => format!("$found['{name}']"),
            (Language::Php, true) => format!("$own{pascal}"),
        }
    }

    /// What is signed before the body, and behind it, as one expression each; empty where there is nothing.
    fn around_body(&self) -> [String; 2] {
        let pieces = self.rule.signed.pieces();
        let mut parts = pieces.split(|piece| *piece == Piece::Field(Field::Body));
        let and = match self.language {
            Language::Php => " . ",
            _ => " + ",
        };
        [(); 2].map(|()| {
            let part = parts
                .next()
                .unwrap_or_default()
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => quote::text(self.language, text),
                    Piece::Field(field) => self.expression(*field),
                });
            part.collect::<Vec<_>>().join(and)
        })
    }

    /// The signed pieces as Rust's byte slices.
    fn slices(&self) -> Vec<String> {
        let pieces = self.rule.signed.pieces().iter();
        let slice = |piece: &Piece| match piece {
            Piece::Text(text) if text.is_ascii() => {
                format!("b{}", quote::text(Language::Rust, text))
            }
            Piece::Text(text) => format!("{}.as_bytes()", quote::text(Language::Rust, text)),
            Piece::Field(Field::Body) => "body".to_owned(),
            Piece::Field(field) => format!("{}.as_bytes()", self.expression(*field)),
        };
        pieces.map(slice).collect()
    }

    fn own(&self) -> Vec<Value> {
        let one = |(field, name, value): &(Field, &str, &Template)| {
            let mut taken = Vec::new();
            let pattern = quote::pattern(self.language, value, (&mut taken, 0), |other| {
                other == *field
            });
            context! {
                field => field.name(),
                upper => field.name().to_ascii_uppercase(),
                pascal => self.pascal(field.name()),
                header => self.looked_up(name),
                pattern => quote::as_literal(self.language, &pattern),
                form => reading::form(value),
                malformed => self.malformed(name, value),
                plain => value.pieces().len() == 1,
                steps => quote::rust_steps(value, |other| other == *field),
            }
        };
        self.own.iter().map(one).collect()
    }

    fn render(&self) -> String {
        let (rule, language) = (self.rule, self.language);
        let groups = self.groups();
        let names: Vec<&str> = groups
            .iter()
            .map(|field| quote::group_name(*field))
            .collect();
        let places: Vec<String> = (1..=names.len()).map(|at| format!("found[{at}]")).collect();
        let borrowed: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| *name != "signature")
            .collect();
        let mut taken = Vec::new();
        let bytes = self.signature_bytes();
        let pattern = quote::pattern(language, &rule.value, (&mut taken, bytes), |field| {
            self.is_wanted(field)
        });
        let [prefix, suffix] = self.around_body();
        let (keys, key) = self.keys();
        let keys_text = self.keys_text();
        let context = context! {
            profile => quote::comment(language, &self.profile.name),
            header_name => rule.header.as_str(),
            form => quote::comment(language, &reading::form(&rule.value)),
            header => self.looked_up(&rule.header),
            value => quote::as_literal(language, &pattern),
            malformed => self.malformed(&rule.header, &rule.value),
            missing => quote::text(language, &format!("the header {} is missing", rule.header)),
            list => self.is_list,
            timed => self.is_timed,
            tolerance => TOLERANCE_S,
            timestamp => self.expression(Field::Timestamp),
            own => self.own(),
            reads => !self.is_list || !self.own.is_empty(),
            ed25519 => self.is_ed25519(),
            hmac => !self.is_ed25519(),
            hex => self.is_hex(),
            encoding => if self.is_hex() { "hex" } else { "base64" },
            whsec => rule.key == KeyForm::WhsecBase64,
            bytes => bytes,
            variable => self.variable(),
            keys => keys,
            key => key,
            keys_text => keys_text,
            keys_text_capital => pascal(keys_text),
            keys_hint => self.keys_hint(),
            groups => names.join(", "),
            group_places => places.join(", "),
            prefix => prefix,
            suffix => suffix,
            signed => self.slices(),
            steps => quote::rust_steps(&rule.value, |field| self.is_wanted(field)),
            offer_borrows => !borrowed.is_empty(),
            offer_fields => borrowed,
            offer_names => names.join(", "),
            imports => self.imports(),
            crates => self.crates(),
        };
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        let syntax = syntax.build().expect("only white space is configured");
        environment.set_syntax(syntax);
        let text = environment.render_named_str("code", language.template(), context);
        quote::tidy(&text.expect("the templates use nothing that is not there, as the tests see"))
    }

    fn keys_hint(&self) -> &'static str {
        match self.is_ed25519() {
            true => "the webhook's public key; while it is rotated, the new and the old one",
            false => "the webhook's secret; while it is rotated, the new and the old one",
        }
    }

    /// The lines of a program's imports, where they depend on what it does.
    fn imports(&self) -> Vec<&'static str> {
        let decodes = !self.is_hex() || self.is_ed25519() || self.rule.key == KeyForm::WhsecBase64;
        let lines: &[(bool, &str)] = match self.language {
            Language::Go => &[
                (self.is_ed25519(), "crypto/ed25519"),
                (!self.is_ed25519(), "crypto/hmac"),
                (!self.is_ed25519(), "crypto/sha256"),
                (decodes, "encoding/base64"),
                (self.is_hex(), "encoding/hex"),
                (true, "errors"),
                (true, "net/http"),
                (true, "regexp"),
                (self.is_timed, "strconv"),
                (self.is_list || self.rule.key != KeyForm::Utf8, "strings"),
                (self.is_timed, "time"),
            ],
            Language::Rust => &[
                (decodes, "use base64::Engine as _;"),
                (decodes, "use base64::engine::general_purpose::STANDARD;"),
                (
                    self.is_ed25519(),
                    "use ed25519_dalek::{Signature, VerifyingKey};",
                ),
                (
                    !self.is_ed25519(),
                    "use hmac::{Hmac, KeyInit as _, Mac as _};",
                ),
                (!self.is_ed25519(), "use sha2::Sha256;"),
            ],
            _ => &[],
        };
        let wanted = lines.iter().filter(|(wanted, _)| *wanted);
        wanted.map(|(_, line)| *line).collect()
    }

    /// What Rust code needs, as people write it.
    fn crates(&self) -> String {
        let decodes = !self.is_hex() || self.is_ed25519() || self.rule.key == KeyForm::WhsecBase64;
        let mut crates = match self.is_ed25519() {
            true => vec!["ed25519-dalek 3"],
            false => vec!["hmac 0.13", "sha2 0.11"],
        };
        if decodes {
            crates.push("base64 0.22 or newer");
        }
        format!("the crates {}", crates.join(", "))
    }

    fn notes(&self) -> Vec<String> {
        let (profile, rule) = (self.profile, self.rule);
        let mut notes = Vec::new();
        let variable = self.variable();
        notes.push(match self.is_ed25519() {
            true => format!(
                "The webhook's public key, which its answer shows as `public_key` (`whpk_…`), is expected in the \
                 environment as {variable}. It is no secret."
            ),
            false => format!(
                "The webhook's secret, as its registration showed it, is expected in the environment as {variable}; it \
                 is not part of this code."
            ),
        });
        if profile.secret.keys.len() > 1 && !self.is_ed25519() {
            notes.push(
                "The webhook's secret is two, with a space between; this code needs the first of them only.".to_owned(),
            );
        }
        if profile.signatures.len() > 1 {
            let all: Vec<&str> = profile
                .signatures
                .iter()
                .map(|rule| rule.header.as_str())
                .collect();
            notes.push(format!(
                "The profile signs in {} ways ({}); this code checks the first, {}, which is enough.",
                all.len(),
                all.join(", "),
                rule.algorithm.as_str()
            ));
        }
        notes.push(
            "Verify the bytes of the body as they came: JSON that was parsed and written again is another text."
                .to_owned(),
        );
        notes.push(match self.is_timed {
            true => format!(
                "A request whose signed time is more than {TOLERANCE_S} s from the receiver's clock is refused, so what \
                 somebody recorded cannot be sent again later. Keep the clock right."
            ),
            false => "The signature covers no time, so what somebody recorded can be sent again: remember the ids of \
                      events that were handled."
                .to_owned(),
        });
        notes.push(match carrier(profile, Field::Id) {
            Some((name, _)) => format!(
                "An event may arrive more than once, with the same `{name}` each time: remember it, and answer 2xx \
                 without doing the work again."
            ),
            None => "An event may arrive more than once: remember the id in its body, and answer 2xx without doing the \
                     work again."
                .to_owned(),
        });
        notes.push(self.rotation_note());
        notes
    }

    fn rotation_note(&self) -> String {
        let what = match self.is_ed25519() {
            true => "public key",
            false => "secret",
        };
        match self.profile.secret.rotation {
            Rotation::Overlap => format!(
                "While the secret is replaced, requests carry signatures by both: put the new {what} in place of the old \
                 one at any time before that expires."
            ),
            Rotation::Staged => format!(
                "While the secret is replaced, requests are signed by one of two: give both {what}s, with a space \
                 between, until the new one is promoted."
            ),
        }
    }
}

/// The header of its own that carries a field, and the form of its value.
fn carrier(profile: &Profile, field: Field) -> Option<(&str, &Template)> {
    let carries = |value: &Template| value.count(field) > 0 && value.count(Field::Retry) == 0;
    let rule = profile.headers.iter().find(|rule| carries(&rule.value))?;
    Some((rule.name.as_str(), &rule.value))
}

fn pascal(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_ascii_uppercase() + rest
}
