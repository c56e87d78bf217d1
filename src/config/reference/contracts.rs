//! What each key of a profile and of a format does, in words, in the order in which the reference shows them.
//!
//! Other modules read these, so their kinds stand here, too; the defaults are those of the root profile.

use super::words::{Section, Words};

const fn free(path: &'static str, kind: &'static str, what: &'static str) -> Words {
    Words {
        path,
        what,
        kind,
        required: false,
    }
}

const fn free_must(path: &'static str, kind: &'static str, what: &'static str) -> Words {
    Words {
        path,
        what,
        kind,
        required: true,
    }
}

pub(super) const CONTRACTS: &[Section] = &[
    Section {
        title: "`[profiles.NAME]`",
        about: "A wire contract of your own: what differs from the profile that it extends. 200 at most. The defaults are those of \
                `standard`.",
        reload: &["*"],
        keys: &[
            free_must(
                "profiles.NAME.extends",
                "string",
                "The profile that holds where this one says nothing.",
            ),
            free(
                "profiles.NAME.event_types",
                "list of strings",
                "The types that there are; an empty list means any.",
            ),
            free(
                "profiles.NAME.inner_types",
                "list of strings",
                "Types inside of an event's data that webhooks may ask for, too.",
            ),
            free(
                "profiles.NAME.events_required",
                "true or false",
                "Whether a webhook must name its types.",
            ),
            free(
                "profiles.NAME.match_on",
                "list of strings",
                "What a webhook's patterns are compared with: `type`, or places in the event.",
            ),
            free(
                "profiles.NAME.scope_field",
                "string",
                "What the field is called that narrows webhooks to a part of a tenant.",
            ),
            free(
                "profiles.NAME.success",
                "list of strings",
                "The status codes that count as delivered: `\"2xx\"`, `\"200\"`, `\"200-204\"`.",
            ),
            free(
                "profiles.NAME.timeout",
                "duration",
                "How long an attempt may take; a webhook may have its own.",
            ),
            free(
                "profiles.NAME.body",
                "string",
                "The envelope: a template whose expressions are written as JSON.",
            ),
            free(
                "profiles.NAME.on_gone",
                "\"disable\" or \"retry\"",
                "What 410 does: it disables the webhook, or is a failure like any other.",
            ),
            free(
                "profiles.NAME.honour_retry_after",
                "true or false",
                "Whether `Retry-After` of 429 and 503 is waited for.",
            ),
            free(
                "profiles.NAME.headers",
                "table",
                "Headers by name; a value may have `{id}`, `{timestamp}`, `{type}`, `{attempt}`, `{retry}`.",
            ),
            free(
                "profiles.NAME.schemas",
                "table",
                "A JSON Schema for each type; events whose data does not fit are refused. `true` takes an inherited one back.",
            ),
        ],
    },
    Section {
        title: "`[profiles.NAME.secret]` and `[[profiles.NAME.signature]]`",
        about: "How requests are signed. Signatures of one header share its line, one space between.",
        reload: &["*"],
        keys: &[
            free(
                "profiles.NAME.secret.required",
                "true or false",
                "Whether every webhook has a secret.",
            ),
            free(
                "profiles.NAME.secret.generate",
                "string",
                "How a new secret looks: text, and random parts such as `{base64:32}` or `{hex:32}`.",
            ),
            free(
                "profiles.NAME.secret.rotation",
                "\"overlap\" or \"staged\"",
                "How a secret is replaced.",
            ),
            free(
                "profiles.NAME.secret.key",
                "\"utf8\", \"whsec-base64\" or \"whsk-base64\"",
                "How a signature's key comes from the secret.",
            ),
            free_must(
                "profiles.NAME.signature[].header",
                "string",
                "The header that carries it.",
            ),
            free_must(
                "profiles.NAME.signature[].algorithm",
                "\"hmac-sha256\" or \"ed25519\"",
                "The algorithm.",
            ),
            free(
                "profiles.NAME.signature[].key",
                "as in `secret`",
                "Another key form than the secret's.",
            ),
            free_must(
                "profiles.NAME.signature[].signed",
                "string",
                "What is signed: text with `{id}`, `{timestamp}` and `{body}`.",
            ),
            free_must(
                "profiles.NAME.signature[].value",
                "string",
                "The header's value: text with `{hex}` or `{base64}`.",
            ),
        ],
    },
    Section {
        title: "`[profiles.NAME.retry]`, `.exhausted`, `.rate`, `.api`",
        about: "When an attempt is made again, what happens at the end of the schedule, and how fast may be sent. Write either \
                `delays` or the four keys below it.",
        reload: &["*"],
        keys: &[
            free(
                "profiles.NAME.retry.delays",
                "list of durations",
                "The waits before the second attempt, the third and so on.",
            ),
            free(
                "profiles.NAME.retry.initial",
                "duration",
                "The first wait of a schedule that grows.",
            ),
            free(
                "profiles.NAME.retry.multiplier",
                "number",
                "What each wait is multiplied with.",
            ),
            free(
                "profiles.NAME.retry.max_delay",
                "duration",
                "The longest wait.",
            ),
            free(
                "profiles.NAME.retry.max_retries",
                "whole number",
                "How many attempts follow the first.",
            ),
            free(
                "profiles.NAME.retry.jitter",
                "percentage",
                "How much longer, by chance, a wait may be.",
            ),
            free(
                "profiles.NAME.exhausted.action",
                "\"fail\" or \"disable\"",
                "At the end of a schedule the delivery fails; or the webhook is disabled, too.",
            ),
            free(
                "profiles.NAME.exhausted.unless_succeeded_since",
                "true or false",
                "Not if a delivery has arrived since this one's first attempt.",
            ),
            free(
                "profiles.NAME.exhausted.disable_after",
                "duration or \"never\"",
                "Disables a webhook whose attempts have all failed for so long.",
            ),
            free(
                "profiles.NAME.exhausted.probe_every",
                "duration, \"10s\" to \"24h\", or \"never\"",
                "How often a disabled webhook is tried.",
            ),
            free(
                "profiles.NAME.rate.per_second",
                "whole number",
                "Attempts a second for one webhook; 0: no limit.",
            ),
            free(
                "profiles.NAME.rate.per_hour",
                "whole number",
                "Attempts an hour for one webhook; 0: no limit.",
            ),
            free(
                "profiles.NAME.rate.overflow",
                "\"delay\" or \"drop-oldest\"",
                "Whether all waits, or the oldest go beyond `backlog`.",
            ),
            free(
                "profiles.NAME.rate.backlog",
                "whole number, at least 1",
                "How many deliveries may wait, with `drop-oldest`.",
            ),
            free(
                "profiles.NAME.api.requests_per_minute",
                "whole number",
                "Calls of one key in a minute, all but those that post events; 0: no limit.",
            ),
        ],
    },
    Section {
        title: "`[profiles.NAME.example]`",
        about: "The event that a test sends.",
        reload: &["*"],
        keys: &[
            free_must("profiles.NAME.example.type", "string", "Its type."),
            free_must("profiles.NAME.example.data", "string", "Its data, as JSON."),
            free(
                "profiles.NAME.example.metadata",
                "string",
                "Its metadata, as JSON.",
            ),
            free("profiles.NAME.example.scope", "string", "Its scope."),
            free(
                "profiles.NAME.example.id",
                "string",
                "Its id; a new one each time if left out.",
            ),
            free(
                "profiles.NAME.example.created_at",
                "RFC 3339 time",
                "When it happened; now if left out.",
            ),
        ],
    },
    Section {
        title: "`[formats.NAME]`",
        about: "A body that a webhook asks for by name instead of its profile's envelope. 200 at most.",
        reload: &["*"],
        keys: &[
            free_must(
                "formats.NAME.body",
                "string",
                "A template, as a profile's `body`.",
            ),
            free(
                "formats.NAME.content_type",
                "string",
                "The body's content type; `application/json` if left out.",
            ),
            free(
                "formats.NAME.hosts",
                "list of strings",
                "Hosts that take this format: who registers one without it is given a hint.",
            ),
        ],
    },
];
