//! Requests as the real signer makes them, right and wrong ones, for each profile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookwheel::model::Secret;
use hookwheel::profile::{Field, Profile, Profiles, RawProfile};
use hookwheel::sign::{SignContext, Signer};
use serde_json::{Value, json};

/// What receivers take for the present, seconds.
const NOW: u64 = 1_706_096_400;

/// Contracts that no built-in profile has: another algorithm, several signatures, odd texts, a staged rotation.
const OTHERS: &str = r#"
[signed_by_key]
extends = "standard"
[signed_by_key.secret]
generate = "whsk_{base64:32}"
key = "whsk-base64"
[[signed_by_key.signature]]
header = "webhook-signature"
algorithm = "ed25519"
signed = "{id}.{timestamp}.{body}"
value = "v1a,{base64}"

[signed_by_both]
extends = "standard"
[signed_by_both.secret]
generate = "whsec_{base64:32} whsk_{base64:32}"
[[signed_by_both.signature]]
header = "webhook-signature"
algorithm = "hmac-sha256"
signed = "{id}.{timestamp}.{body}"
value = "v1,{base64}"
[[signed_by_both.signature]]
header = "webhook-signature"
algorithm = "ed25519"
signed = "{id}.{timestamp}.{body}"
value = "v1a,{base64}"

[odd]
extends = "standard"
[odd.secret]
generate = "k_{random:40}"
key = "utf8"
rotation = "staged"
[[odd.signature]]
header = "X-Odd"
algorithm = "hmac-sha256"
signed = "a\"b\\c#d $e 'f' é\n{timestamp}\n{body}\n{id}/*"
value = "at/{timestamp}+id={id}?[s]='{hex}'"
[odd.headers]

[odd_key]
extends = "signed_by_key"
[odd_key.secret]
rotation = "staged"
[[odd_key.signature]]
header = "X-Odd-Key"
algorithm = "ed25519"
signed = "{body}"
value = "{hex}"
[odd_key.headers]
"#;

/// A profile, and what its receivers are to say.
pub struct Subject {
    pub name: String,
    pub profile: Arc<Profile>,
    pub cases: Vec<Case>,
}

/// One request, and whether it is to be accepted.
pub struct Case {
    pub what: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub keys: Vec<String>,
    pub now: u64,
    is_right: bool,
}

impl Case {
    pub fn json(&self) -> Value {
        let headers: BTreeMap<_, _> = self.headers.iter().cloned().collect();
        json!({ "headers": headers, "body": BASE64.encode(&self.body), "keys": self.keys, "now": self.now })
    }

    /// Notes it where a receiver said otherwise than it should have.
    pub fn hold(&self, name: &str, language: &str, why: Option<&str>, faults: &mut String) {
        let is_right = why.is_none();
        if is_right != self.is_right || why == Some("") {
            writeln!(faults, "{name} in {language}: {}: {why:?}", self.what).unwrap();
        }
    }
}

impl Subject {
    pub fn is_timed(&self) -> bool {
        self.profile.signatures[0].signed.count(Field::Timestamp) > 0
    }
}

/// All of them; `standard` is the first.
pub fn subjects() -> Vec<Subject> {
    let others: BTreeMap<String, RawProfile> = toml::from_str(OTHERS).unwrap();
    let profiles = Profiles::build(others).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut subjects: Vec<Subject> = profiles.iter().map(subject).collect();
    subjects.sort_by_key(|subject| subject.name != "standard");
    assert!(subjects.len() >= 10);
    subjects
}

/// What a receiver of such a webhook holds.
fn key_of(profile: &Profile, secret: &Secret) -> String {
    let rule = &profile.signatures[0];
    match profile.secret.public_key(secret) {
        Some(public) if rule.algorithm.as_str() == "ed25519" => public,
        _ => secret.expose().split(' ').next().unwrap().to_owned(),
    }
}

fn signed(profile: &Profile, at: u64, body: &[u8], secrets: &[&Secret]) -> Vec<(String, String)> {
    let context = SignContext {
        id: "evt_1-b",
        event_type: "a.b",
        timestamp_s: at,
        attempt: 1,
    };
    let headers = Signer::compile(profile)
        .sign(body, &context, secrets)
        .unwrap();
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

/// What the requests of one subject are made with.
struct Maker<'p> {
    profile: &'p Profile,
    mine: Secret,
    other: Secret,
    key: String,
    other_key: String,
    body: Vec<u8>,
    is_timed: bool,
}

impl<'p> Maker<'p> {
    fn new(profile: &'p Profile) -> Self {
        let secret = || profile.secret.generate().unwrap();
        let (mine, other) = (secret(), secret());
        Self {
            key: key_of(profile, &mine),
            other_key: key_of(profile, &other),
            body: "{\"id\":\"evt_1\",\"data\":{\"n\":1.0,\"t\":\"é \u{1f600}\"}}".into(),
            is_timed: profile.signatures[0].signed.count(Field::Timestamp) > 0,
            profile,
            mine,
            other,
        }
    }

    fn right(&self, what: &'static str, at: u64) -> Case {
        Case {
            what,
            headers: signed(self.profile, at, &self.body, &[&self.mine]),
            body: self.body.clone(),
            keys: vec![self.key.clone()],
            now: NOW,
            is_right: true,
        }
    }

    fn wrong(&self, what: &'static str, change: impl Fn(&mut Case)) -> Case {
        let mut case = self.right(what, NOW);
        change(&mut case);
        case.is_right = false;
        case
    }

    fn with_body(&self, what: &'static str, body: &[u8]) -> Case {
        Case {
            headers: signed(self.profile, NOW, body, &[&self.mine]),
            body: body.to_vec(),
            ..self.right(what, NOW)
        }
    }

    fn line<'c>(&self, case: &'c mut Case) -> &'c mut String {
        let header = self.profile.signatures[0].header_name.as_str();
        let line = case.headers.iter_mut().find(|(name, _)| name == header);
        &mut line.unwrap().1
    }

    /// A request whose signatures are not as they were sent; each of them, where the header has several values.
    fn altered(&self, what: &'static str, change: impl Fn(&str) -> String) -> Case {
        self.wrong(what, |case| {
            let line = self.line(case);
            *line = line.split(' ').map(&change).collect::<Vec<_>>().join(" ");
        })
    }

    fn cases(&self) -> Vec<Case> {
        let header = self.profile.signatures[0].header_name.as_str();
        let other = || vec![self.other_key.clone()];
        let mut cases = vec![
            self.right("as sent", NOW),
            self.right("the clocks differ a little", NOW - 299),
            Case {
                keys: vec![self.other_key.clone(), self.key.clone()],
                ..self.right("the second key", NOW)
            },
            Case {
                is_right: !self.is_timed,
                ..self.right("an old time", NOW - 301)
            },
            Case {
                is_right: !self.is_timed,
                ..self.right("a time to come", NOW + 301)
            },
            self.with_body("a body that is no text", &[0xff, 0x00, b'{', 0xfe]),
            self.with_body("an empty body", b""),
            self.wrong("another body", |case| case.body.insert(1, b' ')),
            self.wrong("a longer body", |case| case.body.push(b'\n')),
            self.wrong("another key", |case| case.keys = other()),
            self.wrong("no key", |case| case.keys.clear()),
            self.wrong("an empty key", |case| case.keys = vec![String::new()]),
            self.wrong("no header", |case| {
                case.headers.retain(|(name, _)| name != header)
            }),
            self.altered("an empty header", |_| String::new()),
            self.altered("something before it", |value| format!("x{value}")),
            self.altered("something behind it", |value| format!("{value}0")),
            self.altered("cut short", |value| value[..value.len() - 1].to_owned()),
            self.altered("in capitals", str::to_ascii_uppercase),
            self.altered("twice", |value| format!("{value},{value}")),
        ];
        if self
            .profile
            .is_list(&self.profile.signatures[0].header_name)
        {
            cases.extend(self.lists());
        }
        if self.is_timed {
            cases.push(self.wrong("another time", |case| {
                for (_, value) in &mut case.headers {
                    *value = value.replace(&NOW.to_string(), &(NOW + 1).to_string());
                }
            }));
        }
        cases
    }

    /// Requests with more signatures than one.
    fn lists(&self) -> [Case; 3] {
        let both = signed(self.profile, NOW, &self.body, &[&self.other, &self.mine]);
        let mut beside = self.right("beside one of a version to come", NOW);
        let line = self.line(&mut beside);
        *line = format!("v9,xyz {line} v2");
        [
            Case {
                headers: both.clone(),
                ..self.right("both sign, the old key", NOW)
            },
            Case {
                headers: both,
                keys: vec![self.other_key.clone()],
                ..self.right("both sign, the new key", NOW)
            },
            beside,
        ]
    }
}

fn subject(profile: &Arc<Profile>) -> Subject {
    Subject {
        name: profile.name.clone(),
        cases: Maker::new(profile).cases(),
        profile: Arc::clone(profile),
    }
}
