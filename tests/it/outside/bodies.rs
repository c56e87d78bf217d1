//! Data that JSON libraries disagree about: what is posted, and what has to be sent for it.

/// One event's data.
pub struct Case {
    pub name: &'static str,
    /// The JSON text that is posted.
    pub posted: String,
    /// The JSON text that is sent for it.
    pub sent: String,
    /// Whether it survives a trip through doubles; if not, the answer to the event says so.
    pub fits: bool,
}

/// A name, what is posted, what is sent.
type Row = (&'static str, &'static str, &'static str);

const STABLE: [Row; 22] = [
    (
        "a product's own",
        r#"{"stream_id": "payment-service", "ncd": 0.85}"#,
        r#"{"stream_id":"payment-service","ncd":0.85}"#,
    ),
    (
        "text beyond ASCII",
        "\"h\u{e9}llo w\u{f6}rld \u{df} \u{6f22}\u{5b57} \u{2028}\u{2029}\u{feff}\u{7f}\"",
        "\"h\u{e9}llo w\u{f6}rld \u{df} \u{6f22}\u{5b57} \u{2028}\u{2029}\u{feff}\u{7f}\"",
    ),
    (
        "text beyond ASCII, escaped",
        r#""\u00e9\u6F22\u2028""#,
        "\"\u{e9}\u{6f22}\u{2028}\"",
    ),
    (
        "every escape",
        r#""\" \\ \/ \b \f \n \r \t \u0041 \u002f""#,
        r#""\" \\ / \b \f \n \r \t A /""#,
    ),
    (
        "escapes in keys",
        r#"{"\u0061\/\n": 1, "\"": 2}"#,
        r#"{"a/\n":1,"\"":2}"#,
    ),
    (
        "markup",
        r#""<script>alert('&amp;')</script>""#,
        r#""<script>alert('&amp;')</script>""#,
    ),
    (
        "emoji",
        "\"\u{1f600} \u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\"",
        "\"\u{1f600} \u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\"",
    ),
    (
        "emoji, escaped",
        r#"{"\uD83D\uDE00": "\ud83d\udc69"}"#,
        "{\"\u{1f600}\":\"\u{1f469}\"}",
    ),
    (
        "lone surrogates",
        r#"["\uD800", "\udfff\ud800", "x\uDBFFy"]"#,
        r#"["\ud800","\udfff\ud800","x\udbffy"]"#,
    ),
    (
        "lone surrogates in keys",
        r#"{"\uD800": 1, "a": 2, "\ud800": 3}"#,
        r#"{"\ud800":3,"a":2}"#,
    ),
    (
        "numbers in odd forms",
        "[1.0, 1E-7, 1e21, -0, -0.0, 100e-2, 1E+2, 0.1e1, 123456789.120, 0.0000010]",
        "[1,1e-7,1e+21,0,0,1,100,1,123456789.12,0.000001]",
    ),
    (
        "numbers at the ends of doubles",
        "[5e-324, 1.7976931348623157E308, 1e16, 123e18, 2.2250738585072014e-308]",
        "[5e-324,1.7976931348623157e+308,10000000000000000,123000000000000000000,2.2250738585072014e-308]",
    ),
    (
        "integers up to 2^53",
        "[9007199254740991, 9007199254740992, -9007199254740992, 9007199254740994]",
        "[9007199254740991,9007199254740992,-9007199254740992,9007199254740994]",
    ),
    (
        "keys like integers",
        r#"{"b":1,"10":2,"9":3,"a":4,"01":5,"4294967295":6,"4294967294":7,"-1":8,"1.5":9}"#,
        r#"{"9":3,"10":2,"4294967294":7,"b":1,"a":4,"01":5,"4294967295":6,"-1":8,"1.5":9}"#,
    ),
    (
        "keys like integers, deep inside",
        r#"{"x": [{"2": {"b": 0, "1": 1.0}, "1": []}]}"#,
        r#"{"x":[{"1":[],"2":{"1":1,"b":0}}]}"#,
    ),
    (
        "duplicate keys",
        r#"{"a": 1, "b": 2, "a": {"x": 1, "x": 2}}"#,
        r#"{"a":{"x":2},"b":2}"#,
    ),
    (
        "names of prototypes",
        r#"{"__proto__": {"a": 1}, "constructor": 1, "toString": 2, "": 3}"#,
        r#"{"__proto__":{"a":1},"constructor":1,"toString":2,"":3}"#,
    ),
    (
        "nested arrays",
        "[[], [[]], [[[1, [2, [3]]]]], [ [ ], { } ]]",
        "[[],[[]],[[[1,[2,[3]]]]],[[],{}]]",
    ),
    (
        "empty values",
        r#"{"a": {}, "b": [], "c": "", "d": null, "e": false}"#,
        r#"{"a":{},"b":[],"c":"","d":null,"e":false}"#,
    ),
    ("an empty object", "{ }", "{}"),
    (
        "white space",
        " \r\n\t{ \"a\" :\t[ 1 ,\n 2 ] } ",
        r#"{"a":[1,2]}"#,
    ),
    ("null", "null", "null"),
];

/// Sent as written: no double has these values.
const UNFIT: [(&str, &str); 5] = [
    ("an integer beyond 2^53", r#"{"id":9007199254740993}"#),
    ("a great integer", "[12345678901234567890]"),
    ("a number beyond doubles", "[1e400,-1E400]"),
    (
        "more digits than a double has",
        "[0.1000000000000000055511151231257827]",
    ),
    ("a number too small for doubles", "[1e-400]"),
];

/// Long strings have this many bytes.
const LONG: usize = 64 * 1024;

/// Every case.
pub fn cases() -> Vec<Case> {
    let stable = |name, posted: String, sent: String| Case {
        name,
        posted,
        sent,
        fits: true,
    };
    let mut cases: Vec<Case> = STABLE
        .into_iter()
        .map(|(name, posted, sent)| stable(name, posted.to_owned(), sent.to_owned()))
        .collect();
    let controls: String = (0..0x20).map(|unit| format!("\\u{unit:04X}")).collect();
    let short = |text: String| {
        ["b:8", "t:9", "n:a", "f:c", "r:d"]
            .into_iter()
            .fold(text, |text, pair| {
                let (letter, digit) = pair.split_once(':').unwrap();
                text.replace(&format!("\\u000{digit}"), &format!("\\{letter}"))
            })
    };
    let written: String = (0..0x20).map(|unit| format!("\\u{unit:04x}")).collect();
    cases.push(stable(
        "every control character",
        format!("\"{controls}\""),
        format!("\"{}\"", short(written)),
    ));
    let ascii = format!("\"{}\"", "x".repeat(LONG));
    cases.push(stable("a long string", ascii.clone(), ascii));
    let (escaped, plain) = (
        "\\u00E9\\/\\\"".repeat(LONG / 13),
        "\u{e9}/\\\"".repeat(LONG / 13),
    );
    cases.push(stable(
        "a long string of escapes",
        format!("\"{escaped}\""),
        format!("\"{plain}\""),
    ));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    cases.push(stable("a hundred levels", deep.clone(), deep));
    cases.extend(UNFIT.map(|(name, text)| Case {
        name,
        posted: text.to_owned(),
        sent: text.to_owned(),
        fits: false,
    }));
    cases
}
