//! The dashboard's files, as they lie beside this one, with the paths they are served at.

/// A file that is served.
pub(super) struct File {
    pub(super) path: &'static str,
    /// Its `Content-Type`.
    pub(super) kind: &'static str,
    pub(super) bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of `assets/` under its own name.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        File {
            path: concat!("/ui/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!("assets/", $name)),
        }
    };
}

/// What is shown where there is no such file.
pub(super) static MISSING: File = File {
    path: "",
    kind: HTML,
    bytes: include_bytes!("assets/404.html"),
};

/// All that can be asked for.
pub(super) static FILES: &[File] = &[
    File {
        path: "/ui/",
        kind: HTML,
        bytes: include_bytes!("assets/index.html"),
    },
    file!("api.html", HTML),
    file!("base.css", CSS),
    file!("frame.css", CSS),
    file!("parts.css", CSS),
    file!("reference.css", CSS),
    file!("forms.css", CSS),
    file!("icon.svg", SVG),
    file!("actions.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("attempt.js", SCRIPT),
    file!("audit.js", SCRIPT),
    file!("contract.js", SCRIPT),
    file!("curl.js", SCRIPT),
    file!("declared.js", SCRIPT),
    file!("delivery.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("events.js", SCRIPT),
    file!("filter.js", SCRIPT),
    file!("form.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("jobs.js", SCRIPT),
    file!("json.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("overview.js", SCRIPT),
    file!("reference.js", SCRIPT),
    file!("replay.js", SCRIPT),
    file!("schema.js", SCRIPT),
    file!("scheme.js", SCRIPT),
    file!("secret.js", SCRIPT),
    file!("session.js", SCRIPT),
    file!("sign-in.js", SCRIPT),
    file!("theme.js", SCRIPT),
    file!("verifier.js", SCRIPT),
    file!("webhook.js", SCRIPT),
    file!("widgets.js", SCRIPT),
];
