//! The request for an access token: a form, with the client's secret in a header or in the form (RFC 6749, 4.4.2 and
//! 2.3.1).
//!
//! What holds the secret is made at its full size at once and wiped when it is dropped. What TLS and HTTP copy of it
//! on the way out is not in our hand.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::model::{ClientAuth, OAuth2, Webhook};
use crate::sender::{Request, TlsSettings};

/// Makes the request, which goes the way of the webhook's own. `None` where a text, read back from somewhere, cannot be sent.
pub(super) fn ask(
    webhook: &Webhook,
    tls: Option<&TlsSettings>,
    oauth2: &OAuth2,
    timeout: Duration,
) -> Option<Request> {
    let mut headers = HeaderMap::with_capacity(4);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if oauth2.client_auth == ClientAuth::Basic {
        headers.insert(AUTHORIZATION, hidden(basic(oauth2))?);
    }
    Some(Request {
        endpoint: oauth2.token_url.clone(),
        headers,
        body: Bytes::from_owner(body(oauth2)),
        timeout,
        tls: tls.cloned(),
        account: Some(webhook.account.clone()),
        webhook: Some(webhook.id),
    })
}

/// A header's value that is not logged, and wiped when the last copy of it is dropped.
pub(super) fn hidden(text: Zeroizing<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn body(oauth2: &OAuth2) -> Zeroizing<String> {
    let in_body = oauth2.client_auth == ClientAuth::Body;
    let secret = in_body.then(|| oauth2.client_secret.expose());
    let pairs = [
        ("grant_type", Some("client_credentials")),
        ("scope", oauth2.scope.as_deref()),
        ("audience", oauth2.audience.as_deref()),
        ("client_id", in_body.then_some(&*oauth2.client_id)),
        ("client_secret", secret),
    ];
    // Each byte takes three at most; a buffer that grew would leave a copy behind.
    let room =
        |(name, value): &(&str, Option<&str>)| name.len() + 3 * value.map_or(0, str::len) + 2;
    let mut form = Serializer::new(String::with_capacity(pairs.iter().map(room).sum()));
    for (name, value) in pairs {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    Zeroizing::new(form.finish())
}

/// Id and secret, each in the form's encoding, as the RFC has it.
fn basic(oauth2: &OAuth2) -> Zeroizing<String> {
    let secret = oauth2.client_secret.expose();
    let room = 3 * (oauth2.client_id.len() + secret.len()) + 1;
    let mut pair = Zeroizing::new(String::with_capacity(room));
    pair.extend(byte_serialize(oauth2.client_id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity(
        "Basic ".len() + 4 * pair.len().div_ceil(3),
    ));
    value.push_str("Basic ");
    BASE64.encode_string(pair.as_bytes(), &mut value);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::webhook;
    use crate::model::{Endpoint, Secret};

    fn oauth2(client_auth: ClientAuth) -> OAuth2 {
        OAuth2 {
            token_url: Endpoint::parse("https://id.example.com/token").unwrap(),
            client_id: "a:b c".to_owned(),
            client_secret: Secret::new("p&q=é%".to_owned()),
            scope: Some("read write".to_owned()),
            audience: None,
            client_auth,
        }
    }

    #[test]
    fn the_client_is_named_by_basic_or_in_the_form_and_never_by_both() {
        let request = ask(&webhook(), None, &oauth2(ClientAuth::Basic), Duration::ZERO).unwrap();
        let value = &request.headers[AUTHORIZATION];
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = BASE64.decode(encoded).unwrap();
        assert_eq!(pair, b"a%3Ab+c:p%26q%3D%C3%A9%25");
        assert_eq!(
            &*request.body,
            b"grant_type=client_credentials&scope=read+write"
        );

        let mut other = oauth2(ClientAuth::Body);
        (other.scope, other.audience) = (None, Some("https://api.example.com".to_owned()));
        let request = ask(&webhook(), None, &other, Duration::ZERO).unwrap();
        assert_eq!(request.headers.get(AUTHORIZATION), None);
        let expected = "grant_type=client_credentials&audience=https%3A%2F%2Fapi.example.com&client_id=a%3Ab+c\
                        &client_secret=p%26q%3D%C3%A9%25";
        assert_eq!(&*request.body, expected.as_bytes());
    }
}
