//! `oauth2` of a webhook: the client credentials by which its requests get an access token.
//!
//! The object replaces the one that is stored. Only `client_secret` may be left out, or be null as answers show it: the
//! stored one then stays, as long as it goes to the same `token_url`. No answer and no message shows it.

use serde_json::{Value, json};

use crate::sender::Guard;

use super::read_url;
use crate::api::fields::Fields;
use crate::api::openapi::shapes;
use crate::model::{ClientAuth, Endpoint, OAuth2, Secret, Webhook};
use crate::profile::Profile;
use crate::sign::check_header;

const FIELD: &str = "oauth2";
const EXPECTED: &str = "an object with token_url, client_id and client_secret, or null";
const KNOWN: &str = "token_url, client_id, client_secret, scope, audience, client_auth";
/// Bounds on texts, bytes: the longest in use are keys of some hundred bytes, and each is kept with its webhook.
const ID_MAX: usize = 512;
const SECRET_MAX: usize = 2_048;
const SCOPE_MAX: usize = 1_000;
const AUDIENCE_MAX: usize = 1_000;
/// The fields that may set the header which the access token goes into.
const HEADER_FIELDS: [&str; 4] = ["bearer_token", "auth_value", "api_key", "headers"];

/// The settings as answers show them, without the secret.
pub(in crate::api::webhooks) fn show(oauth2: Option<&OAuth2>) -> Value {
    oauth2.map_or(Value::Null, |oauth2| {
        json!({
            "token_url": oauth2.token_url.as_str(),
            "client_id": oauth2.client_id,
            "client_secret": null,
            "scope": oauth2.scope,
            "audience": oauth2.audience,
            "client_auth": match oauth2.client_auth {
                ClientAuth::Basic => "basic",
                ClientAuth::Body => "body",
            },
        })
    })
}

/// What the field takes.
pub(super) fn schema() -> Value {
    let id = "The client's id, printable ASCII.";
    let secret = "The client's secret, printable ASCII. Null or nothing keeps the stored one, for the same `token_url`.";
    let scope = "Names of scopes with a space between.";
    let auth = "How id and secret are sent: by HTTP Basic, or in the body.";
    let fields = vec![
        ("token_url", shapes::named_as("Url", "The token endpoint.")),
        ("client_id", shapes::text_up_to(ID_MAX, id)),
        (
            "client_secret",
            shapes::or_null(shapes::text_up_to(SECRET_MAX, secret)),
        ),
        (
            "scope",
            shapes::or_null(shapes::text_up_to(SCOPE_MAX, scope)),
        ),
        (
            "audience",
            shapes::or_null(shapes::text_up_to(AUDIENCE_MAX, "Whom the token is for.")),
        ),
        (
            "client_auth",
            shapes::by_default(
                shapes::or_null(shapes::one_of(&["basic", "body"], auth)),
                json!("basic"),
            ),
        ),
    ];
    let means = "Client credentials (OAuth2) by which the webhook's requests get an access token. It replaces what is \
                 stored; null removes it.";
    shapes::given(&["token_url", "client_id"], fields, means)
}

/// The field to name if the webhook is left with two ways to authorize: one that is given now. To be asked before
/// they are read.
pub(super) fn giver(fields: &Fields<'_>) -> &'static str {
    let others = HEADER_FIELDS.into_iter().find(|name| fields.has(name));
    match others {
        Some(other) if !fields.has(FIELD) => other,
        Some(_) | None => FIELD,
    }
}

/// Reads the field into `webhook`.
pub(super) fn read(fields: &mut Fields<'_>, webhook: &mut Webhook, guard: &Guard) {
    match fields.object(FIELD, EXPECTED) {
        None => {}
        Some(None) => webhook.oauth2 = None,
        Some(Some(mut inner)) => {
            let oauth2 = settings(&mut inner, webhook, guard);
            fields.close(FIELD, inner, KNOWN);
            if oauth2.is_some() {
                webhook.oauth2 = oauth2;
            }
        }
    }
}

/// Refuses an access token beside another `Authorization` header: only one of them could be sent.
pub(super) fn check_alone(
    fields: &mut Fields<'_>,
    webhook: &Webhook,
    profile: &Profile,
    giver: &str,
) {
    if webhook.oauth2.is_none() {
        return;
    }
    let mut own = webhook.headers.iter();
    if own.any(|header| header.name.eq_ignore_ascii_case("authorization")) {
        let detail = "the webhook would have both `oauth2` and an `Authorization` header of its own; give one of them \
                      as null: `\"oauth2\": null`, or `\"bearer_token\": null`, which removes that header";
        fields.refuse_as("header_conflict", giver, detail);
    } else if check_header(profile, "Authorization", "").is_err() {
        let detail =
            "cannot be used here: the account's profile sets the header `Authorization` itself";
        fields.refuse_as("header_reserved", FIELD, detail);
    }
}

/// `None` where a field was refused.
fn settings(inner: &mut Fields<'_>, webhook: &Webhook, guard: &Guard) -> Option<OAuth2> {
    let token_url = inner
        .required::<String>("token_url", "the token endpoint's HTTPS URL, as a string")
        .and_then(|url| read_url(inner, "token_url", &webhook.account, &url, guard));
    let client_id = inner
        .required::<String>("client_id", "the client's id, as a string")
        .filter(|id| fits(inner, "client_id", id, ID_MAX, is_visible_or_space));
    let client_secret = client_secret(inner, webhook, token_url.as_ref());
    let scope = optional(inner, "scope", SCOPE_MAX, is_of_scope);
    let audience = optional(inner, "audience", AUDIENCE_MAX, is_visible_or_space);
    let client_auth = client_auth(inner);
    Some(OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope?,
        audience: audience?,
        client_auth: client_auth?,
    })
}

/// The secret that is given, or the stored one where that may be kept.
fn client_secret(
    inner: &mut Fields<'_>,
    webhook: &Webhook,
    token_url: Option<&Endpoint>,
) -> Option<Secret> {
    const NAME: &str = "client_secret";
    let given = match inner.has(NAME) {
        true => inner.nullable::<Secret>(NAME, "a string, or null to keep the stored one")?,
        false => None,
    };
    if let Some(secret) = given {
        let good = fits(
            inner,
            NAME,
            secret.expose(),
            SECRET_MAX,
            is_visible_or_space,
        );
        return good.then_some(secret);
    }
    let Some(stored) = &webhook.oauth2 else {
        let detail = "is missing: give the client's secret, as a string";
        inner.refuse_as("missing", NAME, detail);
        return None;
    };
    // Or whoever may change a webhook could have the secret sent to a place of theirs.
    if *token_url? != stored.token_url {
        let detail = "is missing: the stored one is for another token_url and is not sent to this one; give it anew";
        inner.refuse_as("missing", NAME, detail);
        return None;
    }
    Some(stored.client_secret.clone())
}

fn client_auth(inner: &mut Fields<'_>) -> Option<ClientAuth> {
    const NAME: &str = "client_auth";
    if !inner.has(NAME) {
        return Some(ClientAuth::default());
    }
    let expected = "`basic` (the client's id and secret by HTTP Basic) or `body`";
    match inner.nullable::<String>(NAME, expected)?.as_deref() {
        None | Some("basic") => Some(ClientAuth::Basic),
        Some("body") => Some(ClientAuth::Body),
        Some(_) => {
            inner.refuse(NAME, format!("must be {expected}"));
            None
        }
    }
}

/// A text that may be absent or null; outside `None` where it was refused.
fn optional(
    inner: &mut Fields<'_>,
    name: &str,
    bytes_max: usize,
    takes: fn(u8) -> bool,
) -> Option<Option<String>> {
    if !inner.has(name) {
        return Some(None);
    }
    let text = inner.nullable::<String>(name, "a string or null")?;
    match text {
        Some(text) => fits(inner, name, &text, bytes_max, takes).then_some(Some(text)),
        None => Some(None),
    }
}

/// Whether a text is one that RFC 6749 (appendix A) takes in this place; what is wrong is noted, without the text.
fn fits(
    inner: &mut Fields<'_>,
    name: &str,
    text: &str,
    bytes_max: usize,
    takes: fn(u8) -> bool,
) -> bool {
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > bytes_max {
        format!("is over {bytes_max} bytes")
    } else if text.trim() != text {
        "starts or ends with white space; remove it".to_owned()
    } else if !text.bytes().all(takes) {
        match name {
            "scope" => "must be names of scopes with a space between, in printable ASCII without quotes and \
                        back-slashes"
                .to_owned(),
            _ => "must be printable ASCII on one line".to_owned(),
        }
    } else {
        return true;
    };
    inner.refuse(name, wrong);
    false
}

const fn is_visible_or_space(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

const fn is_of_scope(byte: u8) -> bool {
    matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}
