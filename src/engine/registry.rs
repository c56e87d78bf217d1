//! The live table of webhooks: what intake matches against and what an attempt sends with.
//!
//! The store holds the truth; this table is its image in memory, changed only after the change is on
//! disk. Readers take an `Arc` out under a short lock and keep no lock while they work.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{AccountName, Event, Order, Policy, Webhook, WebhookId};
use crate::profile::{Profile, Profiles};
use crate::render::filter::{self, Filter, Mismatch, Subject};
use crate::render::pattern::{self, Pattern};
use crate::render::{Envelope, Format, Formats, Pointer, RenderError};
use crate::sender::{TlsNames, TlsSettings};
use crate::sign::Signer;

use super::EngineError;
use super::failing::{LastSuccess, Streak};
use super::schedule::Rates;

/// A profile made ready to work: its templates compiled.
#[derive(Debug)]
pub struct Contract {
    /// The profile it was made from.
    pub profile: Arc<Profile>,
    /// The body's template.
    pub envelope: Envelope,
    /// The signature rules.
    pub signer: Signer,
    /// The formats that its webhooks may name.
    pub formats: Formats,
}

/// A webhook made ready to work: its patterns parsed, its profile's rules and its own put together.
#[derive(Debug)]
pub struct Live {
    /// The webhook as stored.
    pub webhook: Webhook,
    /// The contract of its account's profile.
    pub contract: Arc<Contract>,
    /// What decides on retries.
    pub policy: Policy,
    /// The total deadline of an attempt.
    pub timeout: Duration,
    /// The owner's headers.
    pub headers: HeaderMap,
    patterns: Vec<Pattern>,
    filter: Option<Filter>,
    /// The format that it names; inside `None` where the config has none of this name any more.
    format: Option<Option<Arc<Format>>>,
    /// The TLS settings that it names; `None` also where the config does not let its account use them.
    pub(super) tls: Option<TlsSettings>,
    /// Where its events have the key of its order, if it is ordered by one.
    pub(super) order_key: Option<Pointer>,
    /// The version by which it last became active, as far as this table has seen it happen.
    activated: u64,
    /// Since when its attempts have failed.
    pub(super) streak: Arc<Streak>,
    /// When one of its attempts arrived last.
    pub(super) last_success: Arc<LastSuccess>,
}

impl Live {
    fn new(webhook: Webhook, contract: Arc<Contract>, tls: &TlsNames) -> Result<Self, EngineError> {
        let broken = |what: &str, why: String| EngineError::Webhook {
            id: webhook.id,
            reason: format!("{what}: {why}"),
        };
        let patterns = webhook
            .events
            .iter()
            .map(|text| Pattern::read(text).map_err(|why| broken("events", why.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let filter = match &webhook.filter {
            Some(text) => Some(Filter::parse(text).map_err(|faults| {
                let why: Vec<String> = faults.iter().map(ToString::to_string).collect();
                broken("filter", why.join("; "))
            })?),
            None => None,
        };
        let order_key = match &webhook.order {
            Order::ByKey(text) => {
                Some(Pointer::parse(text).map_err(|why| broken("order", why.to_string()))?)
            }
            Order::None | Order::Fifo => None,
        };
        let format = webhook
            .format
            .as_ref()
            .map(|name| contract.formats.get(name).cloned());
        let settings = webhook.tls.as_ref().and_then(|name| {
            let own = tls.get(&webhook.account)?;
            own.get(name).cloned()
        });
        let mut headers = HeaderMap::with_capacity(webhook.headers.len());
        for header in &webhook.headers {
            let name = HeaderName::try_from(header.name.as_str())
                .map_err(|why| broken("headers", why.to_string()))?;
            let mut value = HeaderValue::try_from(header.value.expose())
                .map_err(|why| broken("headers", why.to_string()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let policy = contract.profile.policy(&webhook);
        let timeout_ms = contract.profile.timeout_ms(&webhook);
        Ok(Self {
            policy,
            timeout: Duration::from_millis(u64::from(timeout_ms)),
            headers,
            patterns,
            filter,
            format,
            tls: settings,
            order_key,
            activated: webhook.version,
            streak: Streak::unread(),
            last_success: Arc::default(),
            contract,
            webhook,
        })
    }

    /// Whether what waits for it is sent; otherwise it is held, for its owner or for the config.
    #[must_use]
    pub fn sends(&self) -> bool {
        self.webhook.active && self.misfit().is_none()
    }

    /// Why it is held though it is active: a body that its receiver refuses, or a connection without the certificate
    /// that it asks for, would only use up the schedule.
    #[must_use]
    pub fn misfit(&self) -> Option<String> {
        if let Some(name) = self.webhook.format.as_ref().filter(|_| self.lacks_format()) {
            return Some(no_format(name));
        }
        let name = self.webhook.tls.as_ref().filter(|_| self.tls.is_none())?;
        Some(no_tls(name))
    }

    /// Whether the config has no format any more of the name that it has.
    #[must_use]
    pub const fn lacks_format(&self) -> bool {
        matches!(self.format, Some(None))
    }

    /// Whether what an attempt made with `self` says of the receiver may disable the webhook as it is `now`:
    /// not if its owner has sent it elsewhere or under another certificate since, gets its access token another way, or
    /// activated it again.
    pub(super) fn speaks_for(&self, now: &Self) -> bool {
        self.webhook.url == now.webhook.url
            && self.webhook.tls == now.webhook.tls
            && self.webhook.oauth2 == now.webhook.oauth2
            && self.activated == now.activated
    }

    /// How fast it may be sent to. What is over it waits.
    pub(super) fn rates(&self) -> Rates {
        let rate = &self.contract.profile.rate;
        Rates {
            per_second: rate.per_second,
            per_hour: rate.per_hour,
        }
    }

    /// The body that it is sent for `event`.
    ///
    /// # Errors
    /// [`RenderError`] where the template of its format or envelope makes none of this event.
    pub fn body(&self, event: &Event) -> Result<String, RenderError> {
        match &self.format {
            Some(Some(format)) => format.render(event),
            Some(None) => Err(RenderError::Template(self.misfit().unwrap_or_default())),
            None => self.contract.envelope.render(event),
        }
    }

    /// The `Content-Type` of its bodies.
    #[must_use]
    pub fn content_type(&self) -> HeaderValue {
        match &self.format {
            Some(Some(format)) => format.content_type.clone(),
            Some(None) | None => HeaderValue::from_static("application/json"),
        }
    }

    /// Whether it wants an event of this scope whose type is named by any of `subjects`, as far as its
    /// filter does not decide.
    fn wants(&self, scope: Option<&str>, subjects: &[Cow<'_, str>]) -> bool {
        self.scope_fits(scope) && pattern::wanted(&self.patterns, subjects)
    }

    fn scope_fits(&self, scope: Option<&str>) -> bool {
        match (&self.webhook.scope, scope) {
            (None, _) => true,
            (Some(wanted), Some(given)) => wanted == given,
            (Some(_), None) => false,
        }
    }

    /// Which of its rules, as they are now, keeps an event out: none exactly where [`Registry::matching`] takes it.
    pub(super) fn obstacle<'a>(
        &'a self,
        scope: Option<&str>,
        subjects: &[Cow<'_, str>],
        event: &'a Subject<'_>,
    ) -> Option<Obstacle<'a>> {
        if !pattern::wanted(&self.patterns, subjects) {
            return Some(Obstacle::Type);
        }
        if !self.scope_fits(scope) {
            return Some(Obstacle::Scope);
        }
        let filter = self.filter.as_ref()?;
        filter.why_not(event).map(Obstacle::Filter)
    }
}

/// A rule of a webhook that keeps an event out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Obstacle<'a> {
    /// None of its patterns names the event's type.
    Type,
    /// It wants another scope.
    Scope,
    /// Its filter.
    Filter(Mismatch<'a>),
}

fn no_format(name: &str) -> String {
    format!(
        "no format is called `{name}` any more; what waits is held until there is one, or another is named"
    )
}

fn no_tls(name: &str) -> String {
    format!(
        "no `tls` is called `{name}` any more for this account; what waits is held until there is one, or another is \
         named"
    )
}

/// What a reload has changed for webhooks.
#[derive(Debug, Default)]
pub(super) struct Reloaded {
    /// Those that no longer fit and have left the table, each with the reason; the store still has them.
    pub(super) left: Vec<(WebhookId, EngineError)>,
    /// Those that are sent to at another rate, or are held or not held any more.
    pub(super) changed: Vec<Arc<Live>>,
}

/// The live table.
#[derive(Debug)]
pub(super) struct Registry {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    contracts: HashMap<AccountName, Arc<Contract>>,
    tls: TlsNames,
    by_id: HashMap<WebhookId, Arc<Live>>,
    by_account: HashMap<AccountName, Arc<Vec<Arc<Live>>>>,
}

/// Compiles the contract of each account's profile; accounts of one profile share it, but for the one that gets the
/// operational events: it has types that its profile has not.
///
/// # Errors
/// Where a profile is unknown or does not compile.
pub(super) fn contracts(
    accounts: &[(AccountName, String)],
    profiles: &Profiles,
    formats: &Formats,
    told: Option<&AccountName>,
) -> Result<HashMap<AccountName, Arc<Contract>>, EngineError> {
    let mut compiled: HashMap<&str, Arc<Contract>> = HashMap::new();
    let mut of_account = HashMap::new();
    for (account, profile_name) in accounts {
        if Some(account) == told {
            let mut contract = Contract::compile(profile_name, profiles, formats)?;
            Arc::make_mut(&mut contract.profile).operational = true;
            of_account.insert(account.clone(), Arc::new(contract));
            continue;
        }
        let contract = match compiled.get(profile_name.as_str()) {
            Some(contract) => Arc::clone(contract),
            None => {
                let contract = Arc::new(Contract::compile(profile_name, profiles, formats)?);
                compiled.insert(profile_name, Arc::clone(&contract));
                contract
            }
        };
        of_account.insert(account.clone(), contract);
    }
    Ok(of_account)
}

impl Contract {
    fn compile(name: &str, profiles: &Profiles, formats: &Formats) -> Result<Self, EngineError> {
        let refused = |reason: String| EngineError::Profile {
            name: name.to_owned(),
            reason,
        };
        let profile = profiles
            .get(name)
            .ok_or_else(|| refused("there is no profile of this name".to_owned()))?;
        Ok(Self {
            envelope: Envelope::compile(profile).map_err(|why| refused(why.to_string()))?,
            signer: Signer::compile(profile),
            formats: formats.clone(),
            profile: Arc::clone(profile),
        })
    }
}

impl Registry {
    /// An empty table for these accounts.
    #[must_use]
    pub(super) fn new(contracts: HashMap<AccountName, Arc<Contract>>, tls: TlsNames) -> Self {
        Self {
            table: RwLock::new(Table {
                contracts,
                tls,
                ..Table::default()
            }),
        }
    }

    /// Brings a webhook into line with the disk: puts it in, or in the place of its older version, or takes
    /// it out. `stored` reads it while the table is locked, so in whatever order changes come here, the last
    /// one leaves what is on disk.
    ///
    /// # Errors
    /// Where its account is not configured, a stored field no longer parses, or `stored` fails. It is not in the table
    /// then.
    pub(super) fn refresh(
        &self,
        id: WebhookId,
        stored: impl FnOnce() -> Result<Option<Webhook>, EngineError>,
    ) -> Result<Option<Arc<Live>>, EngineError> {
        let mut table = self.table.write().expect("no holder of this lock panics");
        let made = stored().transpose().map(|webhook| {
            let webhook = webhook?;
            match table.contracts.get(&webhook.account) {
                Some(contract) => Live::new(webhook, Arc::clone(contract), &table.tls),
                None => Err(EngineError::Account(webhook.account)),
            }
        });
        if let Some(Ok(mut live)) = made {
            let before = table.by_id.get(&id);
            if let Some(before) = before.filter(|b| b.webhook.active && live.webhook.active) {
                live.activated = before.activated;
            }
            if let Some(before) = before {
                live.last_success = Arc::clone(&before.last_success);
                live.streak = match before.speaks_for(&live) {
                    true => Arc::clone(&before.streak),
                    false => Streak::well(),
                };
            }
            let live = Arc::new(live);
            table.put(Arc::clone(&live));
            return Ok(Some(live));
        }
        table.remove(id);
        made.transpose().map(|_| None)
    }

    /// Replaces the accounts' contracts and names for TLS, and makes every webhook ready anew. `put_tls` gives the names
    /// to who sends with them: in the moment in which the table has them, so that whoever looks here for a webhook finds
    /// what it can be sent with.
    pub(super) fn set_contracts(
        &self,
        contracts: HashMap<AccountName, Arc<Contract>>,
        tls: TlsNames,
        put_tls: impl FnOnce(),
    ) -> Reloaded {
        let mut table = self.table.write().expect("no holder of this lock panics");
        let mut fresh = Table {
            contracts,
            tls,
            ..Table::default()
        };
        let mut reloaded = Reloaded::default();
        for live in table.by_id.values() {
            let webhook = live.webhook.clone();
            let made = match fresh.contracts.get(&webhook.account) {
                Some(contract) => Live::new(webhook, Arc::clone(contract), &fresh.tls),
                None => Err(EngineError::Account(webhook.account)),
            };
            match made {
                Ok(mut made) => {
                    made.activated = live.activated;
                    made.streak = Arc::clone(&live.streak);
                    made.last_success = Arc::clone(&live.last_success);
                    let made = Arc::new(made);
                    if (made.rates(), made.sends()) != (live.rates(), live.sends()) {
                        reloaded.changed.push(Arc::clone(&made));
                    }
                    fresh.put(made);
                }
                Err(reason) => reloaded.left.push((live.webhook.id, reason)),
            }
        }
        put_tls();
        *table = fresh;
        reloaded
    }

    /// The contract of an account.
    #[must_use]
    pub(super) fn contract(&self, account: &AccountName) -> Option<Arc<Contract>> {
        let table = self.table.read().expect("no holder of this lock panics");
        table.contracts.get(account).cloned()
    }

    /// The names for TLS that an account's webhooks may use, in order.
    pub(super) fn tls_of(&self, account: &AccountName) -> Vec<String> {
        let table = self.table.read().expect("no holder of this lock panics");
        let own = table.tls.get(account).into_iter().flatten();
        own.map(|(name, _)| name.clone()).collect()
    }

    /// One webhook.
    #[must_use]
    pub(super) fn find(&self, id: WebhookId) -> Option<Arc<Live>> {
        let table = self.table.read().expect("no holder of this lock panics");
        table.by_id.get(&id).cloned()
    }

    /// The webhooks of all accounts that `choose` takes.
    pub(super) fn chosen(&self, choose: impl Fn(&Live) -> bool) -> Vec<Arc<Live>> {
        let table = self.table.read().expect("no holder of this lock panics");
        let all = table.by_id.values();
        all.filter(|live| choose(live)).cloned().collect()
    }

    /// The webhooks of an account, oldest first.
    #[must_use]
    pub(super) fn of_account(&self, account: &AccountName) -> Arc<Vec<Arc<Live>>> {
        let table = self.table.read().expect("no holder of this lock panics");
        table.by_account.get(account).cloned().unwrap_or_default()
    }

    /// The rules of all filters of an account: what an event's bytes are multiplied by, at most, when it is matched.
    pub(super) fn rules_of(&self, account: &AccountName) -> usize {
        let all = self.of_account(account);
        let filters = all.iter().filter_map(|live| live.filter.as_ref());
        filters.map(Filter::rules).sum()
    }

    /// The webhooks of the event's account that want it, or `only` this one if it does. An inactive one wants it too:
    /// its deliveries are held.
    #[must_use]
    pub(super) fn matching(
        &self,
        event: &Event,
        subjects: &[Cow<'_, str>],
        only: Option<WebhookId>,
    ) -> Vec<WebhookId> {
        let all = self.of_account(&event.account);
        let fits = |live: &&Arc<Live>| {
            only.is_none_or(|only| live.webhook.id == only)
                && live.wants(event.scope.as_deref(), subjects)
        };
        let mut wanting: Vec<&Arc<Live>> = all.iter().filter(fits).collect();
        // One text, looked into once, serves all filters; without a filter there is none.
        if let Some(first) = wanting.iter().find(|live| live.filter.is_some()) {
            let text = filter::event_text(event, &first.contract.profile.scope_field);
            let subject = Subject::new(&text);
            wanting.retain(|live| live.filter.as_ref().is_none_or(|f| f.matches(&subject)));
        }
        wanting.iter().map(|live| live.webhook.id).collect()
    }
}

impl Table {
    fn remove(&mut self, id: WebhookId) {
        if let Some(live) = self.by_id.remove(&id)
            && let Some(list) = self.by_account.get_mut(&live.webhook.account)
        {
            Arc::make_mut(list).retain(|other| other.webhook.id != id);
        }
    }

    fn put(&mut self, live: Arc<Live>) {
        let list = self
            .by_account
            .entry(live.webhook.account.clone())
            .or_default();
        let list = Arc::make_mut(list);
        match list.binary_search_by_key(&live.webhook.id, |other| other.webhook.id) {
            Ok(at) => {
                if let Some(place) = list.get_mut(at) {
                    *place = Arc::clone(&live);
                }
            }
            Err(at) => list.insert(at, Arc::clone(&live)),
        }
        self.by_id.insert(live.webhook.id, live);
    }
}
