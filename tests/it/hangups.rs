//! SIGHUP again and again under load, with configs that are right and configs that are not: nothing is dropped,
//! no valid key is refused, the last good config holds, and memory does not grow.
//!
//! `HOOKWHEEL_HUPS` sets the number of reloads (60 by default; 1,000 takes under a minute).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use hookwheel::cli::key_hash;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::support::{Daemon, Site, delivery_in, get, registered, rounds, until};
use crate::web::Web;

const OTHER_KEY: &str = "key-of-other";
const NEW_KEY: &str = "new-key-of-other";
/// What the reloads may add to the process for good: what allocators keep, and the traffic's own caches.
const GROWTH_MAX: u64 = 48 << 20;

/// What a config says, and whether it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Base,
    WithoutOther,
    OtherKey,
    OtherProfile,
    LogLevel,
    NoToml,
    UnknownKey,
    Missing,
}

const VARIANTS: [Variant; 8] = [
    Variant::Base,
    Variant::WithoutOther,
    Variant::OtherKey,
    Variant::OtherProfile,
    Variant::LogLevel,
    Variant::NoToml,
    Variant::UnknownKey,
    Variant::Missing,
];

impl Variant {
    fn good(self) -> bool {
        !matches!(self, Self::NoToml | Self::UnknownKey | Self::Missing)
    }

    /// The config's text; `None`: there is no file.
    fn text(self, base: &str) -> Option<String> {
        let other = |profile: &str, key: &str| {
            let hash = key_hash(key);
            format!(
                "{base}[[accounts]]\nname = \"other\"\nprofile = \"{profile}\"\n[[accounts.keys]]\nname = \"k\"\n\
                 hash = \"{hash}\"\nscopes = [\"read\"]\n"
            )
        };
        Some(match self {
            Self::Base => other("standard", OTHER_KEY),
            Self::WithoutOther => base.to_owned(),
            Self::OtherKey => other("standard", NEW_KEY),
            Self::OtherProfile => other("dataflow", OTHER_KEY),
            Self::LogLevel => other("standard", OTHER_KEY).replace("\"debug,", "\"info,"),
            Self::NoToml => format!("{base}[[accounts\n"),
            Self::UnknownKey => format!("{base}[nothing]\nof = \"this\"\n"),
            Self::Missing => return None,
        })
    }

    /// What the other account's old and new key are answered.
    fn expected(self) -> (u16, u16) {
        match self {
            Self::WithoutOther => (401, 401),
            Self::OtherKey => (401, 200),
            _ => (200, 401),
        }
    }
}

/// Posts without a pause; every post must be acknowledged.
async fn post_on(mut client: Client, number: u64, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut ids = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("p{number}-{}", ids.len());
        let body = json!({ "id": id, "type": "a", "data": { "n": ids.len() } });
        let answer = client
            .call(Method::POST, "/api/v1/events", Some(&body))
            .await;
        let answer = answer.unwrap();
        assert_eq!(
            answer.status, 202,
            "a valid key was refused, or an event: {}",
            answer.body
        );
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    ids
}

/// A daemon that is told to read its config again, and the other account's clients.
struct Ground {
    daemon: Daemon,
    path: PathBuf,
    base: String,
    old: Client,
    new: Client,
    in_force: Variant,
    /// Lines of the log that were read.
    read: usize,
}

impl Ground {
    fn start(site: &Site) -> Self {
        let (path, base) = (site.path("config.toml"), site.config(true));
        let daemon = Daemon::start(&path, &Variant::Base.text(&base).unwrap());
        Self {
            old: Client::new(daemon.address, OTHER_KEY),
            new: Client::new(daemon.address, NEW_KEY),
            in_force: Variant::Base,
            read: 0,
            daemon,
            path,
            base,
        }
    }

    /// Gives it a config, and sees which one is in force then.
    async fn reload(&mut self, variant: Variant) {
        match variant.text(&self.base) {
            Some(text) => std::fs::write(&self.path, text).unwrap(),
            None if self.path.exists() => std::fs::remove_file(&self.path).unwrap(),
            None => {}
        }
        self.daemon.signal(Signal::HUP);
        let said = if variant.good() {
            self.in_force = variant;
            "were read again"
        } else {
            "the old one stays in force"
        };
        self.read = until(&format!("{variant:?} was read"), async || {
            self.daemon.said_since(self.read, said)
        })
        .await;
        let answered = (
            get(&mut self.old, "/api/v1/webhooks").await.status.as_u16(),
            get(&mut self.new, "/api/v1/webhooks").await.status.as_u16(),
        );
        let in_force = self.in_force;
        assert_eq!(
            answered,
            in_force.expected(),
            "after {variant:?}, with {in_force:?} in force"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_with_good_and_bad_configs_drop_nothing() {
    let hups = rounds("HOOKWHEEL_HUPS", 60);
    let mut dice = Dice::new(Dice::seed("hangups"), 0);
    let site = Site::new(&["standard"]);
    let web = Web::start(&site.authority, |_| 200).await;
    let mut ground = Ground::start(&site);
    let mut client = ground.daemon.client("standard");
    let webhook = registered(&mut client, json!({ "url": web.url("/") })).await;
    let (tasks, stop) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let posters: Vec<_> = (0..2)
        .map(|number| {
            let client = ground.daemon.client("standard");
            tasks.spawn(post_on(client, number, Arc::clone(&stop)))
        })
        .collect();
    let mut settled = 0;
    for number in 0..hups {
        // Each once, and then as the dice fall.
        let turn = VARIANTS.get(usize::try_from(number).unwrap());
        let variant = *turn.unwrap_or_else(|| dice.pick(&VARIANTS).unwrap());
        ground.reload(variant).await;
        if number == hups / 4 {
            settled = ground.daemon.memory("VmRSS");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for poster in posters {
        acknowledged.extend(poster.await.unwrap());
    }
    for id in &acknowledged {
        delivery_in(&mut client, &webhook, id, "delivered").await;
    }
    assert_eq!(web.count(), acknowledged.len(), "each was sent once");
    let now = ground.daemon.memory("VmRSS");
    println!(
        "hangups: {hups} reloads, {} events acknowledged, all delivered once; memory {} MB after a quarter of them, {} MB at \
         the end",
        acknowledged.len(),
        settled >> 20,
        now >> 20
    );
    assert!(now < settled + GROWTH_MAX, "{settled} bytes grew to {now}");
    assert!(ground.daemon.terminate().success());
}
