//! The commands that ask a running daemon, as clients of its API: `webhook`, `event`, `delivery`, `replay`, `job`,
//! `tail`, `status` and `audit`.
//!
//! Each finds the daemon and the key (`reach`), calls the API, and prints what came of it: text fitted to the terminal,
//! or the API's JSON as it is. What fails is told with what to do, and with an exit code that scripts can use. They
//! never open the daemon's data.

mod audit;
mod delivery;
mod event;
pub(super) mod fault;
mod fields;
mod help;
mod job;
mod names;
pub(super) mod reach;
mod replay;
pub(super) mod screen;
mod secret;
pub(super) mod session;
mod sse;
mod status;
mod table;
mod tail;
mod text;
mod timeline;
mod webhook;
mod when;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::Client;
use fault::Done;
pub(super) use help::explained;
pub use reach::{Access, url_of};
use reach::{Need, ReachOptions};
use screen::Screen;
use session::Session;
pub(super) use text::harmless;

/// The commands that ask a daemon.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Register, show, change, try out and remove webhooks.
    Webhook(Group<webhook::WebhookCommand>),
    /// Post events, and see what became of them.
    Event(Group<event::EventCommand>),
    /// Show deliveries with their attempts, and send them again.
    Delivery(Group<delivery::DeliveryCommand>),
    /// Send many deliveries of a webhook again, once you say yes.
    Replay(Leaf<replay::ReplayOptions>),
    /// Show, pause, resume or cancel jobs: replays and the like.
    Job(Group<job::JobCommand>),
    /// Follow attempts as they are made.
    Tail(Leaf<tail::TailOptions>),
    /// See how the daemon does, and which webhooks are in trouble.
    Status(Leaf<status::StatusOptions>),
    /// Show who did what, newest first.
    Audit(Leaf<audit::AuditOptions>),
}

/// Commands of one kind.
#[derive(Debug, Args)]
pub struct Group<C: Subcommand> {
    #[command(subcommand)]
    command: C,
    #[command(flatten)]
    reach: ReachOptions,
}

/// A command of its own.
#[derive(Debug, Args)]
pub struct Leaf<A: Args> {
    #[command(flatten)]
    options: A,
    #[command(flatten)]
    reach: ReachOptions,
}

/// How many rows, and from where.
#[derive(Clone, Debug, Args)]
pub struct PageOptions {
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Go on behind the rows of an earlier call, which told this.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl ClientCommand {
    /// Whether what it prints is to be JSON, errors included.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.reach().json
    }

    const fn reach(&self) -> &ReachOptions {
        match self {
            Self::Webhook(Group { reach, .. })
            | Self::Event(Group { reach, .. })
            | Self::Delivery(Group { reach, .. })
            | Self::Replay(Leaf { reach, .. })
            | Self::Job(Group { reach, .. })
            | Self::Tail(Leaf { reach, .. })
            | Self::Status(Leaf { reach, .. })
            | Self::Audit(Leaf { reach, .. }) => reach,
        }
    }
}

/// A client of the daemon that is meant, with a key: for commands that do more than ask. `config` is the daemon's, where
/// it was named.
///
/// # Errors
/// What cannot be used, and what to do.
pub fn client(access: &Access, config: Option<&Path>) -> Result<Client, String> {
    match reach::reach(access, config, Need::Key) {
        Ok(reached) => Ok(reached.client),
        Err(fault) => Err(fault.told()),
    }
}

/// Runs a command that asks a daemon.
///
/// # Errors
/// Where not even the failure can be told.
pub async fn run_client(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let reach = command.reach().clone();
    let screen = Screen::find(reach.json);
    let done = perform(command, &reach, &screen).await;
    Ok(conclude(&screen, done))
}

/// The exit code; what failed is told.
pub(super) fn conclude(screen: &Screen, done: Done<ExitCode>) -> ExitCode {
    let done = match done {
        Err(fault) if !fault.is_silent() => screen.fault(&fault).and(Err(fault)),
        done => done,
    };
    match done {
        Ok(code) => code,
        Err(fault) => ExitCode::from(fault.exit),
    }
}

async fn perform(command: ClientCommand, reach: &ReachOptions, screen: &Screen) -> Done<ExitCode> {
    let need = match command {
        ClientCommand::Status(_) => Need::KeyIfAny,
        _ => Need::Key,
    };
    let mut session = Session::new(
        reach::reach(&reach.access, reach.config.as_deref(), need)?,
        screen,
    );
    let session = &mut session;
    match command {
        // Each is larger than the others would be together.
        ClientCommand::Webhook(Group { command, .. }) => {
            Box::pin(webhook::run(session, command)).await
        }
        ClientCommand::Event(Group { command, .. }) => Box::pin(event::run(session, command)).await,
        ClientCommand::Delivery(Group { command, .. }) => {
            Box::pin(delivery::run(session, command)).await
        }
        ClientCommand::Replay(Leaf { options, .. }) => {
            Box::pin(replay::run(session, options)).await
        }
        ClientCommand::Job(Group { command, .. }) => Box::pin(job::run(session, command)).await,
        ClientCommand::Tail(Leaf { options, .. }) => Box::pin(tail::run(session, options)).await,
        ClientCommand::Status(Leaf { options, .. }) => {
            Box::pin(status::run(session, options)).await
        }
        ClientCommand::Audit(Leaf { options, .. }) => Box::pin(audit::run(session, options)).await,
    }
}
