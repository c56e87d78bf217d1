//! Webhooks as earlier encodings have them, which decode for ever: 1 and 2, 3, and 4. A structure's fields follow one
//! another without a frame, so a later form is an earlier one and what came to it.

use serde::{Deserialize, Serialize};

use crate::model::{
    AccountName, Endpoint, Header, Inactive, OAuth2, OldSecret, Order, RetryPolicy, Secret,
    UnixMillis, Webhook, WebhookId,
};

use super::record::Row;

/// A webhook before it had an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlainWebhook {
    id: WebhookId,
    account: AccountName,
    version: u64,
    url: Endpoint,
    events: Vec<String>,
    scope: Option<String>,
    name: Option<String>,
    description: Option<String>,
    secret: Option<Secret>,
    staged_secret: Option<Secret>,
    old_secret: Option<OldSecret>,
    headers: Vec<Header>,
    format: Option<String>,
    filter: Option<String>,
    timeout_ms: Option<u32>,
    retry: Option<RetryPolicy>,
    active: bool,
    inactive: Option<Inactive>,
    created_at: UnixMillis,
    updated_at: UnixMillis,
}

/// A webhook before it had TLS settings and access tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderedWebhook {
    plain: PlainWebhook,
    order: Order,
}

/// A webhook before the config could declare it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenWebhook {
    ordered: OrderedWebhook,
    tls: Option<String>,
    oauth2: Option<OAuth2>,
}

/// A row of the registry with a webhook of that time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EarlierRow<W> {
    pub(super) webhook: W,
    removed: bool,
}

impl From<PlainWebhook> for Webhook {
    fn from(plain: PlainWebhook) -> Self {
        never_sealed(as_it_is(plain))
    }
}

impl From<OrderedWebhook> for Webhook {
    fn from(ordered: OrderedWebhook) -> Self {
        Self {
            order: ordered.order,
            ..ordered.plain.into()
        }
    }
}

fn as_it_is(plain: PlainWebhook) -> Webhook {
    Webhook {
        id: plain.id,
        account: plain.account,
        version: plain.version,
        url: plain.url,
        events: plain.events,
        scope: plain.scope,
        name: plain.name,
        description: plain.description,
        secret: plain.secret,
        staged_secret: plain.staged_secret,
        old_secret: plain.old_secret,
        headers: plain.headers,
        format: plain.format,
        filter: plain.filter,
        timeout_ms: plain.timeout_ms,
        retry: plain.retry,
        active: plain.active,
        inactive: plain.inactive,
        created_at: plain.created_at,
        updated_at: plain.updated_at,
        order: Order::None,
        tls: None,
        oauth2: None,
        declared: None,
    }
}

/// Nothing was sealed before encoding 4: a text that looks so was somebody's secret.
fn never_sealed(webhook: Webhook) -> Webhook {
    let headers = webhook.headers.into_iter().map(|header| Header {
        value: header.value.never_sealed(),
        ..header
    });
    Webhook {
        secret: webhook.secret.map(Secret::never_sealed),
        staged_secret: webhook.staged_secret.map(Secret::never_sealed),
        old_secret: webhook.old_secret.map(|old| OldSecret {
            secret: old.secret.never_sealed(),
            ..old
        }),
        headers: headers.collect(),
        ..webhook
    }
}

impl From<TokenWebhook> for Webhook {
    fn from(token: TokenWebhook) -> Self {
        Self {
            tls: token.tls,
            oauth2: token.oauth2,
            order: token.ordered.order,
            ..as_it_is(token.ordered.plain)
        }
    }
}

impl<W: Into<Webhook>> From<EarlierRow<W>> for Row {
    fn from(row: EarlierRow<W>) -> Self {
        Self {
            webhook: row.webhook.into(),
            removed: row.removed,
        }
    }
}

#[cfg(test)]
impl From<Webhook> for PlainWebhook {
    fn from(webhook: Webhook) -> Self {
        assert_eq!(webhook.order, Order::None, "it has no place for one");
        assert_eq!((&webhook.tls, &webhook.oauth2), (&None, &None));
        assert_eq!(webhook.declared, None);
        Self {
            id: webhook.id,
            account: webhook.account,
            version: webhook.version,
            url: webhook.url,
            events: webhook.events,
            scope: webhook.scope,
            name: webhook.name,
            description: webhook.description,
            secret: webhook.secret,
            staged_secret: webhook.staged_secret,
            old_secret: webhook.old_secret,
            headers: webhook.headers,
            format: webhook.format,
            filter: webhook.filter,
            timeout_ms: webhook.timeout_ms,
            retry: webhook.retry,
            active: webhook.active,
            inactive: webhook.inactive,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

#[cfg(test)]
impl From<Webhook> for OrderedWebhook {
    fn from(mut webhook: Webhook) -> Self {
        let order = std::mem::take(&mut webhook.order);
        Self {
            plain: webhook.into(),
            order,
        }
    }
}

#[cfg(test)]
impl From<Webhook> for TokenWebhook {
    fn from(mut webhook: Webhook) -> Self {
        let (tls, oauth2) = (webhook.tls.take(), webhook.oauth2.take());
        Self {
            ordered: webhook.into(),
            tls,
            oauth2,
        }
    }
}

#[cfg(test)]
impl<W: From<Webhook>> From<Row> for EarlierRow<W> {
    fn from(row: Row) -> Self {
        Self {
            webhook: row.webhook.into(),
            removed: row.removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::webhook;

    #[test]
    fn a_sealed_secret_stays_one_and_before_there_were_any_nothing_is_taken_for_one() {
        let sealed = format!("{}0:1", Secret::SEALED);
        let mut kept = Webhook {
            secret: Some(Secret::new(sealed.clone())),
            staged_secret: None,
            old_secret: None,
            ..webhook(7)
        };
        for header in &mut kept.headers {
            header.value = Secret::new(sealed.clone());
        }
        let of_4 = Webhook::from(TokenWebhook::from(kept.clone()));
        assert_eq!(of_4, kept);
        for of_old in [
            Webhook::from(OrderedWebhook::from(kept.clone())),
            Webhook::from(PlainWebhook::from(kept.clone())),
        ] {
            assert_eq!(of_old.secret, Some(Secret::new(format!(" {sealed}"))));
            let header = of_old.headers.first().map(|header| header.value.expose());
            assert_eq!(header, Some(format!(" {sealed}").as_str()));
        }
    }
}
