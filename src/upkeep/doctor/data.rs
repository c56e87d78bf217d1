//! The store: who holds it, whether its format and its newest records read, what was set aside, and the registry.
//!
//! The registered webhooks are read from the journal, as sled belongs to the daemon while it runs.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Method;
use tokio::net::{TcpListener, TcpStream};

use super::Check;
use crate::cli::client::Client;
use crate::config::Config;
use crate::model::{Position, UnixMillis, Webhook};
use crate::store::{self, RegistryFound, Repair, Survey};

/// A daemon answers at once, or is in trouble.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Makes the checks; gives the registered webhooks and the time of the newest record.
pub(super) async fn checks(
    config: &Config,
    running: bool,
    checks: &mut Vec<Check>,
) -> (Vec<Webhook>, Option<UnixMillis>) {
    checks.push(daemon(config, running).await);
    if !running {
        checks.push(port(config.server.listen).await);
    }
    let path = &config.storage.path;
    if !path.join("journal").is_dir() {
        checks.push(Check::ok("store", "there is none yet"));
        return (Vec::new(), None);
    }
    if let Err(error) = store::check_versions(path) {
        let remedy = "the daemon would refuse it, too";
        checks.push(Check::fail("format", error.to_string(), remedy));
        return (Vec::new(), None);
    }
    checks.push(Check::ok("format", "of this version"));
    let (webhooks, survey) = match store::registered(path) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "look at the disk's health; hookwheel repair tells more";
            checks.push(Check::fail("journal", error.to_string(), remedy));
            return (Vec::new(), None);
        }
    };
    checks.push(journal(&survey, running));
    checks.push(set_aside(config));
    if running {
        checks.push(Check::ok("registry", "the running daemon's; not looked at"));
    } else if let Some(end) = survey.end {
        checks.push(registry(config, end));
    }
    (webhooks, survey.newest)
}

/// Whether a daemon could listen where the config has it. Nothing is said to whoever does already.
async fn port(address: SocketAddr) -> Check {
    let taken = match TcpListener::bind(address).await {
        Ok(_) if address.port() == 0 => return Check::ok("listen", "any free port"),
        Ok(_) => return Check::ok("listen", format!("{address} is free")),
        Err(error) => error,
    };
    let remedy = match taken.kind() {
        ErrorKind::AddrInUse => "stop what listens there, or set another server.listen",
        ErrorKind::AddrNotAvailable => "set server.listen to an address of this machine",
        ErrorKind::PermissionDenied => "run doctor as the daemon's user, or take a port above 1023",
        _ => "set another server.listen",
    };
    Check::fail(
        "listen",
        format!("{address} cannot be used: {taken}"),
        remedy,
    )
}

async fn daemon(config: &Config, running: bool) -> Check {
    if !running {
        return Check::ok("daemon", "none runs on this data");
    }
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if address.port() == 0 {
        return Check::ok(
            "daemon",
            "it runs, at a port that the config leaves open: not asked",
        );
    }
    if config.identity.is_some() {
        return listens(address).await;
    }
    match tokio::time::timeout(ANSWER_MAX, ready(address)).await {
        Ok(Ok(())) => Check::ok(
            "daemon",
            format!("it runs, and http://{address}/readyz says ready"),
        ),
        Ok(Err(why)) => Check::fail(
            "daemon",
            format!("something holds the data, but is not ready: {why}"),
            "look at the daemon's log",
        ),
        Err(_) => Check::fail(
            "daemon",
            format!("it does not answer at http://{address}/readyz"),
            "look at the daemon's log",
        ),
    }
}

/// Of a daemon that speaks TLS: by which name it is known, and to which clients, is not in its config.
async fn listens(address: SocketAddr) -> Check {
    match tokio::time::timeout(ANSWER_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Check::ok(
            "daemon",
            format!(
                "it runs, and takes connections with TLS at {address}; whether it is ready was not asked"
            ),
        ),
        Ok(Err(_)) | Err(_) => Check::fail(
            "daemon",
            format!("it takes no connections at {address}"),
            "look at the daemon's log",
        ),
    }
}

async fn ready(address: SocketAddr) -> Result<(), String> {
    let answer = Client::new(address, "")
        .call(Method::GET, "/readyz", None)
        .await
        .map_err(|error| format!("{error:#}"))?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(answer.body.to_string())
    }
}

fn journal(survey: &Survey, running: bool) -> Check {
    let found = format!(
        "the newest {} segment(s): {} records that check",
        survey.segments, survey.records
    );
    if let Some(damage) = survey.damage.iter().find(|damage| !damage.set_aside) {
        return Check::fail(
            "journal",
            format!(
                "{found}, and {} bytes at offset {} of {} that do not",
                damage.bytes,
                damage.position.offset,
                damage.path.display()
            ),
            "look at the disk's health; stop the daemon and run hookwheel repair",
        );
    }
    // While a daemon writes, this is a group that is only half there.
    if let Some(torn) = survey.torn.as_ref().filter(|_| !running) {
        return Check::warn(
            "journal",
            format!("{found}, and a torn tail of {} bytes", torn.bytes),
            "nothing is to be done: the next start cuts it",
        );
    }
    Check::ok("journal", found)
}

fn set_aside(config: &Config) -> Check {
    let directory = config.storage.path.join("journal").join("set-aside");
    let pieces = std::fs::read_dir(&directory).map_or(0, Iterator::count);
    if pieces == 0 {
        return Check::ok("set aside", "no damage was ever met");
    }
    Check::warn(
        "set aside",
        format!(
            "{pieces} pieces of earlier damage lie in {}",
            directory.display()
        ),
        "look at the disk's health; delete them once you have seen to it",
    )
}

fn registry(config: &Config, end: Position) -> Check {
    let repair = match Repair::begin(config.storage.clone()) {
        Ok(repair) => repair,
        Err(error) => return Check::warn("registry", error.to_string(), "try again"),
    };
    let again = "the next start makes it again from the journal, which takes longer";
    match repair.registry(end) {
        RegistryFound::Good => Check::ok("registry", "it opens, and the journal covers it"),
        RegistryFound::Missing => Check::warn("registry", "there is none", again),
        RegistryFound::Unusable(why) => {
            Check::warn("registry", format!("it does not open: {why}"), again)
        }
        RegistryFound::Uncovered(at) => Check::warn(
            "registry",
            format!(
                "it stands at {at}, and the journal ends at {end}: the journal has lost something"
            ),
            "the next start keeps it, and sets aside what it cannot read; look at the disk's health",
        ),
        RegistryFound::Differs(_) | RegistryFound::NotCompared(_) => Check::warn(
            "registry",
            "it could not be looked at",
            "hookwheel repair tells why",
        ),
    }
}
