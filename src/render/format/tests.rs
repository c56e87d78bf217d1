//! Formats: what the built-in ones show, that they keep within their receivers' limits for any event, and
//! what is wrong with an operator's.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::render::ecma;

fn event(data: &str) -> Event {
    Event {
        id: EventId::new("evt_1").unwrap(),
        event_type: "artifact.published".to_owned(),
        created_at: UnixMicros::parse("2025-01-15T10:30:00.123456Z").unwrap(),
        data: ecma::normalise(data).unwrap().text,
        scope: None,
        ..sample()
    }
}

fn artifact() -> Event {
    event(
        r#"{"id": "550e", "type": "BugAnalysis",
            "payload": {"severity": "High", "bugs_found": ["Memory leak in <cache> handler"], "confidence": 0.92},
            "produced_by": "bug_detector", "tags": ["critical", "reviewed"], "version": 1, "note": " "}"#,
    )
}

fn rendered(name: &str, event: &Event) -> Value {
    let text = Formats::built_in()
        .get(name)
        .unwrap()
        .render(event)
        .unwrap();
    assert_eq!(ecma::normalise(&text).unwrap().text, text, "{name}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn slack_shows_an_event_as_blocks() {
    let shown = rendered("slack", &artifact());
    let details = "*id:* 550e\n*type:* BugAnalysis\n*payload.severity:* High\n\
        *payload.bugs_found:* Memory leak in &lt;cache&gt; handler\n*payload.confidence:* 0.92\n\
        *produced_by:* bug_detector\n*tags:* critical, reviewed\n*version:* 1\n*note:* (empty)";
    assert_eq!(
        shown,
        json!({
            "text": "artifact.published: BugAnalysis",
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": "artifact.published: BugAnalysis", "emoji": false}},
                {"type": "section", "text": {"type": "mrkdwn", "text": details}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "evt_1 · 2025-01-15T10:30:00Z"}]},
            ],
        })
    );
    let scoped = Event {
        event_type: "breaking".to_owned(),
        scope: Some("c<1>".to_owned()),
        ..event("{}")
    };
    let shown = rendered("slack", &scoped);
    assert_eq!(shown["text"], "breaking");
    assert_eq!(shown["blocks"].as_array().unwrap().len(), 2);
    let context = &shown["blocks"][1]["elements"][0]["text"];
    assert_eq!(context, "evt_1 · 2025-01-15T10:30:00Z · c&lt;1&gt;");
}

#[test]
fn discord_shows_an_event_as_an_embed() {
    let shown = rendered("discord", &artifact());
    assert_eq!(shown["content"], "artifact.published: BugAnalysis");
    assert_eq!(shown["allowed_mentions"], json!({"parse": []}));
    let embed = &shown["embeds"][0];
    assert_eq!(embed["timestamp"], "2025-01-15T10:30:00.123Z");
    assert_eq!(embed["footer"]["text"], "evt_1");
    assert_eq!(
        embed["fields"][2],
        json!({"name": "payload.severity", "value": "High", "inline": true})
    );
    assert_eq!(embed["fields"].as_array().unwrap().len(), 9);
    assert_eq!(
        rendered("discord", &event("{}"))["embeds"][0]["fields"],
        json!([])
    );
    let plain = rendered("discord", &event("\"\\n\""));
    assert_eq!(
        plain["embeds"][0]["fields"],
        json!([{"name": "data", "value": "(empty)", "inline": true}])
    );
}

#[test]
fn teams_shows_an_event_as_an_adaptive_card() {
    let shown = rendered("teams", &artifact());
    assert_eq!(shown["type"], "message");
    let attachment = &shown["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let body = &attachment["content"]["body"];
    assert_eq!(body[0]["text"], "artifact.published: BugAnalysis");
    assert_eq!(
        body[1]["facts"][6],
        json!({"title": "tags", "value": "critical, reviewed"})
    );
    assert_eq!(body[2]["text"], "evt_1 · 2025-01-15T10:30:00Z");
    let bare = rendered("teams", &event("[]"));
    let facts = &bare["attachments"][0]["content"]["body"][1]["facts"];
    assert_eq!(*facts, json!([{"title": "data", "value": "[]"}]));
}

fn units(value: &Value) -> usize {
    value.as_str().unwrap().encode_utf16().count()
}

/// The receivers' documented limits, in UTF-16 units, which are never fewer than characters.
fn check_limits(event: &Event) {
    let slack = rendered("slack", event);
    let blocks = slack["blocks"].as_array().unwrap();
    assert!((1..=40_000).contains(&units(&slack["text"])) && blocks.len() <= 50);
    for block in blocks {
        let (text, max) = match block["type"].as_str().unwrap() {
            "header" => (&block["text"]["text"], 150),
            "section" => (&block["text"]["text"], 3_000),
            _ => (&block["elements"][0]["text"], 2_000),
        };
        assert!((1..=max).contains(&units(text)), "{block}");
        let text = text.as_str().unwrap();
        assert!(!text.contains(['<', '>']), "{text}");
        for (at, _) in text.match_indices('&') {
            let entity = |name: &&str| text[at..].starts_with(*name);
            assert!(["&amp;", "&lt;", "&gt;"].iter().any(entity), "{text}");
        }
    }
    let discord = rendered("discord", event);
    let embed = &discord["embeds"][0];
    assert!((1..=2_000).contains(&units(&discord["content"])));
    assert!((1..=256).contains(&units(&embed["title"])));
    let description = embed.get("description").map_or(0, units);
    assert!(description <= 4_096);
    let mut total = units(&embed["title"]) + description + units(&embed["footer"]["text"]);
    let fields = embed["fields"].as_array().unwrap();
    assert!(fields.len() <= 25);
    for field in fields {
        assert!((1..=256).contains(&units(&field["name"])), "{field}");
        assert!((1..=1_024).contains(&units(&field["value"])), "{field}");
        assert!(
            !field["value"].as_str().unwrap().trim().is_empty(),
            "{field}"
        );
        total += units(&field["name"]) + units(&field["value"]);
    }
    assert!(total <= 6_000, "{total}");
    let teams = rendered("teams", event).to_string();
    // 28 KB, of UTF-16 where the receiver counts so.
    assert!(teams.len() <= 14_000, "{}", teams.len());
}

#[test]
fn the_largest_events_are_cut_to_the_limits() {
    for piece in [
        "x", "é", "😀", "&", "<", "\"", "\\", "\u{1}", "\n", " ", "`",
    ] {
        let long = piece.repeat(9_000);
        let members: serde_json::Map<String, Value> = (0..60)
            .map(|n| (format!("{n}{long}"), Value::from(long.clone())))
            .collect();
        let mut inner = members.clone();
        inner.insert("type".to_owned(), Value::from(long.clone()));
        for data in [
            Value::Object(members),
            json!({ "type": long, "a": inner, "b": [long, long] }),
            json!([long, { "a": long }]),
            Value::from(long.clone()),
        ] {
            let event = Event {
                scope: Some(long.chars().take(200).collect()),
                event_type: "t".repeat(128),
                id: EventId::new(&"i".repeat(64)).unwrap(),
                ..event(&data.to_string())
            };
            check_limits(&event);
        }
    }
}

proptest! {
    // Each case is tens of kilobytes through three formats.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_event_is_within_the_limits(
        members in prop::collection::vec(("\\PC{0,300}|[\u{0}-\u{20}]{0,9}", "(?s).{0,1200}"), 0..45), nested: bool
    ) {
        let object: serde_json::Map<String, Value> =
            members.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        let data = if nested { json!({ "type": object }) } else { Value::Object(object) };
        check_limits(&event(&data.to_string()));
    }
}

fn built(text: &str) -> Result<Formats, Vec<FormatError>> {
    let raw: BTreeMap<String, RawFormat> = toml::from_str(text).unwrap();
    Formats::build(&raw)
}

#[test]
fn an_operator_defines_formats_with_the_same_means() {
    let text = r#"
[pager]
content_type = "application/vnd.pager+json; v=2"
hosts = ["*.pager.example"]
body = '''{
  "summary": {{ ("<" ~ type ~ ">") | mrkdwn(12) }},
  "all": {{ data | json | truncate(10) }},
  "members": [{% for key, value in data | items %}[{{ key }}, {{ value }}]{% if not loop.last %},{% endif %}{% endfor %}]
}'''"#;
    let formats = built(text).unwrap();
    let pager = formats.get("pager").unwrap();
    assert_eq!(pager.content_type, "application/vnd.pager+json; v=2");
    let body = pager
        .render(&event(r#"{"a": 1.0, "b": {"c": null}}"#))
        .unwrap();
    assert_eq!(
        body,
        r#"{"summary":"&lt;artifac…","all":"{\"a\":1,\"b…","members":[["a",1],["b",{"c":null}]]}"#
    );
    let names: Vec<&str> = formats.names().collect();
    assert_eq!(names, ["discord", "pager", "slack", "teams"]);
    let of = |host: &str| {
        formats
            .of_host(&Host::Name(host.to_owned()))
            .map(|f| &*f.name)
    };
    assert_eq!(of("hooks.slack.com"), Some("slack"));
    assert_eq!(of("x.webhook.office.com"), Some("teams"));
    assert_eq!(of("eu.pager.example"), Some("pager"));
    for host in [
        "slack.com",
        "pager.example",
        "xhooks.slack.com",
        "webhook.office.com",
    ] {
        assert_eq!(of(host), None, "{host}");
    }
}

#[test]
fn says_what_is_wrong_with_a_format() {
    for (text, marked, piece) in [
        (
            "[slack]\nbody = '1'",
            None,
            "a built-in format has this name",
        ),
        ("[Pager]\nbody = '1'", None, "1 to 64 of a-z"),
        ("[p]\nbody = '{{ dta }}'", Some("'{{ dta"), "names `dta`"),
        ("[p]\nbody = '{'", Some("'{'"), "does not write JSON"),
        (
            "[p]\nbody = '''\n{\n  \"a\": {{ id | }}\n}'''",
            Some("'''"),
            "in its line 2",
        ),
        (
            "[p]\nbody = '{{ id | truncate(5, unit=\"em\") }}'",
            Some("'{{"),
            "there are utf16 and json",
        ),
        (
            "[p]\nbody = '{{ id | truncate(5, units=1) }}'",
            Some("'{{"),
            "units",
        ),
        (
            "[p]\nbody = '{{ data | fields(count=0, name=1, value=1, total=1) }}'",
            Some("'{{"),
            "from 1 to 100",
        ),
        (
            "[p]\nbody = '1'\ncontent_type = 'json'",
            Some("'json'"),
            "is no content type",
        ),
        (
            "[p]\nbody = '1'\nhosts = ['a.b', 'https://x']",
            Some("['a.b'"),
            "is no host",
        ),
    ] {
        let errors = built(text).expect_err(text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        let start = errors[0].span.as_ref().map(|span| span.start);
        assert_eq!(
            start,
            marked.map(|marked| text.find(marked).unwrap()),
            "{errors:?}"
        );
        assert!(errors[0].message.contains(piece), "{errors:?}");
    }
}
