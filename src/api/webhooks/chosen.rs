//! What a webhook's owner chooses of its events, of their form, order and way: `filter`, `format`, `order`, `tls`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::fields::Fields;
use crate::api::filters::refuse_filter;
use crate::api::openapi::shapes::{self, Named};
use crate::model::{Order, Webhook, did_you_mean};
use crate::render::filter::Filter;
use crate::render::{Formats, Pointer};

/// What `order` may be.
const ORDERS: &str = "\"none\", \"fifo\", or {\"key\": \"/customer/id\"} with a JSON pointer into the event's `data`";

/// The fields as given: outside `None` where absent or refused, inside `None` for null.
#[derive(Debug)]
pub(super) struct Chosen {
    format: Option<Option<String>>,
    filter: Option<Option<String>>,
    order: Option<Order>,
    tls: Option<Option<String>>,
}

impl Chosen {
    /// Reads and checks them; what is wrong is noted in `fields`. `tls` are the names that the account may use.
    pub(super) fn read(fields: &mut Fields<'_>, formats: &Formats, tls: &[String]) -> Self {
        Self {
            format: read_format(fields, formats),
            filter: read_filter(fields),
            order: read_order(fields),
            tls: read_tls(fields, tls),
        }
    }

    /// Puts what was given in the place of what `webhook` has.
    pub(super) fn put(self, webhook: &mut Webhook) {
        if let Some(format) = self.format {
            webhook.format = format;
        }
        if let Some(filter) = self.filter {
            webhook.filter = filter;
        }
        if let Some(order) = self.order {
            webhook.order = order;
        }
        if let Some(tls) = self.tls {
            webhook.tls = tls;
        }
    }
}

/// The fields that are read here.
pub(super) fn schema() -> Vec<Named> {
    let format = "A format that stands in for the profile's envelope, such as `slack`, `discord` or `teams`.";
    let filter = "Only events that fit this pattern.";
    let tls = "TLS settings of the config: a client certificate, or private authorities.";
    vec![
        ("format", shapes::or_null(shapes::text(format))),
        (
            "filter",
            shapes::or_null(shapes::named_as("Filter", filter)),
        ),
        (
            "order",
            shapes::or_null(shapes::named_as(
                "Order",
                "In which order deliveries go out; null for none.",
            )),
        ),
        ("tls", shapes::or_null(shapes::text(tls))),
    ]
}

/// What `order` may be.
pub(super) fn order_schema() -> Value {
    let key = "A JSON pointer into the event's `data`.";
    json!({
        "description": "In which order deliveries go out: `none` (several at once), `fifo` (one at a time, as accepted), \
                        or so among events with the same value at a place of `data`. A failing delivery keeps its place.",
        "anyOf": [
            shapes::one_of(&["none", "fifo"], "None, or all in one order."),
            shapes::given(
                &["key"],
                vec![("key", shapes::such_as(shapes::text_like("^/", key), json!("/customer/id")))],
                "By a value in the event's data.",
            ),
        ],
    })
}

fn read_format(fields: &mut Fields<'_>, formats: &Formats) -> Option<Option<String>> {
    let format = fields.nullable::<String>("format", "a format's name or null")?;
    if let Some(name) = &format
        && formats.get(name).is_none()
    {
        let known: Vec<&str> = formats.names().collect();
        let hint = did_you_mean(name, known.iter().copied());
        let detail = format!("is not a format here; {hint}there are {}", known.join(", "));
        fields.refuse_as("format_unknown", "format", detail);
        return None;
    }
    Some(format)
}

/// A name of another account's is answered like one that there is not.
fn read_tls(fields: &mut Fields<'_>, own: &[String]) -> Option<Option<String>> {
    let tls = fields.nullable::<String>("tls", "the name of TLS settings or null")?;
    if let Some(name) = &tls
        && !own.contains(name)
    {
        let known = match own {
            [] => "has none; the operator sets them up".to_owned(),
            own => format!("has {}", own.join(", ")),
        };
        let detail = format!("names no TLS settings of this account, which {known}");
        fields.refuse_as("tls_unknown", "tls", detail);
        return None;
    }
    Some(tls)
}

fn read_filter(fields: &mut Fields<'_>) -> Option<Option<String>> {
    match fields.raw("filter")? {
        "null" => Some(None),
        text => match Filter::parse(text) {
            Ok(_) => Some(Some(text.to_owned())),
            Err(faults) => {
                refuse_filter(fields, "filter", &faults);
                None
            }
        },
    }
}

/// An order as a client writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Name(String),
    Key(Key),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: String,
}

/// Null is no order.
fn read_order(fields: &mut Fields<'_>) -> Option<Order> {
    let given = fields.nullable::<Given>("order", ORDERS)?;
    match given {
        None => Some(Order::None),
        Some(Given::Name(name)) => match name.as_str() {
            "none" => Some(Order::None),
            "fifo" => Some(Order::Fifo),
            _ => {
                fields.refuse("order", format!("must be {ORDERS}"));
                None
            }
        },
        Some(Given::Key(Key { key })) => match Pointer::parse(&key) {
            Ok(_) => Some(Order::ByKey(key)),
            Err(why) => {
                fields.refuse("order/key", why.to_string());
                None
            }
        },
    }
}

/// An order as it is given.
pub(super) fn show_order(order: &Order) -> Value {
    match order {
        Order::None => json!("none"),
        Order::Fifo => json!("fifo"),
        Order::ByKey(key) => json!({ "key": key }),
    }
}

/// A filter as it was given; its numbers are such that a tree holds them.
pub(super) fn show_filter(filter: Option<&str>) -> Value {
    filter
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

/// What to say to the owner of a webhook whose receiver takes another form than it will be sent.
pub(super) fn hint(webhook: &Webhook, formats: &Formats) -> Option<String> {
    if webhook.format.is_some() {
        return None;
    }
    let format = formats.of_host(&webhook.url.host())?;
    let name = &format.name;
    Some(format!(
        "this host takes messages in a form of its own; set `format` to \"{name}\" to send them"
    ))
}
