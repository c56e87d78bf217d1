//! A webhook's own headers: the object `headers`, and the fields that are short for one of them.
//!
//! `bearer_token` sets `Authorization: Bearer …`, `api_key` the header that `api_key_header` names
//! (`X-API-Key` if none does), `auth_value` the one that `auth_header` names. What they set is an entry of
//! `headers` like any other: a change that gives `headers` replaces them all, one that gives `null` for a
//! short field removes its header. Values are credentials: no answer and no message shows one.

use std::collections::BTreeMap;

use crate::api::fields::Fields;
use crate::api::openapi::shapes::{self, Named};
use crate::model::{Header, Secret, Webhook};
use crate::profile::Profile;
use crate::sign::{HEADERS_MAX, check_header};

/// Bytes of all headers together: receivers refuse heads beyond some 8 kB.
const BYTES_MAX: usize = 8 * 1024;
/// Where an API key goes if no header is named.
const API_KEY_HEADER: &str = "X-API-Key";

/// Reads the fields that make headers, into `webhook`.
pub(super) fn read(fields: &mut Fields<'_>, webhook: &mut Webhook, profile: &Profile) {
    let expected = "an object of header names and values";
    let given = fields.value::<BTreeMap<String, Option<String>>>("headers", expected);
    let mut named: Vec<String> = Vec::new();
    if let Some(given) = given {
        named.extend(given.keys().map(|name| name.to_ascii_lowercase()));
        replace(fields, webhook, given, profile);
    }
    let shorts = [bearer(fields), api_key(fields), auth(fields)];
    for short in shorts.into_iter().flatten() {
        let lower = short.header.to_ascii_lowercase();
        if named.contains(&lower) {
            let detail = format!("sets the header `{}`, which is given twice", short.header);
            fields.refuse_as("header_conflict", short.field, detail);
            continue;
        }
        named.push(lower);
        set(fields, webhook, short, profile);
    }
    let bytes = |header: &Header| header.name.len() + header.value.expose().len();
    if webhook.headers.len() > HEADERS_MAX {
        fields.refuse("headers", format!("has over {HEADERS_MAX} entries"));
    } else if webhook.headers.iter().map(bytes).sum::<usize>() > BYTES_MAX {
        fields.refuse("headers", format!("are over {BYTES_MAX} bytes together"));
    }
}

/// The fields that make headers.
pub(super) fn schema() -> Vec<Named> {
    let value = shapes::or_null(shapes::text(
        "The value; null keeps the stored one, which no answer shows.",
    ));
    let means = "Headers of your own. A change that gives this replaces them all. 8,192 bytes at most together.";
    let headers = shapes::also(shapes::table(value, means), "maxProperties", HEADERS_MAX);
    let short = |means: &str| shapes::or_null(shapes::also(shapes::text(means), "minLength", 1));
    let bearer = "Short for the header `Authorization: Bearer …`; null removes it.";
    let key = "Short for the header that `api_key_header` names; null removes it.";
    let auth = "The value of the header that `auth_header` names; null removes it.";
    vec![
        ("headers", headers),
        ("bearer_token", short(bearer)),
        ("api_key", short(key)),
        (
            "api_key_header",
            shapes::or_null(shapes::text(
                "The header of `api_key`: `X-API-Key` if none is named.",
            )),
        ),
        (
            "auth_header",
            shapes::or_null(shapes::text("The header of `auth_value`.")),
        ),
        ("auth_value", short(auth)),
    ]
}

/// A field that stands for one header.
struct Short {
    /// The field with the value.
    field: &'static str,
    /// The field that named the header.
    named_by: &'static str,
    header: String,
    /// `None` removes the header.
    value: Option<Secret>,
}

fn bearer(fields: &mut Fields<'_>) -> Option<Short> {
    const FIELD: &str = "bearer_token";
    let token = credential(fields, FIELD)?;
    if let Some(token) = &token {
        let text = token.expose();
        if text
            .get(..7)
            .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
        {
            fields.refuse(FIELD, "is the token alone; `Bearer ` is put before it");
            return None;
        }
        // RFC 6750, 2.1: a token has no spaces.
        if text.contains(' ') {
            fields.refuse(FIELD, "has a space in it; a bearer token has none");
            return None;
        }
    }
    Some(Short {
        field: FIELD,
        named_by: FIELD,
        header: "Authorization".to_owned(),
        value: token.map(|token| Secret::new(format!("Bearer {}", token.expose()))),
    })
}

fn api_key(fields: &mut Fields<'_>) -> Option<Short> {
    const NAME: &str = "api_key_header";
    let name = fields.nullable::<String>(NAME, "a header's name, as a string");
    let name = name.flatten();
    let given = fields.has("api_key");
    let key = credential(fields, "api_key");
    if name.is_some() && !given {
        fields.refuse_as(
            "missing",
            "api_key",
            "is missing: give it with api_key_header",
        );
    }
    Some(Short {
        field: "api_key",
        named_by: if name.is_some() { NAME } else { "api_key" },
        header: name.unwrap_or_else(|| API_KEY_HEADER.to_owned()),
        value: key?,
    })
}

fn auth(fields: &mut Fields<'_>) -> Option<Short> {
    let named = fields.has("auth_header");
    let name = fields.nullable::<String>("auth_header", "a header's name, as a string");
    let given = fields.has("auth_value");
    let value = credential(fields, "auth_value");
    if named && name.is_none() {
        return None; // it is refused already
    }
    match (name.flatten(), value) {
        (Some(header), Some(value)) => Some(Short {
            field: "auth_value",
            named_by: "auth_header",
            header,
            value,
        }),
        (Some(_), None) if !given => {
            fields.refuse_as(
                "missing",
                "auth_value",
                "is missing: give it with auth_header",
            );
            None
        }
        (None, Some(Some(_))) => {
            let detail = "is missing: name the header that auth_value goes into";
            fields.refuse_as("missing", "auth_header", detail);
            None
        }
        (Some(_) | None, _) => None,
    }
}

/// A text that is not empty, or null.
fn credential(fields: &mut Fields<'_>, name: &str) -> Option<Option<Secret>> {
    let text = fields.nullable::<String>(name, "a string or null")?;
    if text.as_deref() == Some("") {
        fields.refuse(name, "is empty; give null for none");
        return None;
    }
    Some(text.map(Secret::new))
}

fn set(fields: &mut Fields<'_>, webhook: &mut Webhook, short: Short, profile: &Profile) {
    let Short { header, value, .. } = short;
    let checked = check_header(profile, &header, "").map_err(|error| (short.named_by, error));
    let checked = checked.and_then(|_| {
        let value = value.as_ref().map_or("", Secret::expose);
        check_header(profile, &header, value).map_err(|error| (short.field, error))
    });
    if let Err((field, error)) = checked {
        return fields.refuse_as(error.code(), field, error.to_string());
    }
    let headers = &mut webhook.headers;
    headers.retain(|stored| !stored.name.eq_ignore_ascii_case(&header));
    headers.extend(value.map(|value| Header {
        name: header,
        value,
    }));
}

fn replace(
    fields: &mut Fields<'_>,
    webhook: &mut Webhook,
    given: BTreeMap<String, Option<String>>,
    profile: &Profile,
) {
    if given.len() > HEADERS_MAX {
        return fields.refuse("headers", format!("has over {HEADERS_MAX} entries"));
    }
    let mut headers: Vec<Header> = Vec::with_capacity(given.len());
    for (name, value) in given {
        match header(webhook, &name, value, profile) {
            Ok(new)
                if headers
                    .iter()
                    .any(|had| had.name.eq_ignore_ascii_case(&new.name)) =>
            {
                let detail = format!("{name} is given twice");
                fields.refuse_as("header_invalid", "headers", detail);
            }
            Ok(new) => headers.push(new),
            Err((code, detail)) => {
                let pointer = name.replace('~', "~0").replace('/', "~1");
                fields.refuse_as(code, &format!("headers/{pointer}"), detail);
            }
        }
    }
    webhook.headers = headers;
}

/// A header as given; null keeps the value that is stored, which no answer shows.
fn header(
    webhook: &Webhook,
    name: &str,
    value: Option<String>,
    profile: &Profile,
) -> Result<Header, (&'static str, String)> {
    let mut stored = webhook.headers.iter();
    let value = match value {
        Some(value) => Secret::new(value),
        None => stored
            .find(|stored| stored.name.eq_ignore_ascii_case(name))
            .map(|stored| stored.value.clone())
            .ok_or_else(|| {
                let detail = "has no stored value to keep: give one";
                ("header_invalid", detail.to_owned())
            })?,
    };
    check_header(profile, name, value.expose())
        .map_err(|error| (error.code(), error.to_string()))?;
    Ok(Header {
        name: name.to_owned(),
        value,
    })
}
