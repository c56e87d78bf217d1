//! Filters: EventBridge's published examples, every fault at its place, and bounds.

mod model;

use serde_json::{Value, json};

use super::*;
use crate::model::{AccountName, EventId, UnixMicros, UnixMillis};
use crate::render::ecma;

fn filter(pattern: &Value) -> Filter {
    Filter::parse(&pattern.to_string()).unwrap_or_else(|faults| panic!("{pattern}: {faults:?}"))
}

fn matches(pattern: &Value, event: &Value) -> bool {
    let text = ecma::normalise(&event.to_string()).unwrap().text;
    filter(pattern).matches(&Subject::new(&text))
}

/// The examples of the EventBridge user guide ("Comparison operators" and "Best practices"), each with an event
/// that it fits and one that it does not.
#[test]
fn fits_what_eventbridge_documents() {
    let cases = [
        (
            json!({"source": ["aws.ec2"], "detail": {"state": ["running"]}}),
            json!({"source": "aws.ec2", "detail": {"state": "running", "x": 1}}),
            json!({"source": "aws.ec2", "detail": {"state": "stopped"}}),
        ),
        (
            json!({"source": ["aws.ec2", "aws.fargate"]}),
            json!({"source": "aws.fargate"}),
            json!({"source": "aws.s3"}),
        ),
        (
            json!({"region": [{"prefix": "eu-"}]}),
            json!({"region": "eu-west-1"}),
            json!({"region": "us-eu-1"}),
        ),
        (
            json!({"detail": {"service": [{"prefix": {"equals-ignore-case": "EventB"}}]}}),
            json!({"detail": {"service": "eventbridge"}}),
            json!({"detail": {"service": "event"}}),
        ),
        (
            json!({"FileName": [{"suffix": ".png"}]}),
            json!({"FileName": "a.png"}),
            json!({"FileName": "a.png.bak"}),
        ),
        (
            json!({"FileName": [{"suffix": {"equals-ignore-case": ".png"}}]}),
            json!({"FileName": "A.PnG"}),
            json!({"FileName": "A.PnGx"}),
        ),
        (
            json!({"detail-type": [{"equals-ignore-case": "ec2 instance state-change Notification"}]}),
            json!({"detail-type": "EC2 Instance State-change Notification"}),
            json!({"detail-type": "EC2 Instance"}),
        ),
        (
            json!({"detail": {"state": [{"anything-but": "initializing"}]}}),
            json!({"detail": {"state": "running"}}),
            json!({"detail": {"state": "initializing"}}),
        ),
        (
            json!({"detail": {"x-limit": [{"anything-but": [100, 200, 300]}]}}),
            json!({"detail": {"x-limit": 150}}),
            json!({"detail": {"x-limit": 200.0}}),
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}]}}),
            json!({"detail": {"state": "running"}}),
            json!({"detail": {"state": "Stopped"}}),
        ),
        (
            json!({"detail": {"state": [{"anything-but": {"prefix": "init"}}]}}),
            json!({"detail": {"state": "running"}}),
            json!({"detail": {"state": "initializing"}}),
        ),
        (
            json!({"detail": {"FileName": [{"anything-but": {"suffix": [".txt", ".rtf"]}}]}}),
            json!({"detail": {"FileName": "a.png"}}),
            json!({"detail": {"FileName": "a.rtf"}}),
        ),
        (
            json!({"detail": {"FilePath": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}}),
            json!({"detail": {"FilePath": "/usr/share/x"}}),
            json!({"detail": {"FilePath": "/usr/bin/x"}}),
        ),
        (
            json!({"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}], "d-count": [{"numeric": ["<", 10]}],
                              "x-limit": [{"numeric": ["=", 3.018e2]}]}}),
            json!({"detail": {"c-count": 5, "d-count": 9.99, "x-limit": 301.8}}),
            json!({"detail": {"c-count": 0, "d-count": 9.99, "x-limit": 301.8}}),
        ),
        (
            json!({"detail": {"sourceIPAddress": [{"cidr": "10.0.0.0/24"}]}}),
            json!({"detail": {"sourceIPAddress": "10.0.0.255"}}),
            json!({"detail": {"sourceIPAddress": "10.0.1.0"}}),
        ),
        (
            json!({"detail": {"state": [{"exists": true}]}}),
            json!({"detail": {"state": null}}),
            json!({"detail": {"other": 1}}),
        ),
        (
            json!({"detail": {"c-count": [{"exists": false}]}}),
            json!({"detail": {"d": 1}}),
            json!({"detail": {"c-count": ""}}),
        ),
        (
            json!({"EventBusArn": [{"wildcard": "arn:aws:events:us-east-1:*:event-bus/*"}]}),
            json!({"EventBusArn": "arn:aws:events:us-east-1:1:event-bus/x"}),
            json!({"EventBusArn": "arn:aws:events:us-east-2:1:event-bus/x"}),
        ),
        (
            json!({"detail": {"$or": [{"c-count": [{"numeric": [">", 0, "<=", 5]}]},
                                      {"d-count": [{"numeric": ["<", 10]}]}]}}),
            json!({"detail": {"c-count": 7, "d-count": 3}}),
            json!({"detail": {"c-count": 7, "d-count": 30}}),
        ),
        (
            json!({"resources": ["arn:1", {"prefix": "ec2"}]}),
            json!({"resources": ["x", "ec2:y"]}),
            json!({"resources": ["x", "y"]}),
        ),
        (
            json!({"detail": {"eventVersion": [""], "error": [null]}}),
            json!({"detail": {"eventVersion": "", "error": null}}),
            json!({"detail": {"eventVersion": "", "error": "null"}}),
        ),
    ];
    for (pattern, fitting, other) in cases {
        assert!(matches(&pattern, &fitting), "{pattern} {fitting}");
        assert!(!matches(&pattern, &other), "{pattern} {other}");
    }
}

#[test]
fn arrays_fit_where_one_element_fits_in_full() {
    let pattern = json!({"a": {"x": [1], "y": [2]}});
    assert!(matches(
        &pattern,
        &json!({"a": [{"x": 3}, [[{"x": 1, "y": [5, [2]]}]]]})
    ));
    assert!(!matches(
        &pattern,
        &json!({"a": [{"x": 1, "y": 3}, {"x": 4, "y": 2}]})
    ));
    let absent = json!({"a": {"x": [{"exists": false}]}});
    for event in [
        json!({}),
        json!({"a": 5}),
        json!({"a": []}),
        json!({"a": [{"x": 1}, {"y": 1}]}),
    ] {
        assert!(matches(&absent, &event), "{event}");
    }
    assert!(!matches(&absent, &json!({"a": [{"x": 1}]})));
    // An object or an empty array is not there.
    assert!(matches(&absent, &json!({"a": {"x": {"y": 1}}})));
    assert!(!matches(
        &json!({"a": [{"exists": true}]}),
        &json!({"a": []})
    ));
}

#[test]
fn values_are_compared_exactly_and_by_kind() {
    assert!(!matches(&json!({"a": ["5"]}), &json!({"a": 5})));
    assert!(!matches(&json!({"a": [5]}), &json!({"a": "5"})));
    assert!(!matches(&json!({"a": [true]}), &json!({"a": "true"})));
    assert!(matches(
        &json!({"a": [{"anything-but": "x"}]}),
        &json!({"a": 5})
    ));
    assert!(!matches(
        &json!({"a": [{"anything-but": "x"}]}),
        &json!({"b": 5})
    ));
    let fits = |pattern: &str, event: &str| {
        let text = ecma::normalise(event).unwrap().text;
        Filter::parse(pattern)
            .unwrap()
            .matches(&Subject::new(&text))
    };
    assert!(fits(r#"{"a": [300]}"#, r#"{"a": 3.0e2}"#));
    assert!(fits(
        r#"{"a": [9007199254740993]}"#,
        r#"{"a": 9007199254740993}"#
    ));
    assert!(!fits(
        r#"{"a": [9007199254740993]}"#,
        r#"{"a": 9007199254740992}"#
    ));
    assert!(fits(
        r#"{"a": [{"numeric": [">", 1e300]}]}"#,
        r#"{"a": 1e400}"#
    ));
    assert!(fits(r#"{"a\u0062": ["\u00e9\n"]}"#, r#"{"ab": "é\n"}"#));
    assert!(fits(
        r#"{"a": [{"wildcard": "a\\*\\\\*z"}]}"#,
        r#"{"a": "a*\\bz"}"#
    ));
    // What no Unicode text can hold is there, and equals nothing.
    assert!(fits(r#"{"a": [{"exists": true}]}"#, r#"{"a": "\ud800"}"#));
    assert!(!fits(
        r#"{"a": ["x", {"prefix": ""}]}"#,
        r#"{"a": "\ud800"}"#
    ));
}

/// Patterns that are refused, each with the fault's place and a piece of its words.
const FAULTS: [(&str, &str, &str); 34] = [
    ("", "", "is not JSON"),
    ("{\"a\": [1]} x", "", "is not JSON"),
    ("[]", "", "must be an object"),
    ("{}", "", "is empty"),
    (
        r#"{"a": "High"}"#,
        "/a",
        r#"must stand in an array: ["High"]"#,
    ),
    (r#"{"a": {"prefix": "x"}}"#, "/a", r#"[{"prefix": …}]"#),
    (
        r#"{"a": {"numeric": [">", 1]}}"#,
        "/a",
        r#"[{"numeric": …}]"#,
    ),
    (r#"{"a": {}}"#, "/a", "is empty"),
    (r#"{"a": []}"#, "/a", "empty array"),
    (r#"{"a": [[1]]}"#, "/a/0", "array inside"),
    (
        r#"{"a/b~": [{"foo": 1}]}"#,
        "/a~1b~0/0/foo",
        "there are prefix, suffix",
    ),
    (r#"{"a": [{}]}"#, "/a/0", "one name"),
    (
        r#"{"a": [{"prefix": "a", "suffix": "b"}]}"#,
        "/a/0",
        "one name",
    ),
    (
        r#"{"a": [{"prefix": 1}]}"#,
        "/a/0/prefix",
        "must be a string",
    ),
    (
        r#"{"a": [{"prefix": {"x": "y"}}]}"#,
        "/a/0/prefix",
        "equals-ignore-case",
    ),
    (
        r#"{"a": [{"exists": "yes"}]}"#,
        "/a/0/exists",
        "true or false",
    ),
    (
        r#"{"a": [{"cidr": "10.0.0.1"}]}"#,
        "/a/0/cidr",
        "10.0.0.0/24",
    ),
    (
        r#"{"a": [{"wildcard": "a**"}]}"#,
        "/a/0/wildcard",
        "two stars",
    ),
    (
        r#"{"a": [{"wildcard": "a\\b"}]}"#,
        "/a/0/wildcard",
        "backslash",
    ),
    (
        r#"{"a": [{"anything-but": null}]}"#,
        "/a/0/anything-but",
        "string or a number",
    ),
    (
        r#"{"a": [{"anything-but": []}]}"#,
        "/a/0/anything-but",
        "empty array",
    ),
    (
        r#"{"a": [{"anything-but": {"numeric": []}}]}"#,
        "/a/0/anything-but",
        "one of prefix",
    ),
    (
        r#"{"a": [{"anything-but": {"suffix": ["a", 1]}}]}"#,
        "/a/0/anything-but/suffix/1",
        "a string",
    ),
    (
        r#"{"a": [{"numeric": ["<"]}]}"#,
        "/a/0/numeric",
        "must be such as",
    ),
    (
        r#"{"a": [{"numeric": ["!", 1]}]}"#,
        "/a/0/numeric",
        "must be such as",
    ),
    (
        r#"{"a": [{"numeric": [">", "1"]}]}"#,
        "/a/0/numeric",
        "must be such as",
    ),
    (
        r#"{"a": [{"numeric": ["=", 1, "<", 2]}]}"#,
        "/a/0/numeric",
        "must be such as",
    ),
    (
        r#"{"a": [{"numeric": [">", 1, ">", 2]}]}"#,
        "/a/0/numeric",
        "same side",
    ),
    (
        r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#,
        "/a/0/numeric",
        "nothing fits",
    ),
    (r#"{"a": [1e400]}"#, "/a/0", "17 digits"),
    (r#"{"a": [0.1234567890123456789]}"#, "/a/0", "17 digits"),
    (r#"{"a": [1], "a": [2]}"#, "/a", "is given twice"),
    (r#"{"$or": {"a": [1]}}"#, "/$or", "array of patterns"),
    (
        r#"{"$or": [{"a": [1]}, {"b": 1}]}"#,
        "/$or/1/b",
        "must stand in an array",
    ),
];

#[test]
fn says_what_is_wrong_and_where() {
    let deep = format!("{}[1]{}", "{\"a\":".repeat(17), "}".repeat(17));
    let long = format!("{{\"a\": [\"{}\"]}}", "x".repeat(BYTES_MAX));
    let many = json!({"a": (0..101).collect::<Vec<_>>()}).to_string();
    let stars = json!({"a": [{"wildcard": "*x".repeat(21)}]}).to_string();
    let sixteen = "/a".repeat(16);
    let sized: [(&str, &str, &str); 4] = [
        (&deep, &sixteen, "deeper than 16"),
        (&long, "", "over 4096 bytes"),
        (&many, "", "has 101 rules"),
        (&stars, "/a/0/wildcard", "over 20 stars"),
    ];
    for (pattern, pointer, piece) in FAULTS.into_iter().chain(sized) {
        let faults = Filter::parse(pattern).expect_err(pattern);
        assert_eq!(faults.len(), 1, "{pattern}: {faults:?}");
        assert_eq!(faults[0].pointer, pointer, "{pattern}: {faults:?}");
        assert!(faults[0].message.contains(piece), "{pattern}: {faults:?}");
    }
    let several = Filter::parse(r#"{"a": 1, "b": [{"x": 1}], "c": []}"#).unwrap_err();
    assert_eq!(several.len(), 3);
}

#[test]
fn says_which_field_does_not_fit() {
    let told = |pattern: &Value, event: &str| {
        let filter = filter(pattern);
        let subject = Subject::new(event);
        let why = filter.check(&subject).unwrap_err();
        (why.pointer.to_owned(), why.to_string())
    };
    let pattern = json!({"data": {"severity": ["High"]}, "$or": [{"a": [1]}, {"b": [1]}]});
    let (pointer, detail) = told(&pattern, r#"{"data":{"severity":"Low"}}"#);
    assert_eq!(
        (&*pointer, &*detail),
        ("/data/severity", "no rule fits \"Low\"")
    );
    let (pointer, detail) = told(&pattern, r#"{"data":{}}"#);
    assert_eq!(pointer, "/data/severity");
    assert!(detail.contains("has no value there"), "{detail}");
    let (pointer, detail) = told(&pattern, r#"{"data":{"severity":"High"},"b":2}"#);
    assert_eq!((&*pointer, &*detail), ("/$or", "no alternative fits"));
    let long = format!("{{\"data\":{{\"severity\":\"{}\"}}}}", "é".repeat(500));
    assert!(told(&pattern, &long).1.ends_with("é…"));
}

#[test]
fn says_in_a_sentence_what_it_wants_and_what_is_there() {
    let told = |pattern: Value, event: &str| {
        let filter = filter(&pattern);
        let subject = Subject::new(event);
        filter.why_not(&subject).unwrap().sentence()
    };
    let severe = json!({"data": {"payload": {"severity": ["Critical", "High"]}}});
    assert_eq!(
        told(severe.clone(), r#"{"data":{"payload":{"severity":"Low"}}}"#),
        r#"data.payload.severity is "Low"; the filter wants one of "Critical", "High""#
    );
    assert_eq!(
        told(severe, r#"{"data":5}"#),
        r#"data.payload.severity is not there; the filter wants one of "Critical", "High""#
    );
    assert_eq!(
        told(
            json!({"a.b": {"t": ["x"]}}),
            r#"{"a.b":[{"t":["y","z"]},{}]}"#
        ),
        r#""a.b".t is ["y","z"], of which no element fits (in the first element of an array none of which fits); the filter wants "x""#
    );
    assert_eq!(
        told(
            json!({"a": {"$or": [{"b": [1]}, {"c": [2]}]}}),
            r#"{"a":{"b":7}}"#
        ),
        "none of the 2 alternatives of $or fits; of the first one, a.b is 7; the filter wants 1"
    );
    let absent = told(json!({"a": [{"exists": false}]}), r#"{"a":1}"#);
    assert_eq!(absent, "a is 1; the filter wants no value");
    let many: Vec<u32> = (0..20).collect();
    let long = format!("{{\"a\":\"{}\"}}", "é".repeat(500));
    let long = told(json!({ "a": many }), &long);
    assert!(
        long.ends_with("one of 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"),
        "{long}"
    );
    assert!(long.chars().count() < 160, "{long}");
}

#[test]
fn says_in_words_what_each_rule_wants() {
    for (rule, words) in [
        (json!(300.5), "300.5"),
        (json!(null), "null"),
        (
            json!({"prefix": "eu-"}),
            r#"a string that begins with "eu-""#,
        ),
        (
            json!({"suffix": {"equals-ignore-case": ".PNG"}}),
            r#"a string that ends with ".png", in any case"#,
        ),
        (json!({"equals-ignore-case": "A"}), r#""a", in any case"#),
        (json!({"wildcard": "a\\*b*"}), r#"a string like "a\\*b*""#),
        (
            json!({"anything-but": ["x", 1]}),
            r#"anything but one of "x", 1"#,
        ),
        (
            json!({"anything-but": {"prefix": "x"}}),
            r#"anything but a string that begins with "x""#,
        ),
        (
            json!({"numeric": [">", 0, "<=", 5]}),
            "a number > 0 and <= 5",
        ),
        (json!({"numeric": ["=", 3]}), "the number 3"),
        (json!({"numeric": ["<", 3]}), "a number < 3"),
        (json!({"exists": true}), "any value"),
        (json!({"cidr": "10.0.0.0/24"}), "an address in 10.0.0.0/24"),
    ] {
        // No rule fits what is no Unicode text, and an object is not there.
        let value = match rule.get("anything-but") {
            Some(_) => r#"{"b":1}"#,
            None if rule == json!({"exists": true}) => "{}",
            None => r#""\ud800""#,
        };
        let (filter, text) = (filter(&json!({"a": [rule]})), format!("{{\"a\":{value}}}"));
        let subject = Subject::new(&text);
        let said = filter.why_not(&subject).unwrap().sentence();
        assert_eq!(said, format!("a is {value}; the filter wants {words}"));
    }
}

#[test]
fn an_event_is_seen_with_all_its_members() {
    let event = Event {
        account: AccountName::new("acme").unwrap(),
        id: EventId::new("e1").unwrap(),
        event_type: "a.b".to_owned(),
        created_at: UnixMicros(1_500_000),
        received_at: UnixMillis(0),
        data: r#"{"x":[1]}"#.to_owned(),
        metadata: None,
        scope: Some("c\"1".to_owned()),
        warning: None,
        trace: None,
    };
    let text = event_text(&event, "contract_id");
    assert_eq!(
        text,
        r#"{"id":"e1","type":"a.b","created_at":"1970-01-01T00:00:01.500000Z","contract_id":"c\"1","data":{"x":[1]},"metadata":{}}"#
    );
    assert_eq!(ecma::normalise(&text).unwrap().text, text);
    let none = event_text(
        &Event {
            scope: None,
            ..event
        },
        "scope",
    );
    assert!(none.contains(r#""scope":null,"#));
}

#[test]
fn large_events_take_time_in_proportion() {
    // 4 MiB of elements, and a wildcard that a naive matcher would try in every way.
    let elements = vec![r#"{"x":[["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]]}"#; 90_000].join(",");
    let event = format!("{{\"a\":[{elements}]}}");
    let pattern = json!({"a": {"x": [{"wildcard": "*a*a*a*a*a*a*a*a*a*a*a*a*b"}]}});
    assert!(!filter(&pattern).matches(&Subject::new(&event)));
    let deep = format!(
        "{{\"a\":{}1{}}}",
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    );
    assert!(matches_text(&json!({"a": [1]}), &deep));
    let wide: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let wide = format!("{{\"a\":{{{}}}}}", wide.join(","));
    assert!(matches_text(
        &json!({"a": {"k199999": [199_999], "k7": [7]}}),
        &wide
    ));
}

fn matches_text(pattern: &Value, text: &str) -> bool {
    filter(pattern).matches(&Subject::new(text))
}

#[test]
fn alternatives_inside_arrays_share_one_look_at_each_element() {
    // 30,000 objects and 90 alternatives: with a look for each, some hundred megabytes would be read.
    let element = json!({"x": "y".repeat(100)});
    let event = json!({"a": vec![element; 30_000]});
    let one = |at: usize| json!({"x": [at]});
    let pattern = json!({"a": {"$or": (0..90).map(one).collect::<Vec<_>>()}});
    let wanted =
        json!({"a": {"$or": [one(1), {"x": [{"prefix": "y"}], "z": [{"exists": false}]}]}});
    let (pattern, wanted) = (pattern.to_string(), wanted.to_string());
    let text = event.to_string();
    let subject = Subject::new(&text);
    assert!(!Filter::parse(&pattern).unwrap().matches(&subject));
    assert!(Filter::parse(&wanted).unwrap().matches(&subject));
}

#[test]
fn counts_the_rules_that_may_be_tried_on_a_value() {
    let pattern = json!({
        "type": ["a", "b"],
        "$or": [{"data": {"x": [1]}}, {"data": {"y": [{"anything-but": ["p", "q", "r"]}]}}],
    });
    assert_eq!(filter(&pattern).rules(), 6);
    assert_eq!(filter(&json!({"a": [{"exists": true}]})).rules(), 1);
}
