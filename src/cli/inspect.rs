//! The arguments of `listen` and `verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Access;
use crate::model::{Secret, parse_duration};

/// An answer is put off by this at most: no sender waits longer for one.
const DELAY_MAX: Duration = Duration::from_secs(10 * 60);

const LISTEN_EXAMPLES: &str = "\
Examples:
  hookwheel listen --register                   register here, show what comes
  hookwheel listen --register --events 'user.*' --fail 2
  hookwheel listen --profile standard --secret-file hook.secret
  hookwheel listen --once 1 --json --secret-file hook.secret   for scripts";

const LISTEN_HELP: &str = "\
With --register the daemon's API is asked to register a webhook that leads
here, and to remove it at the end (Ctrl-C, SIGTERM, --once). Profile and secret
are those of the answer. The daemon must run on this machine, allow its address
and trust the local CA: `hookwheel init --local` writes such a config.

Without --register, the secret is that of one webhook, as its registration
showed it: --secret-file FILE (one newline at the end is not part of it), the
variable HOOKWHEEL_SECRET, or --secret, which others on this machine can see.
Without one, requests are shown but not checked.

What verifies, or is not checked, is answered with --status; what does not
verify with 401, as receivers do.

Exit codes: 0 done, and with --once each request verified; 1 failed, or one did
not verify; 64 something that was given cannot be used.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  hookwheel verify --profile standard --secret-file hook.secret \\
    --request kept.http --at 2026-01-31T12:00:00Z
  hookwheel verify --profile standard --secret-file hook.secret \\
    --body body.json --header 'webhook-id: evt_1' \\
    --header 'webhook-timestamp: 1614265330' \\
    --header 'webhook-signature: v1,…'";

const VERIFY_HELP: &str = "\
The secret is read from --secret-file FILE, from standard input with
--secret-file -, or from the variable HOOKWHEEL_SECRET; never from an argument,
which others on this machine could see. One newline at its end is not part of
it. The body is taken to the byte, from --body FILE, or from standard input
where there is neither --body nor --request; standard input can be one of the
two only.

Exit codes: 0 the signature verifies; 1 it does not, and why is told; 64
something that was given cannot be used.";

/// How the local receiver behaves.
#[derive(Debug, Args)]
#[command(before_help = LISTEN_EXAMPLES, after_help = LISTEN_HELP)]
pub struct ListenOptions {
    /// Register a webhook that leads here, with the API, and remove it at the end.
    #[arg(long, conflicts_with_all = ["secret", "secret_file", "profile"])]
    pub register: bool,
    /// The types of events to register for, such as user.created or user.*;
    /// several with a comma between, or by several --events [default: all].
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "register",
        value_delimiter = ','
    )]
    pub events: Vec<String>,
    /// The port on 127.0.0.1; 0: any free one [default: 9443; with --register any
    /// free one where that is taken].
    #[arg(long)]
    pub port: Option<u16>,
    /// The profile that the requests follow: a built-in one, or one of the config's
    /// [default: standard].
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The secret itself.
    #[arg(long, value_name = "SECRET", value_parser = secret, conflicts_with = "secret_file")]
    pub secret: Option<Secret>,
    /// A file that holds the secret.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// A config that defines the profile; with --register the daemon's, which says
    /// where its API is, too [default there: HOOKWHEEL_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The status code that is answered, 200 to 599.
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// Answer 503 to the first N requests of each event.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fail: u32,
    /// Answer 503 to each K-th request.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub fail_every: Option<u64>,
    /// Wait before each answer, such as 250ms or 5s; 10m at most [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub delay: Option<Duration>,
    /// Where the CA is kept [default: hookwheel below $XDG_STATE_HOME or
    /// ~/.local/state].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// End after N requests; exit code 0 only if each of them verified.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub once: Option<u64>,
    /// Where the API is, and the key. Last, as it has a heading of its own.
    #[command(flatten)]
    pub api: Access,
}

/// What is verified.
#[derive(Debug, Args)]
#[command(before_help = VERIFY_EXAMPLES, after_help = VERIFY_HELP)]
pub struct VerifyOptions {
    /// The profile that the request follows: a built-in one, or one of the config's.
    #[arg(long, value_name = "NAME")]
    pub profile: String,
    /// A file that holds the secret; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// One of the request's headers, `Name: value`. Can be given many times.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    pub headers: Vec<String>,
    /// A file with the request's body; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    pub body: Option<PathBuf>,
    /// A file with the whole request as it came (HTTP/1.1: request line, headers,
    /// empty line, body).
    #[arg(long, value_name = "FILE", conflicts_with = "headers")]
    pub request: Option<PathBuf>,
    /// When the request came: RFC 3339, or seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A config that defines the profile.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub json: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a value parser")]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text.to_owned()))
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay = parse_duration(text).map_err(|error| error.to_string())?;
    if delay > DELAY_MAX {
        return Err("wait 10m at most".to_owned());
    }
    Ok(delay)
}
