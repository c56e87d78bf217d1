//! `verify`: verdicts, exit codes, and where secret and body come from.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;

use super::SECRET;
use crate::support::hookwheel;

/// The published example of Standard Webhooks.
const AT: &str = "1614265330";
const BODY: &str = r#"{"test": 2432232314}"#;
const HEADERS: [&str; 3] = [
    "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
    "Webhook-Timestamp:1614265330",
    "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
];

struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        files.put("secret", &format!("{SECRET}\n"));
        files.put("body", BODY);
        files
    }

    /// Files that are no requests, besides.
    fn unusable() -> Self {
        let files = Self::new();
        let line = "POST / HTTP/1.1\r\n";
        files.put("cut", &format!("{line}content-length: 21\r\n\r\n{BODY}"));
        files.put(
            "chunked",
            &format!("{line}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        );
        files.put("headless", BODY);
        files.put("empty", "");
        files
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs `verify` here with these arguments and headers, this on standard input, and this secret in the
    /// environment.
    fn run(&self, arguments: &str, headers: &[&str], input: &str, secret: Option<&str>) -> Output {
        let mut command = hookwheel();
        command.arg("verify").args(arguments.split(' '));
        if !arguments.contains("--profile") {
            command.args(["--profile", "standard"]);
        }
        for header in headers {
            command.args(["--header", header]);
        }
        match secret {
            Some(secret) => command.env("HOOKWHEEL_SECRET", secret),
            None => command.env_remove("HOOKWHEEL_SECRET"),
        };
        let mut child = command
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that is refused ends without reading; then the pipe is closed already.
        if let Err(error) = child.stdin.take().unwrap().write_all(input.as_bytes()) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        child.wait_with_output().unwrap()
    }
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

/// HMAC-SHA256 in lower-case hexadecimal.
fn hex_hmac(key: &[u8], text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    let digest = mac.chain_update(text).finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_published_example_verifies_from_every_source() {
    let files = Files::new();
    let length = BODY.len();
    let head = HEADERS.join("\r\n");
    let request = format!(
        "POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{head}\r\n\r\n{BODY}"
    );
    files.put("kept", &format!("{request}\n"));
    files.put("edited", &request.replace('\r', ""));
    let given = &HEADERS[..];
    for (arguments, headers, input, secret) in [
        ("--secret-file secret --body body", given, "", None),
        ("--secret-file secret", given, BODY, None),
        ("--secret-file secret --body -", given, BODY, None),
        ("--secret-file - --body body", given, SECRET, None),
        ("--body body", given, "", Some(SECRET)),
        ("--secret-file secret --request kept", &[], "", None),
        ("--secret-file secret --request edited", &[], "", None),
        ("--secret-file secret --request -", &[], &request, None),
    ] {
        for at in [AT, "2021-02-25T16:02:10+01:00"] {
            let arguments = format!("{arguments} --at {at}");
            let output = files.run(&arguments, headers, input, secret);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(0), "{arguments}: {text}");
            let signed = "verified, signed at 2021-02-25T15:02:10Z";
            assert!(text.starts_with(signed), "{text}");
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

#[test]
fn what_does_not_verify_says_why_and_ends_with_1() {
    let files = Files::new();
    files.put("other", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n");
    files.put("bare", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    files.put("altered", &BODY.replace('3', "4"));
    files.put("compact", r#"{"n":1}"#);
    files.put("pretty", "{\n  \"n\": 1\n}\n");
    let header = |key: &[u8]| format!("X-DriftGuard-Signature: {}", hex_hmac(key, r#"{"n":1}"#));
    let key = BASE64.decode(&SECRET["whsec_".len()..]).unwrap();
    let (decoded, proper) = (header(&key), header(SECRET.as_bytes()));
    let given = &HEADERS[..];
    for (arguments, headers, code) in [
        ("--secret-file secret --body body", given, "timestamp_stale"),
        (
            "--secret-file other --body body --at 1614265330",
            given,
            "mismatch",
        ),
        (
            "--secret-file bare --body body --at 1614265330",
            given,
            "secret_malformed",
        ),
        (
            "--secret-file secret --body altered --at 1614265330",
            given,
            "mismatch",
        ),
        (
            "--secret-file secret --body body --at 1614265330",
            &given[..2],
            "header_missing",
        ),
        (
            "--secret-file secret --body compact --profile driftguard",
            &[&decoded],
            "key_form",
        ),
        (
            "--secret-file secret --body pretty --profile driftguard",
            &[&proper],
            "body_changed",
        ),
    ] {
        let output = files.run(arguments, headers, "", None);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("NOT verified: "), "{text}");
        assert!(text.contains("What to do: "), "{text}");
        let output = files.run(&format!("{arguments} --json"), headers, "", None);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict["verified"], false);
        assert_eq!(verdict["code"], code, "{verdict}");
    }
}

#[test]
fn what_cannot_be_used_ends_with_64() {
    let files = Files::unusable();
    for (arguments, headers, reason) in [
        ("--body body", &[][..], "there is no secret"),
        (
            "--secret-file no --body body",
            &[],
            "cannot be read from no",
        ),
        ("--secret-file empty --body body", &[], "is empty"),
        ("--secret-file -", &[], "standard input cannot be"),
        (
            "--secret-file secret --body no",
            &[],
            "cannot be read from no",
        ),
        ("--secret-file secret --request cut", &[], "cut off"),
        (
            "--secret-file secret --request chunked",
            &[],
            "transfer encoding",
        ),
        (
            "--secret-file secret --request headless",
            &[],
            "no empty line",
        ),
        (
            "--secret-file secret --request cut --body body",
            &[],
            "cannot be used",
        ),
        (
            "--secret-file secret --body body",
            &["webhook-id"],
            "without a colon",
        ),
        (
            "--secret-file secret --body body",
            &["web hook: a"],
            "is not a header's name",
        ),
        (
            "--secret-file secret --body body --at noon",
            &[],
            "`noon` is no time",
        ),
        (
            "--secret-file secret --body body --profile p",
            &[],
            "no profile is called `p`",
        ),
        ("--secret abc --body body", &[], "--secret"),
    ] {
        let output = files.run(arguments, headers, "", None);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(reason),
            "{arguments}: {}",
            said(&output)
        );
        assert!(output.stdout.is_empty());
    }
}
