//! What each key of the config does, in words, in the order in which the reference shows them.
//!
//! Types, defaults and ranges do not stand here: the reader tells them. Profiles and formats, which other modules read,
//! are in `contracts.rs`.

/// A section of the reference.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    /// The keys, by their last name, that a running daemon takes over; `*` is all of them.
    pub(super) reload: &'static [&'static str],
    pub(super) keys: &'static [Words],
}

/// One key.
pub(super) struct Words {
    /// Its path, `[]` for a place in a list.
    pub(super) path: &'static str,
    pub(super) what: &'static str,
    /// The kind of value, where the reader does not tell it.
    pub(super) kind: &'static str,
    pub(super) required: bool,
}

const fn key(path: &'static str, what: &'static str) -> Words {
    Words {
        path,
        what,
        kind: "",
        required: false,
    }
}

const fn must(path: &'static str, what: &'static str) -> Words {
    Words {
        path,
        what,
        kind: "",
        required: true,
    }
}

pub(super) const HEAD: &str = "\
# The config

Every key, as the code reads it; this page is made from it. `config.example.toml` shows all of them in one file with
more reasons, and `hookwheel check` reports every mistake in a config at once, with line, column and fix.

The least that works is one `[[accounts]]` table with one `[[accounts.keys]]` table; `hookwheel init` writes it.

- A *size* is written `\"512B\"`, `\"256KiB\"`, `\"64MiB\"`, `\"20GiB\"`, `\"1TiB\"`; a *duration* `\"250ms\"`, `\"5s\"`, `\"2m\"`,
  `\"1h\"`, `\"30d\"`. Both need their unit.
- Relative paths are taken from the config file's directory.
- *On reload*: a running daemon takes the change over on SIGHUP (`systemctl reload hookwheel`). *On restart*: only a
  new start does; a reload says so in the log. A config with errors changes nothing.
- Every key of `[server]`, `[storage]`, `[delivery]`, `[egress]`, `[secrets]`, `[alerts]`, `[metrics]`, `[telemetry]` and `[log]` can be overridden
  from the environment, two underscores between the levels: `HOOKWHEEL_SERVER__LISTEN=0.0.0.0:8420`. The value is read
  as TOML, or as a plain text where it is none. `[egress.tls.NAME]`, accounts, webhooks, profiles and formats cannot.
";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "`[server]`",
        about: "The HTTP API.",
        reload: &[],
        keys: &[
            key(
                "server.listen",
                "Address and port. Beyond this machine use `[server.tls]`, or a proxy that ends TLS.",
            ),
            key(
                "server.body_limit",
                "The largest body of a request; an event above it is answered with 413.",
            ),
            key(
                "server.body_memory",
                "The bodies of all requests under way; beyond that 503. One account has half of it.",
            ),
            key(
                "server.answer_memory",
                "Answers over 16 KiB that clients have not taken yet; beyond that 503. One account has half of it.",
            ),
            key(
                "server.connections_max",
                "Connections open at once. Beyond that the client that keeps the daemon waiting longest gives way.",
            ),
            key(
                "server.header_timeout",
                "How long a client may take for a request's header, and for a TLS handshake.",
            ),
            key(
                "server.body_timeout",
                "How long a client may take for a request's body, and take nothing of its answer.",
            ),
            key(
                "server.body_rate_min",
                "Bytes a second that a body must come with, after its first 5 s; `\"0B\"` for any.",
            ),
            key(
                "server.answer_rate_min",
                "Bytes a second that an answer must be taken with, after `body_timeout`; `\"0B\"` for any.",
            ),
            key(
                "server.dashboard",
                "Whether the dashboard is served at `/ui/`. Where it is not, `/ui/` and `/` are answered with 404.",
            ),
        ],
    },
    Section {
        title: "`[server.tls]`",
        about: "With this table the API speaks TLS 1.2 and 1.3. The files are read again on reload; whether the table is there \
                needs a restart.",
        reload: &["*"],
        keys: &[
            must(
                "server.tls.certificate",
                "PEM file: the server's certificate first, then those between it and its authority.",
            ),
            must(
                "server.tls.key",
                "PEM file with its private key, without a pass phrase.",
            ),
            key(
                "server.tls.client_ca",
                "PEM files. With them only clients with a certificate of these authorities are let in.",
            ),
        ],
    },
    Section {
        title: "`[storage]`",
        about: "The data directory, and how much history it keeps.",
        reload: &[],
        keys: &[
            key(
                "storage.path",
                "The data directory, on a local disk. One process at a time.",
            ),
            key(
                "storage.retention_age",
                "Events and the delivery log are deleted when they are older.",
            ),
            key(
                "storage.retention_size",
                "The oldest ones are deleted when all are larger; two segments at least. What waits is kept.",
            ),
            key(
                "storage.disk_reserve",
                "With less free disk events are answered with 507; deliveries go on.",
            ),
            key(
                "storage.segment_size",
                "History is written and deleted in files of this size; four times `body_limit` at least.",
            ),
            key(
                "storage.cache",
                "Memory for the index of what waits. A large backlog may take some times as much.",
            ),
        ],
    },
    Section {
        title: "`[delivery]`",
        about: "How attempts are made.",
        reload: &[],
        keys: &[
            key(
                "delivery.in_flight_max",
                "Attempts under way at once, over all webhooks.",
            ),
            key(
                "delivery.in_flight_per_webhook_max",
                "Attempts under way at once for one webhook, `in_flight_max` at most. One that fails or is slow gets fewer.",
            ),
            key(
                "delivery.response_body_max",
                "How much of a receiver's answer is kept in the delivery log.",
            ),
            key(
                "delivery.stop_grace",
                "How long attempts may go on after a stop was asked for; what is cut off is sent again after the start.",
            ),
            key(
                "delivery.resume_per_second",
                "Attempts a second for a webhook that was held and catches up; 0 for no limit.",
            ),
            key(
                "delivery.idle_connections_per_host",
                "Idle connections kept open to one host.",
            ),
            key(
                "delivery.idle_timeout",
                "How long an idle connection is kept.",
            ),
            key(
                "delivery.forward_trace",
                "Whether the trace that an event was posted with (`traceparent`, `tracestate`) goes on to the receivers.",
            ),
        ],
    },
    Section {
        title: "`[egress]`",
        about: "Where requests may go, which way, and whom they trust there. Certificates are always verified.",
        reload: &[],
        keys: &[
            key(
                "egress.allow",
                "Ranges of private or loopback addresses that webhooks may lead to, such as `\"10.20.0.0/16\"`; 1,024 at most. Link-local, multicast, reserved and metadata addresses cannot be allowed.",
            ),
            key(
                "egress.deny",
                "Ranges that are refused even so, public ones too; it wins over `allow`.",
            ),
            key(
                "egress.extra_ca",
                "PEM files with authorities that are trusted besides the system's; 64 at most.",
            ),
            key(
                "egress.resolver",
                "`\"built-in\"` asks the servers of /etc/resolv.conf, after /etc/hosts; `\"system\"` asks the C library.",
            ),
            key(
                "egress.proxy",
                "A proxy that requests go through: `\"http://HOST:PORT\"` (CONNECT) or `\"socks5://HOST:PORT\"`.",
            ),
            key("egress.proxy_user", "Who we are to the proxy."),
            key(
                "egress.proxy_password_file",
                "A file with the password, one line.",
            ),
            key(
                "egress.proxy_bypass",
                "Ranges, names, and all names below one (`\".corp.example\"`) that are dialled directly.",
            ),
            key(
                "egress.proxy_resolves_names",
                "Names are given to the proxy as they are; the guard for names is then its own.",
            ),
        ],
    },
    Section {
        title: "`[egress.tls.NAME]`",
        about: "What webhooks can name as their `tls`: a client certificate, authorities of its own, or both. 256 names at most.",
        reload: &["*"],
        keys: &[
            key(
                "egress.tls[].certificate",
                "PEM file: the client's certificate, and those between it and its authority.",
            ),
            key(
                "egress.tls[].key",
                "PEM file with its private key, without a pass phrase.",
            ),
            key(
                "egress.tls[].ca",
                "PEM files; if given, only these authorities are trusted under this name.",
            ),
            key("egress.tls[].accounts", "Whose webhooks may name it."),
        ],
    },
    Section {
        title: "`[secrets]`",
        about: "With a master key the webhooks' secrets and the values of their headers are sealed on disk.",
        reload: &["*"],
        keys: &[
            key(
                "secrets.key_file",
                "The file with the master key; `hookwheel key master --out FILE` makes it. Without the key what is sealed is lost.",
            ),
            key(
                "secrets.old_key_files",
                "The keys before it, until all is sealed with the new one; the log says when that is. Eight at most.",
            ),
        ],
    },
    Section {
        title: "`[alerts]`",
        about: "Operational events: what happens to webhooks, told to the webhooks of one account.",
        reload: &["*"],
        keys: &[
            key(
                "alerts.account",
                "The account that gets them; without it there are log lines only.",
            ),
            key(
                "alerts.backlog_high",
                "More waiting deliveries of one webhook than this are told; 0: never.",
            ),
        ],
    },
    Section {
        title: "`[metrics]`",
        about: "Who may read `/metrics`, and which webhooks it names.",
        reload: &["hash"],
        keys: &[
            key(
                "metrics.hash",
                "`\"sha256:\"` and the SHA-256 of a key that `/metrics` asks for; a list of two while one key takes the other's place. Without it everybody may read who reaches the port.",
            ),
            key(
                "metrics.webhooks_max",
                "So many webhooks have series of their own: those with most trouble and traffic. None where everybody on the network may read.",
            ),
        ],
    },
    Section {
        title: "`[telemetry]`",
        about: "Spans of traced events, in builds with the feature `otlp`.",
        reload: &[],
        keys: &[
            key(
                "telemetry.otlp_endpoint",
                "An OpenTelemetry collector that speaks OTLP over HTTP; plain HTTP to this machine only.",
            ),
            key(
                "telemetry.otlp_ca",
                "PEM files with authorities that are trusted for that besides the system's.",
            ),
        ],
    },
    Section {
        title: "`[log]`",
        about: "The log, on standard error.",
        reload: &["level"],
        keys: &[
            key(
                "log.level",
                "error, warn, info, debug, trace or off, and if need be levels of modules: `\"info,hookwheel::sender=debug\"`.",
            ),
            key("log.format", "For people, or one JSON object a line."),
        ],
    },
    Section {
        title: "`[[accounts]]`",
        about: "A tenant: it sees only its own webhooks and events. At least one.",
        reload: &["*"],
        keys: &[
            must(
                "accounts[].name",
                "1 to 64 characters of a-z, 0-9, `_` and `-`. Data belong to the name: it cannot be changed later.",
            ),
            key(
                "accounts[].profile",
                "How requests look to the receivers: a built-in profile or one defined below; `\"standard\"` if left out.",
            ),
        ],
    },
    Section {
        title: "`[[accounts.keys]]`",
        about: "The account's API keys; at least one. `hookwheel key new` makes a key and these lines. Either `hash` or `file` \
                must be given.",
        reload: &["*"],
        keys: &[
            must(
                "accounts[].keys[].name",
                "What the log and the audit trail call the key; 1 to 64 characters.",
            ),
            key(
                "accounts[].keys[].hash",
                "`\"sha256:\"` and the SHA-256 of the key as lower-case hexadecimal digits; a list of two while one key takes the other's place.",
            ),
            key(
                "accounts[].keys[].file",
                "A file that holds the key itself, or a list of two; read again on reload.",
            ),
            key(
                "accounts[].keys[].scopes",
                "Some of `\"admin\"` (registers and changes webhooks), `\"send\"` (posts events), `\"read\"`.",
            ),
            key(
                "accounts[].keys[].requests_per_minute",
                "Calls in a minute, all but those that post events; no limit if left out.",
            ),
            key(
                "accounts[].keys[].events_per_second",
                "Events in a second; a batch counts its events. No limit if left out.",
            ),
        ],
    },
    Section {
        title: "`[[webhooks]]`",
        about: "Webhooks that the config declares (`docs/declared.md`). Besides these keys an entry takes the profile's own \
                name for the scope. Secrets stand in files.",
        reload: &["*"],
        keys: &[
            must(
                "webhooks[].account",
                "Whose it is: one of the accounts above.",
            ),
            must(
                "webhooks[].name",
                "What it is known by, unique in its account: 1 to 64 characters of a-z, 0-9, `_`, `-` and `.`.",
            ),
            must("webhooks[].url", "Where to send; https only."),
            key(
                "webhooks[].events",
                "Types, or beginnings of types (`\"user.*\"`); all if left out, where the profile lets.",
            ),
            key("webhooks[].scope", "Only events of this scope."),
            key(
                "webhooks[].secret_file",
                "A file with the signing secret (`hookwheel key secret`); must be given where the profile signs. Another text rotates it.",
            ),
            key(
                "webhooks[].active",
                "`true` sends, `false` holds; left out, the API has the word.",
            ),
            key("webhooks[].description", "Words for people."),
            key(
                "webhooks[].filter",
                "An event pattern; only events that fit it are sent.",
            ),
            key(
                "webhooks[].format",
                "Bodies in this format instead of the profile's envelope.",
            ),
            key(
                "webhooks[].order",
                "`\"none\"`, `\"fifo\"`, or `{ key = \"/customer/id\" }`.",
            ),
            key("webhooks[].tls", "The TLS settings of `[egress.tls.NAME]`."),
            key(
                "webhooks[].headers",
                "Further headers; a value may be `{ value_file = \"…\" }`.",
            ),
            key(
                "webhooks[].bearer_token_file",
                "A file with a token for `Authorization: Bearer`.",
            ),
            key(
                "webhooks[].api_key_file",
                "A file with a key for `X-API-Key`, or `api_key_header`.",
            ),
            key("webhooks[].api_key_header", "The header of `api_key_file`."),
            key("webhooks[].auth_header", "The header of `auth_value_file`."),
            key(
                "webhooks[].auth_value_file",
                "A file with the value of `auth_header`.",
            ),
            key(
                "webhooks[].oauth2",
                "`token_url`, `client_id`, `client_secret_file`; also `scope`, `audience`, `client_auth`.",
            ),
            key("webhooks[].timeout", "Instead of the profile's."),
            key("webhooks[].retry", "A schedule of its own, as in the API."),
            key("webhooks[].max_retries", "A part of such a schedule."),
            key("webhooks[].retry_delay", "A part of such a schedule."),
            key("webhooks[].retry_backoff", "A part of such a schedule."),
        ],
    },
];
