//! The shapes of webhooks.

use serde_json::{Value, json};

use crate::api::openapi::shapes::{
    Named, answered, answered_with, count, flag, list, named, number, one_of, or_null, page_of,
    table, text, time, with_more, with_scope,
};
use crate::api::webhooks::{SCOPE_MAX, draft};

pub(super) fn schemas(scope_fields: &[String]) -> Vec<Named> {
    let [draft, change] = draft::schemas(scope_fields);
    let [rotate, stage, promote] = crate::api::secrets::schemas();
    let webhook = with_scope(webhook(), scope_fields, SCOPE_MAX);
    let whole_means = "A webhook with the contract that its receiver sees.";
    let contract = answered(vec![("contract", named("Contract"))], whole_means);
    let whole = with_more(&webhook, &contract, whole_means);
    let secret = "The secret that signs. It is in this answer and in no other: keep it.";
    let hint = "What the receiver may need, such as a format of its own.";
    let created = with_more(
        &whole,
        &answered_with(
            vec![],
            vec![("secret", text(secret)), ("hint", text(hint))],
            "",
        ),
        "A webhook that was registered, with its secret where the profile signs.",
    );
    let secret = "The new secret, where one was made or given. It is in this answer and in no other: keep it.";
    let public =
        "What receivers verify the staged secret's signatures with, where it is not a shared one.";
    let turned = with_more(
        &whole,
        &answered_with(
            vec![],
            vec![
                ("secret", text(secret)),
                ("staged_public_key", text(public)),
            ],
            "",
        ),
        "A webhook whose secret was replaced.",
    );
    vec![
        ("WebhookDraft", draft),
        ("WebhookChange", change),
        ("Webhook", webhook),
        ("WebhookWhole", whole),
        ("WebhookCreated", created),
        ("WebhookRotated", turned),
        ("SecretRotation", rotate),
        ("SecretStaging", stage),
        ("SecretPromotion", promote),
        ("HeldDiscard", crate::api::held::schema()),
        ("Discarded", discarded()),
        ("TestResult", tested()),
        ("ReceiverCode", receiver_code()),
        ("DeclaredPage", declared_page()),
    ]
}

/// As lists show it; without the scope.
fn webhook() -> Value {
    let held =
        "Why nothing is sent to it though it is active: what it names is gone from the config.";
    let nulls = json!({ "type": "null", "description": "Values are credentials and never shown." });
    answered_with(
        vec![
            ("id", named("WebhookId")),
            ("url", text("Where it sends to.")),
            (
                "events",
                list(
                    text("A type or pattern."),
                    "What it gets; none: every type.",
                ),
            ),
            ("active", flag("Whether it is sent to.")),
            ("inactive", or_null(inactive())),
            ("failing", or_null(failing())),
            ("held", or_null(text(held))),
            ("name", or_null(text("A name for people."))),
            ("description", or_null(text("Words for people."))),
            ("headers", table(nulls, "The names of its own headers.")),
            ("oauth2", or_null(oauth2())),
            (
                "format",
                or_null(text("The format that stands in for the envelope.")),
            ),
            ("filter", or_null(named("Filter"))),
            ("order", named("Order")),
            ("tls", or_null(text("TLS settings of the config."))),
            ("timeout", text("How long an attempt may take.")),
            ("retry", retry()),
            ("signed", flag("Whether its requests are signed.")),
            ("secret_rotation", rotation()),
            (
                "declared",
                or_null(text("The name under which the config declares it.")),
            ),
            ("created_at", time("When it was registered.")),
            ("updated_at", time("When it was changed last.")),
        ],
        vec![(
            "public_key",
            text("What receivers verify with, where it is not a shared secret."),
        )],
        "A webhook.",
    )
}

/// What the config declares.
fn declared_page() -> Value {
    let print = |means: &str| or_null(text(means));
    let fingerprints = answered(
        vec![
            ("secret", print("Of the secret that signs.")),
            ("headers", table(text("Of a header's value."), "By header.")),
            ("client_secret", print("Of the OAuth2 client's secret.")),
        ],
        "16 bits of each secret, salted by the account; null without the scope `admin`.",
    );
    let row = answered(
        vec![
            ("name", text("The name in the config.")),
            ("webhook_id", named("WebhookId")),
            (
                "declared",
                flag("Whether the config declares it still; else it is disabled."),
            ),
            ("fingerprints", or_null(fingerprints)),
        ],
        "A declared webhook.",
    );
    let undone = answered(
        vec![
            ("name", text("The name in the config.")),
            ("why", text("Why not.")),
        ],
        "What could not be done yet; it is tried again.",
    );
    let in_force = answered(
        vec![
            ("revision", text("A digest of the config's text.")),
            ("since", time("Since when.")),
        ],
        "The config that is in force.",
    );
    let more = answered(
        vec![
            ("account", text("The account of the key.")),
            ("config", in_force),
            ("undone", list(undone, "What could not be done yet.")),
        ],
        "",
    );
    let page = page_of(row, "");
    with_more(&more, &page, "A page of declared webhooks.")
}

/// What verifies a webhook's requests.
fn receiver_code() -> Value {
    answered(
        vec![
            ("language", text("The language, as it was asked for.")),
            ("file_name", text("A name for the file.")),
            (
                "code",
                text("The code; empty where the profile signs nothing."),
            ),
            (
                "notes",
                list(text("A note."), "What else a receiver should know."),
            ),
        ],
        "Code for a webhook's receiver.",
    )
}

/// Why it is sent nothing.
fn inactive() -> Value {
    answered(
        vec![
            (
                "reason",
                one_of(
                    &["request", "exhausted", "gone", "failing", "undeclared"],
                    "Why: asked for, or disabled by itself.",
                ),
            ),
            ("since", time("Since when.")),
            (
                "next_probe_at",
                or_null(time("When it is tried next, where the profile probes.")),
            ),
        ],
        "Why it is inactive; null where it is active.",
    )
}

/// How near it is to being disabled.
fn failing() -> Value {
    answered(
        vec![
            ("since", time("Since when every attempt has failed.")),
            (
                "disables_at",
                or_null(time(
                    "When it will be disabled for that, where the profile does so.",
                )),
            ),
        ],
        "The countdown to being disabled; null where the last attempt succeeded.",
    )
}

/// Its client credentials, without the secret.
fn oauth2() -> Value {
    answered(
        vec![
            ("token_url", text("The token endpoint.")),
            ("client_id", text("The client's id.")),
            (
                "client_secret",
                json!({ "type": "null", "description": "Never shown." }),
            ),
            ("scope", or_null(text("Names of scopes."))),
            ("audience", or_null(text("Whom the token is for."))),
            (
                "client_auth",
                one_of(&["basic", "body"], "How id and secret are sent."),
            ),
        ],
        "How its access tokens are had; null where it has none.",
    )
}

/// Its schedule.
fn retry() -> Value {
    answered(
        vec![
            (
                "delays",
                list(text("A wait."), "The wait before each retry."),
            ),
            ("jitter", text("How much longer a wait may be by chance.")),
        ],
        "The schedule in force.",
    )
}

/// Its secrets, without any.
fn rotation() -> Value {
    answered(
        vec![
            ("staged", flag("Whether a secret is staged.")),
            (
                "old_until",
                or_null(time("Until when the old secret is kept.")),
            ),
        ],
        "Where the replacement of its secret stands.",
    )
}

fn discarded() -> Value {
    answered(
        vec![
            ("discarded", count("Deliveries that were ended.")),
            (
                "more",
                flag("Whether there are more: then repeat the call."),
            ),
        ],
        "What was ended.",
    )
}

fn tested() -> Value {
    answered(
        vec![
            (
                "delivered",
                flag("Whether the receiver took it, by the profile's rule."),
            ),
            (
                "status",
                or_null(count(
                    "The status of its answer; null where there was none.",
                )),
            ),
            ("response_time_ms", number(0.0, "How long it took.")),
            (
                "event_id",
                text("The id that the example was sent with; it is not stored."),
            ),
            ("attempt", named("Attempt")),
            ("request_body", text("The body that was sent.")),
        ],
        "What came of a test.",
    )
}
