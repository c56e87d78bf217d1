//! `hookwheel verify`: judges a request that was kept, without a network.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;

use super::capture::{self, Captured};
use super::show::Printer;
use super::{Usage, profile, read, secret};
use crate::cli::inspect::VerifyOptions;
use crate::model::{Clock, UnixMillis};
use crate::verify::{Verified, VerifyError, verify as judge};

/// The largest body that a profile's template may write.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

/// Judges a request. The exit code is 0 where it verifies, 1 where it does not, and 64 where what was given cannot
/// be used.
#[must_use]
pub fn verify(options: &VerifyOptions) -> ExitCode {
    match judged(options) {
        Ok(code) => code,
        Err(usage) => usage.tell("verify", options.json),
    }
}

fn judged(options: &VerifyOptions) -> Result<ExitCode, Usage> {
    let profile = profile(&options.profile, options.config.as_deref())?;
    let now = match &options.at {
        Some(text) => instant(text)?,
        None => Clock::system().wall(),
    };
    let secret_file = options.secret_file.as_deref();
    if secret_file == Some(Path::new("-")) && reads_stdin(options) {
        return Err(Usage(
            "standard input cannot be the secret and the request; give one of them as a file"
                .to_owned(),
        ));
    }
    let secret = secret(secret_file)?.ok_or_else(|| {
        Usage("there is no secret; give --secret-file FILE, or set HOOKWHEEL_SECRET".to_owned())
    })?;
    let captured = captured(options)?;
    let verdict = judge(
        &profile,
        secret.expose(),
        &captured.headers,
        &captured.body,
        now,
    );
    let mut out = Printer::stdout(options.json);
    let told = if options.json {
        out.json(&as_json(&profile.name, &verdict))
    } else {
        tell(&mut out, &verdict, &captured)
    };
    // Whoever closed the output has the exit code all the same.
    if let Err(error) = told {
        tracing::debug!(%error, "standard output is closed");
    }
    Ok(match verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Whether the request, or its body, comes from standard input.
fn reads_stdin(options: &VerifyOptions) -> bool {
    let stdin = Path::new("-");
    match (&options.request, &options.body) {
        (Some(path), _) | (None, Some(path)) => path == stdin,
        (None, None) => true,
    }
}

fn captured(options: &VerifyOptions) -> Result<Captured, Usage> {
    if let Some(path) = &options.request {
        return capture::request(&read(path, REQUEST_BYTES_MAX, "the request")?);
    }
    let headers = capture::headers(options.headers.iter().map(String::as_str))?;
    let body = options.body.as_deref().unwrap_or(Path::new("-"));
    Ok(Captured {
        headers,
        body: read(body, REQUEST_BYTES_MAX, "the body")?,
        left_over: 0,
    })
}

/// Reads a time: RFC 3339, or seconds since 1970.
pub(super) fn instant(text: &str) -> Result<UnixMillis, Usage> {
    let refused = || {
        Usage(format!(
            "`{}` is no time; write RFC 3339 (2026-01-31T12:00:00Z) or seconds since 1970 (1769860800)",
            text.escape_debug()
        ))
    };
    if let Ok(seconds) = text.parse::<u64>() {
        let millis = seconds.checked_mul(1000).ok_or_else(refused)?;
        return Ok(UnixMillis(millis));
    }
    let at: Timestamp = text.parse().map_err(|_| refused())?;
    let millis = u64::try_from(at.as_millisecond()).map_err(|_| refused())?;
    Ok(UnixMillis(millis))
}

fn tell(
    out: &mut Printer,
    verdict: &Result<Verified, VerifyError>,
    captured: &Captured,
) -> std::io::Result<()> {
    match verdict {
        Ok(verified) => out.good(&super::show::praise(verified))?,
        Err(why) => {
            out.bad(&format!("NOT verified: {why}"))?;
            out.line(&format!("What to do: {}", why.remedy()))?;
        }
    }
    match captured.left_over {
        0 => Ok(()),
        count => out.line(&format!(
            "({count} bytes stand behind the body's content-length and were left out)"
        )),
    }
}

fn as_json(profile: &str, verdict: &Result<Verified, VerifyError>) -> serde_json::Value {
    match verdict {
        Ok(verified) => json!({
            "verified": true, "profile": profile, "timestamp": verified.timestamp_s, "id": verified.id,
        }),
        Err(why) => json!({
            "verified": false, "profile": profile, "code": why.code(), "why": why.to_string(),
            "fix": why.remedy(),
        }),
    }
}
