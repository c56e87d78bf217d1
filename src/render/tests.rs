//! Envelopes: the built-in ones byte for byte, and what templates can and cannot do.

use std::collections::BTreeMap;

use super::*;
use crate::model::{AccountName, Event, EventId};
use crate::profile::{Profile, Profiles, RawProfile};

fn event(profile: &Profile) -> Event {
    let account = AccountName::new("acme").unwrap();
    let id = profile.example.id.as_deref().unwrap_or("evt_1");
    let at = profile.example.created_at.unwrap();
    example(profile, &account, EventId::new(id).unwrap(), at).unwrap()
}

fn with_body(body: &str) -> Result<(Envelope, Event), String> {
    let text = format!("[p]\nextends = \"dataflow\"\nbody = '''\n{body}'''");
    let raw: BTreeMap<String, RawProfile> = toml::from_str(&text).unwrap();
    let profiles = Profiles::build(raw).unwrap();
    let profile = profiles.get("p").unwrap();
    let envelope = Envelope::compile(profile).map_err(|error| error.to_string())?;
    Ok((envelope, event(profile)))
}

fn rendered(body: &str) -> String {
    let (envelope, event) = with_body(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    envelope.render(&event).unwrap()
}

#[test]
fn each_product_gets_its_own_envelope() {
    let expected = [
        (
            "driftlock",
            r#"{"id":"evt_1234567890","type":"anomaly.detected","created_at":"2025-01-01T12:00:00Z","data":{"stream_id":"payment-service","anomaly_id":"anom_abc123","metrics":{"ncd":0.85,"confidence":0.98,"p_value":0.001},"event":{"timestamp":"2025-01-01T12:00:00Z","type":"transaction","body":{"amount":1000000,"currency":"USD"}},"why":"Transaction amount is 500x higher than average"}}"#,
        ),
        (
            "anomalyarmor",
            r#"{"event_type":"alert.triggered","alert":{"id":"alert_abc123","rule_name":"Production Schema Changes","alert_type":"schema","status":"triggered","created_at":"2024-01-15T08:00:00Z"},"event":{"type":"schema_change","change_type":"column_removed","asset":{"qualified_name":"production.public.orders","asset_type":"table"},"details":{"column_name":"shipping_status","column_type":"varchar"}},"links":{"alert_url":"https://app.anomalyarmor.ai/alerts/alert_abc123","asset_url":"https://app.anomalyarmor.ai/assets/..."}}"#,
        ),
        (
            "dataflow",
            r#"{"id":"evt_1a2b3c4d5e6f","type":"pipeline.run.completed","created_at":"2025-01-24T10:30:00Z","data":{"pipeline_id":"pipe_abc123","run_id":"run_xyz789","status":"completed","records_processed":15420,"duration_seconds":127,"started_at":"2025-01-24T10:27:53Z","completed_at":"2025-01-24T10:30:00Z"},"metadata":{"environment":"production","triggered_by":"schedule"}}"#,
        ),
        (
            "flock",
            r#"{"event":"artifact.published","timestamp":"2025-01-15T10:30:00.123456Z","artifact":{"id":"550e8400-e29b-41d4-a716-446655440000","type":"BugAnalysis","payload":{"severity":"High","bugs_found":["Memory leak in cache handler"],"confidence":0.92},"produced_by":"bug_detector","correlation_id":"workflow-123","created_at":"2025-01-15T10:30:00.000000Z","tags":["critical","reviewed"],"version":1}}"#,
        ),
        (
            "driftguard",
            r#"{"id":"evt_check_1","type":"breaking","contract_id":"contract_1","created_at":"2026-03-01T19:22:00Z","data":{"check_id":"check_1","changes":[{"path":"/orders/{id}","kind":"field_removed"}]}}"#,
        ),
        (
            "standard",
            r#"{"type":"user.created","timestamp":"2022-11-03T20:26:10.344Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485","type":"user","attributes":{"name":"John Doe"}}}"#,
        ),
    ];
    let profiles = Profiles::built_in();
    let envelopes = compile_all(&profiles).unwrap();
    assert_eq!(envelopes.len(), expected.len());
    for (name, body) in expected {
        let event = event(profiles.get(name).unwrap());
        assert_eq!(envelopes[name].render(&event).unwrap(), body, "{name}");
        assert_eq!(ecma::normalise(body).unwrap().text, body);
    }
}

#[test]
fn what_an_event_lacks_has_a_fixed_form() {
    let profiles = Profiles::built_in();
    let envelopes = compile_all(&profiles).unwrap();
    let render = |name: &str, data: &str| {
        let event = Event {
            data: data.to_owned(),
            metadata: None,
            scope: None,
            ..event(profiles.get(name).unwrap())
        };
        envelopes[name].render(&event).unwrap()
    };
    assert!(render("dataflow", "1").ends_with(r#""data":1,"metadata":{}}"#));
    assert!(render("driftguard", "[]").contains(r#""contract_id":null,"#));
    assert!(
        render("anomalyarmor", r#"{"alert":1}"#)
            .ends_with(r#""alert":1,"event":null,"links":null}"#)
    );
    assert!(render("anomalyarmor", "\"text\"").contains(r#""alert":null"#));
}

#[test]
fn data_keeps_every_byte() {
    let profiles = Profiles::built_in();
    let profile = profiles.get("flock").unwrap();
    let envelope = Envelope::compile(profile).unwrap();
    for data in [
        r#""\ud800""#,
        "12345678901234567890",
        r#"{"a":1e400,"b":"\"\\\n","c":"<é😀&'>","d":0.1}"#,
        "null",
        "\"\"",
        "-1.5e-10",
    ] {
        let event = Event {
            data: data.to_owned(),
            ..event(profile)
        };
        let body = envelope.render(&event).unwrap();
        assert!(body.ends_with(&format!("\"artifact\":{data}}}")), "{body}");
    }
}

#[test]
fn templates_choose_compare_and_join() {
    assert_eq!(
        rendered(
            r#"{ {% if data.status == "completed" %}"ok" : true,{% endif %} "n": {{ data.records_processed + 1 if data.records_processed else 0 }} }"#
        ),
        r#"{"ok":true,"n":15421}"#
    );
    assert_eq!(
        rendered(
            r#"{"text": {{ "Run " ~ data.run_id ~ " \"done\"" }}, "all": {{ [type, data.none.at.all, {"x": 1.0}] }}}"#
        ),
        r#"{"text":"Run run_xyz789 \"done\"","all":["pipeline.run.completed",null,{"x":1}]}"#
    );
    assert_eq!(
        rendered(
            r#"[{% for key in metadata %}{{ key }}{% if not loop.last %},{% endif %}{% endfor %}]"#
        ),
        r#"["environment","triggered_by"]"#
    );
    assert_eq!(
        rendered(
            r#"{"b": 1.0, "2": "a { b", "t": {{ created_at | millis }}, "u": {{ created_at }}}"#
        ),
        r#"{"2":"a { b","b":1,"t":"2025-01-24T10:30:00.000Z","u":"2025-01-24T10:30:00.000000Z"}"#
    );
}

#[test]
fn says_what_is_wrong_with_a_template() {
    let cases = [
        (r#"{"a": {{ dta }}}"#, "names `dta`; there are id, type"),
        (r#"{"a": {{ id }"#, "cannot be read"),
        (r#"{"a": {{ id | shout }}}"#, "shout"),
        (r#"{"a": "x {{ id }}"}"#, "inside a string"),
        (r#"{"a": {{ id }},}"#, "does not write JSON"),
        (r#"{"a": {{ id | seconds }}}"#, "are for created_at"),
        ("", "does not write JSON"),
        (
            r#"[{% for a in [1,2,3,4,5,6,7,8,9] %}{% for b in [1,2,3,4,5,6,7,8,9] %}{% for c in [1,2,3,4,5,6,7,8,9] %}{% for d in [1,2,3,4,5,6,7,8,9] %}{% for e in [1,2,3,4,5,6,7,8,9] %}0,{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}0]"#,
            "fuel",
        ),
    ];
    for (body, expected) in cases {
        let error = with_body(body)
            .err()
            .unwrap_or_else(|| panic!("{body} was taken"));
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn bounds_the_output() {
    let body = r#"[{{ data }},{{ data }},{{ data }},{{ data }},{{ data }}]"#;
    let (envelope, event) = with_body(body).unwrap();
    let big = Event {
        data: format!("\"{}\"", "x".repeat(4 * 1024 * 1024)),
        ..event
    };
    let error = envelope.render(&big).unwrap_err();
    assert!(matches!(error, RenderError::Template(_)), "{error}");
}

#[test]
fn an_error_in_a_template_points_to_it() {
    let text = "[p]\nextends = \"flock\"\nbody = '{{ nothing }}'";
    let raw: BTreeMap<String, RawProfile> = toml::from_str(text).unwrap();
    let errors = compile_all(&Profiles::build(raw).unwrap()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0].span.clone().unwrap().start,
        text.find("'{{").unwrap()
    );
}

#[test]
fn a_time_can_be_written_as_seconds_since_1970() {
    let body = r#"{"at": {{ created_at | unix }}}"#;
    assert_eq!(rendered(body), r#"{"at":1737714600}"#);
    let (envelope, mut event) = with_body(body).unwrap();
    event.created_at = crate::model::UnixMicros(-1);
    assert_eq!(envelope.render(&event).unwrap(), r#"{"at":-1}"#);
    let error = with_body(r#"{"at": {{ data | unix }}}"#).unwrap_err();
    assert!(error.contains("unix are for created_at"), "{error}");
}
