//! A naive model of filters: the same rules over trees, with no thought for time.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Filter, Subject, filter, matches};

fn flat(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(elements)) => elements.iter().flat_map(|e| flat(Some(e))).collect(),
        other => other.into_iter().collect(),
    }
}

fn fits_pattern(pattern: &Value, value: Option<&Value>) -> bool {
    let candidates = flat(value);
    if candidates.is_empty() {
        return fits_one(pattern, None);
    }
    candidates.iter().any(|one| fits_one(pattern, Some(one)))
}

fn fits_one(pattern: &Value, value: Option<&Value>) -> bool {
    pattern.as_object().unwrap().iter().all(|(key, test)| {
        if key == "$or" {
            let alternatives = test.as_array().unwrap();
            return alternatives.iter().any(|one| fits_one(one, value));
        }
        let inner = value.and_then(|value| value.get(key));
        match test {
            Value::Object(_) => fits_pattern(test, inner),
            rules => {
                let scalars: Vec<&Value> =
                    flat(inner).into_iter().filter(|v| !v.is_object()).collect();
                rules.as_array().unwrap().iter().any(|rule| {
                    scalars.iter().any(|value| fits_rule(rule, value))
                        || scalars.is_empty() && *rule == json!({"exists": false})
                })
            }
        }
    })
}

fn fits_rule(rule: &Value, value: &Value) -> bool {
    let Some((name, given)) = rule.as_object().and_then(|rule| rule.iter().next()) else {
        return rule == value;
    };
    let text = value.as_str();
    let lower = |value: &Value| value.as_str().unwrap().to_lowercase();
    match (name.as_str(), given) {
        ("exists", given) => given == true,
        ("prefix", Value::Object(inner)) => text.is_some_and(|t| {
            t.to_lowercase()
                .starts_with(&lower(&inner["equals-ignore-case"]))
        }),
        ("suffix", Value::Object(inner)) => text.is_some_and(|t| {
            t.to_lowercase()
                .ends_with(&lower(&inner["equals-ignore-case"]))
        }),
        ("prefix", given) => text.is_some_and(|t| t.starts_with(given.as_str().unwrap())),
        ("suffix", given) => text.is_some_and(|t| t.ends_with(given.as_str().unwrap())),
        ("equals-ignore-case", given) => text.is_some_and(|t| t.to_lowercase() == lower(given)),
        ("wildcard", given) => text.is_some_and(|t| glob(given.as_str().unwrap(), t)),
        ("anything-but", Value::Array(list)) => !list.iter().any(|rule| fits_rule(rule, value)),
        ("anything-but", given) => !fits_rule(given, value),
        ("numeric", given) => value.as_f64().is_some_and(|number| {
            given.as_array().unwrap().chunks(2).all(|pair| {
                let bound = pair[1].as_f64().unwrap();
                match pair[0].as_str().unwrap() {
                    "=" => number == bound,
                    "<" => number < bound,
                    "<=" => number <= bound,
                    ">" => number > bound,
                    _ => number >= bound,
                }
            })
        }),
        (other, _) => panic!("{other}"),
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let mut ends = (0..=text.len()).filter(|at| text.is_char_boundary(*at));
            ends.any(|at| glob(&pattern[1..], &text[at..]))
        }
        Some('\\') => text.chars().next().is_some_and(|c| {
            pattern[1..].starts_with(c) && glob(&pattern[1 + c.len_utf8()..], &text[c.len_utf8()..])
        }),
        Some(c) => text.starts_with(c) && glob(&pattern[c.len_utf8()..], &text[c.len_utf8()..]),
    }
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[aAbB*]{0,4}".prop_map(Value::from),
        (-3..4_i64).prop_map(Value::from),
        (-2..3_i32).prop_map(|n| json!(f64::from(n) / 2.0 + 0.25)),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn events() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn rules() -> impl Strategy<Value = Value> {
    let text = || "[aAbB]{0,2}";
    let wild = prop::collection::vec(prop_oneof!["[aAb]{1,2}", Just("\\*".to_owned())], 0..4)
        .prop_map(|parts| json!({"wildcard": parts.join("*")}));
    prop_oneof![
        3 => scalars(),
        1 => text().prop_map(|t| json!({"prefix": t})),
        1 => text().prop_map(|t| json!({"suffix": t})),
        1 => text().prop_map(|t| json!({"equals-ignore-case": t})),
        1 => text().prop_map(|t| json!({"prefix": {"equals-ignore-case": t}})),
        1 => text().prop_map(|t| json!({"suffix": {"equals-ignore-case": t}})),
        1 => wild.clone(),
        1 => wild.prop_map(|rule| json!({"anything-but": rule})),
        1 => text().prop_map(|t| json!({"anything-but": t})),
        1 => prop::collection::vec(-3..4_i64, 1..3).prop_map(|list| json!({"anything-but": list})),
        1 => text().prop_map(|t| json!({"anything-but": {"prefix": t}})),
        1 => any::<bool>().prop_map(|exists| json!({"exists": exists})),
        1 => (prop::sample::select(vec!["=", "<", "<=", ">", ">="]), -3..4_i64)
            .prop_map(|(operator, bound)| json!({"numeric": [operator, bound]})),
        1 => (-3..1_i64, 1..4_i64).prop_map(|(low, high)| json!({"numeric": [">=", low, "<", high]})),
    ]
}

fn patterns() -> impl Strategy<Value = Value> {
    let leaf = prop::collection::vec(rules(), 1..4)
        .prop_map(Value::from)
        .boxed();
    let fields = |inner: BoxedStrategy<Value>| {
        prop::collection::hash_map("[abc]", inner, 1..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    };
    let flat = fields(leaf.clone().boxed()).boxed();
    let nested = flat.clone().prop_recursive(3, 12, 2, move |inner| {
        fields(prop_oneof![leaf.clone(), inner].boxed()).boxed()
    });
    (
        nested.clone(),
        prop::option::of(prop::collection::vec(flat, 1..3)),
    )
        .prop_map(|(mut pattern, any)| {
            if let Some(any) = any {
                pattern["$or"] = Value::from(any);
            }
            pattern
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn fits_what_the_naive_model_fits(pattern in patterns(), event in events()) {
        prop_assert_eq!(matches(&pattern, &event), fits_pattern(&pattern, Some(&event)));
    }

    /// What keeps an event out is told exactly where it does not fit, and the field that is named keeps it out alone.
    #[test]
    fn tells_why_not_where_it_does_not_fit(pattern in patterns(), event in events()) {
        let text = crate::render::ecma::normalise(&event.to_string()).unwrap().text;
        let (parsed, subject) = (filter(&pattern), Subject::new(&text));
        let why = parsed.why_not(&subject);
        prop_assert_eq!(why.is_none(), fits_pattern(&pattern, Some(&event)));
        if let Some(why) = why {
            prop_assert!(why.sentence().contains(&why.place()) && why.sentence().contains(&why.wanted()));
            let rules = pattern.pointer(why.field).unwrap().clone();
            let mut keys: Vec<String> = why.keys().collect();
            keys.reverse();
            let alone = keys.into_iter().fold(rules, |inner, key| json!({ key: inner }));
            prop_assert!(why.of_array || !fits_pattern(&alone, Some(&event)), "{}", alone);
        }
    }

    #[test]
    fn reads_any_text_without_a_panic(
        pattern in "[{}\\[\\]\":,a1*\\\\ ]{0,30}", event in "[{}\\[\\]\":,a1\\\\\u{e9}]{0,30}"
    ) {
        if let Ok(filter) = Filter::parse(&pattern) {
            let subject = Subject::new(&event);
            prop_assert_eq!(filter.matches(&subject), filter.check(&subject).is_ok());
        }
        let absent = json!({"a": {"a": [{"exists": false}]}});
        let present = json!({"a": {"a": [{"exists": true}]}});
        let subject = Subject::new(&event);
        prop_assert!(filter(&absent).matches(&subject) || filter(&present).matches(&subject));
    }
}
