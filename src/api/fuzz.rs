//! The trial of the reader of requests' bodies; see `crate::fuzz`.

use serde_json::{Map, Value};

use super::fields::Fields;

/// What is taken is a JSON object; each member is taken once, as it stands in the text; whatever is wrong is told in
/// one answer, which is JSON and bounded.
pub(crate) fn fields(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut fields = match Fields::parse(text) {
        Ok(fields) => fields,
        Err(problem) => return check(&problem.to_json(), "json_invalid"),
    };
    for name in ["url", "events", "data"] {
        let known = fields.has(name);
        let raw = fields.raw(name);
        assert!(known == raw.is_some() && !fields.has(name));
        assert!(raw.is_none_or(|raw| text.contains(raw)));
    }
    let at = fields.time("created_at");
    let list: Option<Vec<String>> = fields.value("types", "a list of texts");
    let number: Option<Option<u64>> = fields.nullable("limit", "a number");
    if let Some(Some(inner)) = fields.object("retry", "an object") {
        fields.close("retry", inner, "none");
    }
    match fields.finish("url, events, data, created_at, types, limit, retry") {
        Err(problem) => check(&problem.to_json(), ""),
        Ok(()) => {
            // Nothing was wrong, so what was taken is what stands there, and nothing else stands there.
            let whole: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let given = |name: &str| whole.get(name).is_some_and(|value| !value.is_null());
            assert!(whole.len() <= 7, "unknown members were taken: {text}");
            assert_eq!(given("created_at"), at.is_some(), "{text}");
            assert_eq!(given("types"), list.is_some(), "{text}");
            assert_eq!(given("limit"), number.flatten().is_some(), "{text}");
        }
    }
}

/// An answer of ours: JSON with a detail and this code, and with no more faults than an answer names.
fn check(answer: &str, code: &str) {
    let told: Value = serde_json::from_str(answer).expect("an answer is JSON");
    let said = |member: &str| told.get(member).and_then(Value::as_str);
    assert!(
        said("detail").is_some_and(|detail| !detail.is_empty()),
        "{answer}"
    );
    assert!(
        said("code").is_some_and(|said| code.is_empty() || said == code),
        "{answer}"
    );
    let errors = told.get("errors").and_then(Value::as_array);
    // One more may say how many are not named.
    assert!(errors.is_none_or(|errors| errors.len() <= 101), "{answer}");
}
