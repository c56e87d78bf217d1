//! `hookwheel demo`: the real daemon on a temporary directory, a local HTTPS receiver with its own CA, one
//! webhook for each built-in profile, each profile's example event, some first attempts refused so that a
//! retry is seen, and every signature verified on the receiver's side by code that shares nothing with the
//! signer but the profile.

mod inbox;
mod story;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{DemoOptions, key_hash, random_key};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::profile::Profiles;
use crate::receiver::{Authority, Receiver};

use inbox::Inbox;

/// The receiver refuses the first attempt of profiles whose first retry comes within this time.
const SHORT_RETRY_MS: u64 = 5_000;
/// Where the API of a demo that stays up is expected; another port is taken where this one is in use.
const PORT: u16 = 8420;

/// Runs the demo.
///
/// # Errors
/// Where the daemon or the receiver cannot be started, or the API answers otherwise than it must.
#[expect(
    clippy::print_stdout,
    reason = "telling the story is what the command is for"
)]
pub async fn run(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    let directory = tempfile::Builder::new()
        .prefix("hookwheel-demo-")
        .tempdir()?;
    let authority = Authority::generate("Hookwheel demo CA")?;
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem())?;
    let profiles = Profiles::built_in();
    let inbox = Arc::new(Inbox::new(&profiles, SHORT_RETRY_MS));
    let answering = Arc::clone(&inbox);
    let receiver = Receiver::local(&authority.issue(&["127.0.0.1"])?, move |request| {
        let answer = answering.answer(&request);
        async move { answer }
    })
    .await?;
    let key = random_key()?;
    let names: Vec<String> = profiles
        .iter()
        .map(|profile| profile.name.clone())
        .collect();
    let listen = free_address(options.exit).await;
    let text = config_text(listen, &key, &names);
    let path = directory.path().join("config.toml");
    std::fs::write(&path, text)?;
    let config = Config::load(&path).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let daemon = Daemon::start(config).await?;
    let api = daemon.address();
    println!(
        "hookwheel demo: a real daemon, a local HTTPS receiver, {} wire contracts\n",
        names.len()
    );
    println!(
        "  API       http://{api}   data and config in {}",
        directory.path().display()
    );
    println!(
        "  receiver  https://{}   certificate of a CA made just now\n",
        receiver.address()
    );

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut running = tasks.spawn(daemon.run(stop.clone()));
    let good = story::tell(api, receiver.address(), &key, &names, &profiles, &inbox).await?;
    if !options.exit {
        tokio::select! {
            left = stay(api, &key, &names) => left?,
            ended = &mut running => {
                ended.context("the daemon panicked")??;
                bail!("the daemon ended by itself");
            }
        }
    }
    stop.cancel();
    running.await.context("the daemon panicked")??;
    receiver.stop().await;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn free_address(any: bool) -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], PORT));
    let free = !any && tokio::net::TcpListener::bind(wanted).await.is_ok();
    if free {
        wanted
    } else {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }
}

/// A config as an operator would write it: one account for each profile, all with keys of their own.
fn config_text(listen: SocketAddr, key: &str, names: &[String]) -> String {
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\n[storage]\npath = \"data\"\n\
         [egress]\nallow = [\"127.0.0.1/32\"]\nextra_ca = [\"ca.pem\"]\n"
    );
    for name in names {
        text.push_str(&format!(
            "[[accounts]]\nname = \"{name}\"\nprofile = \"{name}\"\n[[accounts.keys]]\nname = \"demo\"\n\
             hash = \"{}\"\nscopes = [\"admin\", \"send\", \"read\"]\n",
            key_hash(&account_key(key, name))
        ));
    }
    text
}

fn account_key(key: &str, account: &str) -> String {
    format!("{key}_{account}")
}

/// Stays up until Ctrl-C, after saying what can be tried.
#[expect(
    clippy::print_stdout,
    reason = "telling the story is what the command is for"
)]
async fn stay(api: SocketAddr, key: &str, names: &[String]) -> anyhow::Result<()> {
    println!("\nThe daemon stays up until Ctrl-C. Each account has its own key:\n");
    for name in names {
        println!("  {name:<13} {}", account_key(key, name));
    }
    let first = names.first().map_or("standard", String::as_str);
    let key = account_key(key, first);
    println!("\nTry:\n\n  curl -sS http://{api}/api/v1/webhooks -H 'X-API-Key: {key}'");
    println!("  curl -sS http://{api}/api/v1/events -H 'X-API-Key: {key}'");
    println!("  curl -sS http://{api}/metrics\n");
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
