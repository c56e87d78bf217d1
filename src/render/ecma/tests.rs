//! The stable form: a table checked against Node's `JSON.stringify(JSON.parse(text))`, and properties.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn stable(text: &str) -> String {
    let normalised = normalise(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(normalised.warning, None, "{text}");
    normalised.text
}

#[test]
fn writes_what_json_stringify_writes() {
    let cases = [
        (" { \"a\" : [ 1 , 2 ] } ", r#"{"a":[1,2]}"#),
        ("1.0", "1"),
        ("1E-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("1e16", "10000000000000000"),
        ("1e21", "1e+21"),
        ("123e18", "123000000000000000000"),
        ("-0", "0"),
        ("-0.0e5", "0"),
        ("0e99999999999999999999", "0"),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", "9007199254740992"),
        ("0.1", "0.1"),
        ("0.10", "0.1"),
        ("100", "100"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157E+308", "1.7976931348623157e+308"),
        (r#""\/\u00e9\u0041""#, "\"/éA\""),
        (r#""\u000A\u0008\u001F\u007f""#, "\"\\n\\b\\u001f\u{7f}\""),
        (r#""\u0022\u005C""#, r#""\"\\""#),
        (r#""\ud83d\ude00""#, "\"😀\""),
        ("\"😀\u{2028}\"", "\"😀\u{2028}\""),
        (r#""\uD83D x \uDE00""#, r#""\ud83d x \ude00""#),
        (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
        (
            r#"{"b":1,"10":2,"9":3,"a":4}"#,
            r#"{"9":3,"10":2,"b":1,"a":4}"#,
        ),
        (
            r#"{"b":1,"01":2,"-1":3,"1.5":4}"#,
            r#"{"b":1,"01":2,"-1":3,"1.5":4}"#,
        ),
        (
            r#"{"4294967295":1,"4294967294":2}"#,
            r#"{"4294967294":2,"4294967295":1}"#,
        ),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (
            r#"{"a":1,"b":2,"\u0061":{"x":[1.0]}}"#,
            r#"{"a":{"x":[1]},"b":2}"#,
        ),
        (
            r#"{"o":{"2":{"b":0,"1":1.0},"1":[]},"o2":{}}"#,
            r#"{"o":{"1":[],"2":{"1":1,"b":0}},"o2":{}}"#,
        ),
        (r#"{"\u0031":1,"0":2}"#, r#"{"0":2,"1":1}"#),
        (r#"{"__proto__":1,"":2}"#, r#"{"__proto__":1,"":2}"#),
        (
            "[true,false,null,\"\",{},[]]",
            "[true,false,null,\"\",{},[]]",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(stable(given), expected, "from {given}");
    }
}

#[test]
fn leaves_a_number_that_no_double_holds_and_says_so() {
    for number in [
        "9007199254740993",
        "12345678901234567890",
        "1e400",
        "-1E400",
        "1e-400",
        "3.141592653589793238",
        "0.1000000000000000055511151231257827",
        "1e99999999999999999999999",
    ] {
        let text = format!("{{\"n\":{number},\"m\":1}}");
        let normalised = normalise(&text).unwrap();
        assert_eq!(normalised.text, text);
        let warning = normalised.warning.expect("a warning");
        let shown = number.get(..QUOTED_NUMBER_MAX).unwrap_or(number);
        assert!(warning.contains(shown), "{warning}");
    }
    let two = normalise("[1e400,1e401]").unwrap();
    assert!(two.warning.unwrap().contains("(and 1 more)"));
    assert_eq!(stable("12345678901234567000"), "12345678901234567000");
}

#[test]
fn refuses_what_is_not_json_and_says_where() {
    let cases = [
        ("", 0),
        ("{", 1),
        ("[1,]", 3),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("01", 1),
        ("1.", 2),
        ("1e", 2),
        ("-", 1),
        ("+1", 0),
        (".5", 0),
        ("nul", 0),
        ("\"", 1),
        ("\"\\x\"", 1),
        ("\"\\u12g4\"", 1),
        ("\"\\u+123\"", 1),
        ("\"a\nb\"", 2),
        ("1 2", 2),
        ("\u{feff}1", 0),
        ("'a'", 0),
        ("NaN", 0),
        ("{\"a\" 1}", 5),
        ("[1 2]", 3),
    ];
    for (text, offset) in cases {
        let error = normalise(text).unwrap_err();
        assert_eq!(error.offset, offset, "{text:?}: {error}");
    }
    let error = normalise("{\n  \"é\": tru\n}").unwrap_err();
    assert_eq!((error.line, error.column), (2, 8));
}

#[test]
fn bounds_the_depth() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(stable(&nested(DEPTH_MAX)), nested(DEPTH_MAX));
    for levels in [DEPTH_MAX + 1, 10_000, 1_000_000] {
        let error = normalise(&nested(levels)).unwrap_err();
        assert_eq!(error.offset, DEPTH_MAX);
    }
    assert!(normalise(&"[".repeat(10_000)).is_err());
    assert!(normalise(&"{\"a\":".repeat(10_000)).is_err());
}

#[test]
fn finds_duplicates_among_many_keys() {
    let members: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
    let text = format!("{{{},\"k7\":\"last\"}}", members.join(","));
    let expected = format!("{{{}}}", members.join(",")).replace("\"k7\":7,", "\"k7\":\"last\",");
    assert_eq!(stable(&text), expected);
}

#[test]
fn quotes_text_as_json_stringify_does() {
    let mut out = String::new();
    quote("a\"b\\c\n\u{1}\u{7f}é😀/", &mut out);
    assert_eq!(out, "\"a\\\"b\\\\c\\n\\u0001\u{7f}é😀/\"");
}

/// JSON values whose numbers all fit a double.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..(1_i64 << 53)).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec(("[a-c0-9]{0,2}|\\PC{0,3}", inner), 0..20)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        // serde_json's own reading of a float may be off by a unit in the last place.
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || ((a - b) / a).abs() < 1e-15
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn keeps_every_value_and_is_stable(value in value(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            serde_json::to_string(&value).unwrap()
        };
        let once = normalise(&text).unwrap();
        prop_assert_eq!(&once.warning, &None);
        prop_assert!(same(&value, &serde_json::from_str(&once.text).unwrap()), "{}", once.text);
        prop_assert_eq!(&normalise(&once.text).unwrap().text, &once.text);
    }

    #[test]
    fn keeps_every_double(double in prop::num::f64::ANY.prop_filter("finite", |d| d.is_finite())) {
        // As ECMAScript writes it. Rust's text is another one where two are equally short and equally near; it has
        // another decimal value then, and does not survive a receiver's parser.
        let mut buffer = ryu_js::Buffer::new();
        let text = stable(buffer.format_finite(double));
        prop_assert_eq!(text.parse::<f64>().unwrap(), double);
        for other in [format!("{double:e}"), format!("{double}")] {
            let other = normalise(&other).unwrap();
            prop_assert!(other.text == text || other.warning.is_some(), "{}", other.text);
        }
    }

    #[test]
    fn takes_or_refuses_any_text_without_a_panic(text in "[\\[\\]{}:,\"\\\\u0-9a-fe.+\\- \n\u{e9}]{0,40}") {
        let ours = normalise(&text);
        if let Ok(normalised) = &ours {
            prop_assert_eq!(&normalise(&normalised.text).unwrap().text, &normalised.text);
        }
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let text = ours.expect("serde_json takes it").text;
            prop_assert!(same(&value, &serde_json::from_str(&text).unwrap()));
        }
    }
}

#[test]
fn a_number_that_is_left_out_is_not_warned_of() {
    let unfit = "212345678901234567001";
    let text = format!(r#"{{"a":{unfit},"b":{{"c":{unfit}}},"a":1,"b":2}}"#);
    let normal = normalise(&text).unwrap();
    assert_eq!(
        (normal.text.as_str(), normal.warning),
        (r#"{"a":1,"b":2}"#, None)
    );
    let kept = normalise(&format!(r#"{{"a":{unfit},"a":{unfit}}}"#)).unwrap();
    let warning = kept.warning.unwrap();
    assert!(
        warning.contains(unfit) && !warning.contains("more"),
        "{warning}"
    );
}
