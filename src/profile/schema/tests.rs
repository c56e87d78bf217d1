//! Schemas as an operator writes them, and data as nobody should send it: what is said, and that it takes a bounded
//! time and stack.

use serde_json::json;

use super::*;

fn read(value: &Value) -> Result<Schema, String> {
    Schema::read(&value.to_string())
}

fn refused(value: &Value, piece: &str) {
    let why = read(value).unwrap_err();
    assert!(why.contains(piece), "{value}: {why}");
    assert!(why.contains("; "), "it says what to do: {why}");
}

fn pointers(schema: &Schema, data: &str) -> Vec<String> {
    assert!(!schema.fits(data), "{data}");
    let faults = schema.faults(data);
    faults.into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn faults_have_places_and_say_what_was_wanted() {
    let schema = read(&json!({
        "type": "object",
        "required": ["records"],
        "additionalProperties": false,
        "properties": {
            "records": { "type": "array", "items": {
                "type": "object", "required": ["n"], "properties": { "n": { "type": "integer", "minimum": 0 } },
            }},
            "a/b~c": { "enum": ["x", "y"] },
        },
    }))
    .unwrap();
    assert!(schema.fits(r#"{"records": [{"n": 1}, {"n": 2, "more": null}]}"#));
    assert_eq!(
        pointers(&schema, r#"{"records": [{"n": "1"}]}"#),
        ["/records/0/n"]
    );
    assert_eq!(
        pointers(&schema, r#"{"records": [], "a/b~c": "secret"}"#),
        ["/a~1b~0c"]
    );
    assert_eq!(pointers(&schema, "[]"), [""]);
    let faults = schema.faults(r#"{"records": [{"n": -1}, {}], "extra": 1}"#);
    assert_eq!(faults.len(), 3, "{faults:?}");
    let said = schema.faults(r#"{"records": [], "a/b~c": "secret"}"#);
    assert!(said[0].reason.contains(r#""x""#), "{said:?}");
    assert!(
        !said[0].reason.contains("secret"),
        "what was posted is not repeated: {said:?}"
    );
    let many = format!("{{\"records\": [{}]}}", vec!["0"; 20_000].join(","));
    assert_eq!(schema.faults(&many).len(), FAULTS_MAX);
    let long = format!("{{\"records\": [], \"{}\": 1}}", "x".repeat(10_000));
    assert!(schema.faults(&long)[0].reason.chars().count() <= FAULT_CHARS_MAX + 1);
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    for (text, piece) in [
        ("{", "not JSON"),
        ("5", "neither an object"),
        (
            r#"{"properties": {"a": {"type": "strin"}}}"#,
            "/properties/a/type",
        ),
        (
            r#"{"$schema": "https://example.com/mine"}"#,
            "https://example.com/mine",
        ),
        (r#"{"pattern": "^(?=a)b"}"#, "look-around"),
        (
            r#"{"pattern": "(((a{1,100}){1,100}){1,100}){1,100}"}"#,
            "smaller",
        ),
    ] {
        let why = Schema::read(text).unwrap_err();
        assert!(why.contains(piece), "{text}: {why}");
    }
    let long = format!("{{\"title\": \"{}\"}}", "x".repeat(TEXT_BYTES_MAX));
    assert!(
        Schema::read(&long)
            .unwrap_err()
            .contains("over 65536 bytes")
    );
}

#[test]
fn nothing_outside_is_referred_to() {
    for reference in [
        "https://example.com/x.json",
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "other.json#/a",
        "urn:x:y",
    ] {
        refused(
            &json!({ "items": { "$ref": reference } }),
            "nothing is fetched",
        );
        refused(&json!({ "$dynamicRef": reference }), "nothing is fetched");
    }
    refused(&json!({ "$ref": "#/$defs/x" }), "there is not");
    refused(&json!({ "$ref": "#x" }), "there is not");
    refused(
        &json!({ "$defs": { "x": { "$id": "https://example.com/x" } } }),
        "`$id` of its own",
    );
    // A member that is called so is none.
    let named =
        json!({ "properties": { "$ref": { "type": "string" }, "$id": { "type": "string" } } });
    assert!(
        read(&named)
            .unwrap()
            .fits(r#"{"$ref": "https://example.com", "$id": "a"}"#)
    );
    let constant = json!({ "const": { "$ref": "https://example.com" } });
    assert!(
        read(&constant)
            .unwrap()
            .fits(r#"{"$ref": "https://example.com"}"#)
    );
    let rooted = json!({ "$id": "https://example.com/me", "$ref": "#/$defs/a%20b", "$defs": { "a b": { "$anchor": "n", "type": "string" } } });
    assert!(read(&rooted).unwrap().fits("\"x\"") && !read(&rooted).unwrap().fits("1"));
    let anchored = json!({ "items": { "$ref": "#n" }, "$defs": { "x": { "$anchor": "n", "type": "string" } } });
    assert_eq!(pointers(&read(&anchored).unwrap(), "[\"a\", 1]"), ["/1"]);
}

#[test]
fn older_drafts_mean_what_they_meant() {
    let draft4 = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true });
    assert!(!read(&draft4).unwrap().fits("3") && read(&draft4).unwrap().fits("4"));
    let tuple = json!([{ "type": "string" }, { "type": "integer" }]);
    let draft7 = json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": tuple, "format": "date" });
    assert_eq!(pointers(&read(&draft7).unwrap(), "[\"a\", \"b\"]"), ["/1"]);
    assert_eq!(pointers(&read(&draft7).unwrap(), "\"no date\""), [""]);
    let newest = json!({ "prefixItems": tuple, "format": "date" });
    assert_eq!(pointers(&read(&newest).unwrap(), "[\"a\", \"b\"]"), ["/1"]);
    assert!(
        read(&newest).unwrap().fits("\"no date\""),
        "formats are notes only, since 2019-09"
    );
}

#[test]
fn numbers_are_whole_numbers_to_64_bits() {
    let fits = |schema: Value, data: &str| read(&schema).unwrap().fits(data);
    assert!(
        fits(json!({ "type": "integer" }), "1.0") && !fits(json!({ "type": "integer" }), "1.5")
    );
    assert!(!fits(
        json!({ "maximum": 9_007_199_254_740_992_u64 }),
        "9007199254740993"
    ));
    assert!(!fits(json!({ "const": u64::MAX }), "18446744073709551614"));
    let schema = read(&json!({ "type": "number" })).unwrap();
    let faults = schema.faults("1e400");
    assert!(
        faults[0]
            .reason
            .contains("cannot be held against the schema"),
        "{faults:?}"
    );
}

#[test]
fn a_pattern_takes_a_time_that_the_text_bounds() {
    let schema = read(&json!({ "pattern": "^(a+)+$" })).unwrap();
    let hostile = format!("\"{}!\"", "a".repeat(200_000));
    let begun = Instant::now();
    assert!(!schema.fits(&hostile));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

/// Data as deep as intake takes, that fits nothing at its end.
fn deep(levels: usize) -> String {
    format!(
        "{}{{\"leaf\": 1}}{}",
        "{\"a\": ".repeat(levels),
        "}".repeat(levels)
    )
}

#[test]
fn many_ways_to_fail_are_judged_at_once_and_explained_in_bounded_time() {
    let twins = |reference: &str| {
        let twin = |kind: &str| json!({ "properties": { "a": { "$ref": reference }, "leaf": { "type": kind } } });
        json!({ "anyOf": [twin("string"), twin("boolean")] })
    };
    for schema in [
        twins("#"),
        json!({ "properties": { "a": { "not": twins("#") } }, "oneOf": [twins("#"), twins("#")] }),
    ] {
        let schema = read(&schema).unwrap();
        let begun = Instant::now();
        let data = deep(118);
        if !schema.fits(&data) {
            assert_eq!(schema.faults(&data).len(), 1);
        }
        // Some milliseconds for the one and some tenths for the other; 2^118 ways would be for ever.
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn what_many_shallow_faults_cost_is_bounded_too() {
    let schema = read(
        &json!({ "items": { "anyOf": [{ "type": "string" }, { "items": { "type": "string" } }] } }),
    )
    .unwrap();
    let row = format!("[{}]", vec!["1"; 500].join(","));
    let data = format!("[{}]", vec![row; 2_000].join(","));
    let begun = Instant::now();
    let faults = schema.faults(&data);
    assert!((1..=FAULTS_MAX).contains(&faults.len()), "{faults:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn schemas_that_blow_up_are_refused() {
    let chain = |steps: usize, part: &dyn Fn(String) -> Value| {
        let mut defs = Map::new();
        for step in 0..steps {
            defs.insert(format!("d{step}"), part(format!("#/$defs/d{}", step + 1)));
        }
        defs.insert(format!("d{steps}"), json!({ "type": "string" }));
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    };
    let both = |next: String| json!({ "properties": { "a": { "anyOf": [{ "$ref": next }, { "$ref": next }] } } });
    refused(&chain(16, &both), "ways");
    refused(&chain(30, &|next| json!({ "$ref": next })), "in a row");
    refused(
        &chain(300, &|next| json!({ "items": { "$ref": next } })),
        "steps",
    );
    refused(&json!({ "$ref": "#" }), "circle");
    refused(
        &json!({ "items": { "allOf": [{ "$ref": "#/items" }] } }),
        "circle",
    );
    assert!(read(&chain(8, &both)).is_ok());
    assert!(read(&chain(14, &|next| json!({ "$ref": next }))).is_ok());
}

#[test]
fn the_longest_row_on_the_deepest_data_leaves_the_stack_whole() {
    let last = json!({ "properties": { "a": { "$ref": "#" }, "leaf": { "type": "string" } } });
    let mut nested = last.clone();
    for _ in 0..14 {
        nested = json!({ "anyOf": [nested, { "const": 1 }] });
    }
    let mut defs = Map::new();
    for step in 0..13 {
        defs.insert(
            format!("d{step}"),
            json!({ "$ref": format!("#/$defs/d{}", step + 1) }),
        );
    }
    defs.insert("d13".to_owned(), last);
    for schema in [nested, json!({ "$ref": "#/$defs/d0", "$defs": defs })] {
        let schema = read(&schema).unwrap();
        // A thread of a runtime has 2 MiB, as tests have; half of it is for what called.
        let judged = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || {
                let (fits, data) = (deep(118).replace('1', "\"x\""), deep(118));
                (
                    schema.fits(&fits),
                    schema.fits(&data),
                    schema.faults(&data).len(),
                )
            });
        assert_eq!(judged.unwrap().join().unwrap(), (true, false, 1));
    }
}
