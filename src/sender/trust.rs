//! Whom a connection trusts, and whom it says it is: the system's roots, Mozilla's where the system has none, and the
//! operator's extra CAs; or what one name of the config says instead. TLS 1.2 and 1.3, sessions resumed. Nothing here
//! turns verification off.
//!
//! Each name has TLS settings of its own, and with them sessions of its own: none is resumed under another name. A name
//! whose files have changed is another [`Trust`] with another number, so nothing of the old one is used again.
//!
//! Whoever sends under a name does so by [`TlsSettings`], which were given to one account. They hold only as long as the
//! name means the same and is still that account's: a request that was asked for before a reload does not go out after it
//! with what the reload took away.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::SenderError;
use crate::model::AccountName;

/// Receivers whose TLS sessions are remembered for resumption. Each takes a few kilobytes; a receiver
/// beyond it costs a full handshake, no more.
const SESSIONS_MAX: usize = 1024;
/// The same for one name of the config: it stands for one partner or a few.
const NAMED_SESSIONS_MAX: usize = 64;
/// The number of the trust that has no name.
const UNNAMED: u64 = 0;

/// The names for TLS that each account's webhooks may use, and what they mean; an account without any is not in it.
pub type TlsNames = HashMap<AccountName, BTreeMap<String, TlsSettings>>;

/// What a name for TLS means for one account. Cheap to clone.
#[derive(Clone)]
pub struct TlsSettings {
    trust: Arc<Trust>,
    account: AccountName,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.trust.number;
        write!(f, "TlsSettings({} of {})", number, self.account)
    }
}

impl TlsSettings {
    /// The settings themselves, for who has seen that they hold.
    pub(super) const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }
}

/// Names for TLS that are ready to take the place of the present ones.
pub struct ReadyTls {
    named: HashMap<String, Arc<Trust>>,
}

impl ReadyTls {
    /// The names that each account's webhooks may use.
    #[must_use]
    pub fn names(&self) -> TlsNames {
        of_accounts(&self.named)
    }
}

/// What webhooks mean by a name for TLS: a client certificate, CAs of its own, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The name.
    pub name: String,
    /// The accounts whose webhooks may use it.
    pub accounts: Vec<AccountName>,
    /// The client certificate with its chain, and its key.
    pub client: Option<ClientCertificate>,
    /// The only CAs that are trusted; where there is none, those that are trusted for all.
    pub ca: Vec<CertificateDer<'static>>,
}

/// A client certificate. Printing it shows nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl ClientCertificate {
    /// Checks that certificate and key can be used, and belong together.
    ///
    /// # Errors
    /// What the TLS library has against them.
    pub fn check(&self) -> Result<(), rustls::Error> {
        client_config(Arc::new(RootCertStore::empty()), Some(self), 0).map(|_| ())
    }
}

/// The TLS settings of some connections.
pub(super) struct Trust {
    number: u64,
    /// What it was made from; `None` for the one without a name.
    identity: Option<TlsIdentity>,
    connector: TlsConnector,
}

/// All TLS settings.
pub(super) struct Trusts {
    unnamed: Arc<Trust>,
    roots: Arc<RootCertStore>,
    named: RwLock<HashMap<String, Arc<Trust>>>,
    next: AtomicU64,
}

impl Trust {
    pub(super) const fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    /// Distinguishes it from every other one, past and present.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Where the CA of a receiver that is not trusted is missing, in words.
    pub(super) fn missing_ca(&self) -> String {
        match &self.identity {
            Some(identity) if !identity.ca.is_empty() => {
                format!(
                    "not among those of [egress.tls.{}], the only ones here",
                    identity.name
                )
            }
            _ => "neither among the system's nor in [egress] extra_ca".to_owned(),
        }
    }
}

impl Trusts {
    /// Reads the system's roots. There is no name yet.
    ///
    /// # Errors
    /// [`SenderError::ExtraCa`] for a certificate that cannot be a trust anchor.
    pub(super) fn new(extra_ca: &[CertificateDer<'static>]) -> Result<Self, SenderError> {
        let mut roots = system_roots();
        for (index, certificate) in extra_ca.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|error| SenderError::ExtraCa {
                    number: index + 1,
                    reason: error.to_string(),
                })?;
        }
        let roots = Arc::new(roots);
        let config = client_config(Arc::clone(&roots), None, SESSIONS_MAX)?;
        Ok(Self {
            unnamed: Arc::new(Trust {
                number: UNNAMED,
                identity: None,
                connector: TlsConnector::from(config),
            }),
            roots,
            named: RwLock::default(),
            next: AtomicU64::new(UNNAMED + 1),
        })
    }

    /// The settings that hold for all who name none.
    pub(super) fn unnamed(&self) -> Arc<Trust> {
        Arc::clone(&self.unnamed)
    }

    fn find(&self, name: &str) -> Option<Arc<Trust>> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(name).cloned()
    }

    /// The trust that stands where this one stood, if it is the same but for who may use it.
    fn current(&self, trust: &Trust) -> Option<Arc<Trust>> {
        let current = match &trust.identity {
            None => Some(self.unnamed()),
            Some(identity) => self.find(&identity.name),
        };
        current.filter(|current| current.number == trust.number)
    }

    /// Whether it is still what its name means.
    pub(super) fn is_current(&self, trust: &Trust) -> bool {
        self.current(trust).is_some()
    }

    /// Whether settings still mean what they meant when the account was given them, and still are that account's.
    pub(super) fn holds(&self, settings: &TlsSettings) -> bool {
        let current = self.current(&settings.trust);
        current.is_some_and(|current| current.is_of(&settings.account))
    }

    /// Makes these names ready to take the place of the present ones. Those that mean the same as before keep their
    /// sessions.
    ///
    /// # Errors
    /// [`SenderError::Identity`] for a name that cannot be used.
    pub(super) fn ready(&self, identities: &[TlsIdentity]) -> Result<ReadyTls, SenderError> {
        let mut named = HashMap::with_capacity(identities.len());
        for identity in identities {
            let present = self.find(&identity.name);
            let trust = match present.and_then(|trust| trust.carried_over(identity)) {
                Some(trust) => trust,
                None => self.make(identity)?,
            };
            named.insert(identity.name.clone(), Arc::new(trust));
        }
        Ok(ReadyTls { named })
    }

    /// Puts these names in the place of the present ones; gives the numbers of those that mean nothing any more.
    pub(super) fn set(&self, ready: ReadyTls) -> Vec<u64> {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *named, ready.named);
        let is_gone = |trust: &Arc<Trust>| !named.values().any(|now| now.number == trust.number);
        let gone = before.values().filter(|trust| is_gone(trust));
        gone.map(|trust| trust.number).collect()
    }

    /// The names that each account's webhooks may use.
    pub(super) fn of_accounts(&self) -> TlsNames {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        of_accounts(&named)
    }

    fn make(&self, identity: &TlsIdentity) -> Result<Trust, SenderError> {
        let refused = |reason: rustls::Error| SenderError::Identity {
            name: identity.name.clone(),
            reason,
        };
        let roots = if identity.ca.is_empty() {
            Arc::clone(&self.roots)
        } else {
            let mut own = RootCertStore::empty();
            for certificate in &identity.ca {
                own.add(certificate.clone()).map_err(refused)?;
            }
            Arc::new(own)
        };
        let config = client_config(roots, identity.client.as_ref(), NAMED_SESSIONS_MAX);
        Ok(Trust {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            connector: TlsConnector::from(config.map_err(refused)?),
            identity: Some(identity.clone()),
        })
    }
}

fn of_accounts(named: &HashMap<String, Arc<Trust>>) -> TlsNames {
    let mut names = TlsNames::new();
    for trust in named.values() {
        let Some(identity) = &trust.identity else {
            continue;
        };
        for account in &identity.accounts {
            let settings = TlsSettings {
                trust: Arc::clone(trust),
                account: account.clone(),
            };
            let own = names.entry(account.clone()).or_default();
            own.insert(identity.name.clone(), settings);
        }
    }
    names
}

impl Trust {
    fn is_of(&self, account: &AccountName) -> bool {
        let identity = self.identity.as_ref();
        identity.is_some_and(|identity| identity.accounts.contains(account))
    }

    /// This trust for `identity`, where nothing but who may use it differs from what it was made from.
    fn carried_over(&self, identity: &TlsIdentity) -> Option<Self> {
        let own = self.identity.as_ref()?;
        (own.client == identity.client && own.ca == identity.ca).then(|| Self {
            number: self.number,
            identity: Some(identity.clone()),
            connector: self.connector.clone(),
        })
    }
}

fn client_config(
    roots: Arc<RootCertStore>,
    client: Option<&ClientCertificate>,
    sessions_max: usize,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots);
    let mut config = match client {
        Some(client) => {
            builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key())?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(sessions_max);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::warn!(
            errors = ?found.errors,
            roots = roots.len(),
            "the system has no trusted roots; using those compiled in"
        );
    } else {
        tracing::debug!(added, ignored, "system roots read");
    }
    roots
}
