//! Receivers: whether each registered webhook's host, and its token endpoint's, resolves, may be dialled, answers, and
//! proves who it is.
//!
//! A connection goes the way of a request, with the same address rules and the same verification; nothing is posted.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Check;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::{Clock, Endpoint, FaultKind, UnixMillis, Webhook};
use crate::sender::{Probe, Sender, SenderError, TlsSettings};

/// Hosts that are looked at, at most; the first ones by name.
const HOSTS_MAX: usize = 200;
/// … so many at once.
const AT_ONCE: usize = 16;
/// … and so long each, and all together.
const HOST_TIME_MAX: Duration = Duration::from_secs(5);
const TIME_MAX: Duration = Duration::from_secs(60);
/// Hosts that are named one by one.
const NAMED_MAX: usize = 20;
/// A certificate that is renewed by itself is renewed earlier than this.
const ENDS_SOON_MS: u64 = 14 * 24 * 3_600_000;

/// Where a webhook sends, and its TLS settings.
type Host = (Endpoint, Option<TlsSettings>);

pub(super) async fn checks(
    config: &Config,
    webhooks: &[Webhook],
    now: UnixMillis,
    checks: &mut Vec<Check>,
) {
    checks.extend(nameless(config, webhooks));
    let sender = match sender(config) {
        Ok(sender) => sender,
        Err(error) => {
            let error = error.to_string();
            checks.push(Check::fail("receivers", error, "no daemon starts so"));
            return;
        }
    };
    let names = sender.tls_names();
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for webhook in webhooks.iter().filter(|webhook| webhook.active) {
        let own = names.get(&webhook.account);
        let tls = match &webhook.tls {
            None => None,
            Some(name) => match own.and_then(|own| own.get(name)) {
                // Nothing is sent to it, so there is nothing to look at.
                None => continue,
                settings => settings.cloned(),
            },
        };
        let token_url = webhook.oauth2.as_ref().map(|oauth2| &oauth2.token_url);
        for url in token_url.into_iter().chain([&webhook.url]) {
            // As deliveries reach it: a host may be trusted under one name for TLS and not under another.
            let shown = match &webhook.tls {
                Some(name) => format!("{} (tls {name})", url.authority()),
                None => url.authority().to_owned(),
            };
            hosts.insert(shown, (url.clone(), tls.clone()));
        }
    }
    let all = hosts.len();
    if all == 0 {
        checks.push(Check::ok("receivers", "no active webhook is registered"));
        return;
    }
    let probes = probe_all(&sender, hosts.into_iter().take(HOSTS_MAX).collect()).await;
    let (mut problems, mut slowest) = (Vec::new(), 0);
    for (host, probe) in &probes {
        slowest = slowest.max(probe.phases.dns_us.unwrap_or_default());
        problems.extend(judged(host, probe, now));
    }
    checks.push(summary(all, &probes, problems.len(), slowest));
    let more = problems.len().saturating_sub(NAMED_MAX);
    problems.truncate(NAMED_MAX);
    checks.append(&mut problems);
    if more > 0 {
        let remedy = "see to the first ones, and look again";
        checks.push(Check::warn(
            "receiver",
            format!("{more} more like these"),
            remedy,
        ));
    }
}

fn sender(config: &Config) -> Result<Sender, SenderError> {
    let mut options = config.sender.clone();
    if config.server.listen.port() != 0 {
        options.policy = options.policy.guarding([config.server.listen]);
    }
    let sender = Sender::new(options, Clock::system(), Metrics::new())?;
    sender.set_tls(&config.tls)?;
    Ok(sender)
}

async fn probe_all(sender: &Sender, hosts: Vec<(String, Host)>) -> BTreeMap<String, Probe> {
    let begun = Instant::now();
    let mut waiting = hosts.into_iter();
    let mut under_way = JoinSet::new();
    let mut probes = BTreeMap::new();
    loop {
        while under_way.len() < AT_ONCE
            && begun.elapsed() < TIME_MAX
            && let Some((shown, (endpoint, tls))) = waiting.next()
        {
            let sender = sender.clone();
            under_way.spawn(async move {
                let probe = sender.probe(&endpoint, tls.as_ref(), HOST_TIME_MAX).await;
                (shown, probe)
            });
        }
        match under_way.join_next().await {
            Some(Ok((host, probe))) => {
                probes.insert(host, probe);
            }
            Some(Err(error)) => tracing::debug!(%error, "a look at a receiver broke off"),
            None => return probes,
        }
    }
}

/// Webhooks whose name for TLS is not their account's: what waits for them is held.
fn nameless(config: &Config, webhooks: &[Webhook]) -> Option<Check> {
    let has_name = |webhook: &Webhook| {
        webhook.tls.as_ref().is_none_or(|name| {
            let identity = config.tls.iter().find(|identity| identity.name == *name);
            identity.is_some_and(|identity| identity.accounts.contains(&webhook.account))
        })
    };
    let active = webhooks.iter().filter(|webhook| webhook.active);
    let held: Vec<&Webhook> = active.filter(|webhook| !has_name(webhook)).collect();
    let first = held.first()?;
    let name = first.tls.as_deref().unwrap_or_default();
    Some(Check::warn(
        "receivers",
        format!(
            "{} webhook(s) held, as their `tls` is not their account's; the first is {} of {}, with {name}",
            held.len(),
            first.id,
            first.account
        ),
        "see to [egress.tls.NAME] accounts, or have them name another",
    ))
}

fn summary(all: usize, probes: &BTreeMap<String, Probe>, problems: usize, slowest: u32) -> Check {
    let looked = probes.len();
    let found = format!(
        "{looked} of {all} hosts looked at, {} without a problem; slowest look-up {:.1} ms",
        looked - problems.min(looked),
        f64::from(slowest) / 1000.0
    );
    let unresolved = probes
        .values()
        .filter(|probe| matches!(probe.result, Err((FaultKind::Dns, _))))
        .count();
    if unresolved == looked && looked > 0 {
        return Check::fail(
            "receivers",
            format!("{found}; not one name resolves"),
            "check /etc/resolv.conf, or [egress] resolver",
        );
    }
    Check::ok("receivers", found)
}

fn judged(host: &str, probe: &Probe, now: UnixMillis) -> Option<Check> {
    match &probe.result {
        Err((kind, detail)) => {
            let remedy = match kind {
                FaultKind::AddressBlocked => "allow the range in [egress] allow, if it is yours",
                FaultKind::Tls => "the receiver's owner is to see to its certificate",
                FaultKind::Dns => "the name is wrong, or the resolver does not know it",
                _ => "deliveries there fail: the receiver may be down, or a firewall is between",
            };
            Some(Check::warn(
                "receiver",
                format!("{host}: {}: {detail}", kind.as_str()),
                remedy,
            ))
        }
        Ok(Some(ends)) if ends.0.saturating_sub(now.0) < ENDS_SOON_MS => Some(Check::warn(
            "receiver",
            format!("{host}: its certificate ends at {ends}"),
            "tell its owner: deliveries fail from then on",
        )),
        Ok(_) => None,
    }
}
