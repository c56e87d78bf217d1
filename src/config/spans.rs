//! `[telemetry]`: where spans of traced events go to, in builds that can send them.

use std::path::Path;

use url::{Host, Url};

use crate::telemetry::spans::ExportOptions;

use super::egress::{EXTRA_CA_MAX, authorities};
use super::reader::Reader;
use super::values::Refusal;

const FORM: &str =
    "write \"https://HOST:PORT\", or \"http://127.0.0.1:4318\" for a collector on this machine";

/// Reads the section; none where no endpoint is set.
pub(super) fn read(mut reader: Reader<'_, '_>, base: &Path) -> Option<ExportOptions> {
    let endpoint = reader.text("otlp_endpoint");
    let paths = reader.texts("otlp_ca");
    let lonely = paths.first().filter(|_| endpoint.is_none()).cloned();
    let extra_ca = authorities(&mut reader, base, paths, EXTRA_CA_MAX);
    if let Some(lonely) = lonely {
        let fix = "add otlp_endpoint = \"https://…\", or remove this line";
        reader.refuse(&lonely, "is of no use without an endpoint", fix);
    }
    let found = endpoint.and_then(|endpoint| {
        if !cfg!(feature = "otlp") {
            let fix = "build Hookwheel with `--features otlp`, or remove the line";
            reader.refuse(&endpoint, "this build of Hookwheel sends no spans", fix);
            return None;
        }
        let parsed = parse(&endpoint.value);
        reader.checked(&endpoint, parsed)
    });
    reader.finish();
    found.map(|options| ExportOptions {
        extra_ca,
        ..options
    })
}

/// Reads an endpoint as `OTEL_EXPORTER_OTLP_ENDPOINT` is read: the path of traces is added to it.
fn parse(text: &str) -> Result<ExportOptions, Refusal> {
    let url =
        Url::parse(text).map_err(|error| Refusal::new(format!("is no URL: {error}"), FORM))?;
    let is_tls = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(Refusal::new("is of a kind that is not known here", FORM)),
    };
    let is_bare = url.username().is_empty() && url.password().is_none();
    if !is_bare || url.query().is_some() || url.fragment().is_some() {
        return Err(Refusal::new(
            "has more than a host, a port and a path",
            FORM,
        ));
    }
    let (host, is_here) = match url.host() {
        Some(Host::Domain(name)) => (name.to_owned(), name == "localhost"),
        Some(Host::Ipv4(address)) => (address.to_string(), address.is_loopback()),
        Some(Host::Ipv6(address)) => (address.to_string(), address.is_loopback()),
        None => return Err(Refusal::new("has no host", FORM)),
    };
    if !is_tls && !is_here {
        let problem = "is plain HTTP to another machine, and spans tell who is sent what";
        return Err(Refusal::new(problem, FORM));
    }
    Ok(ExportOptions {
        host,
        port: url.port_or_known_default().unwrap_or(4318),
        is_tls,
        path: format!("{}/v1/traces", url.path().trim_end_matches('/')),
        extra_ca: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_or_on_this_machine() {
        for (text, host, port, path) in [
            ("http://127.0.0.1:4318", "127.0.0.1", 4318, "/v1/traces"),
            ("http://[::1]:4318/", "::1", 4318, "/v1/traces"),
            (
                "https://otel.example/base/",
                "otel.example",
                443,
                "/base/v1/traces",
            ),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(
                (&*read.host, read.port, &*read.path),
                (host, port, path),
                "{text}"
            );
        }
        for text in [
            "otel.example:4318",
            "http://otel.example:4318",
            "grpc://127.0.0.1:4317",
            "https://user@otel.example",
            "https://otel.example/?a=b",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
