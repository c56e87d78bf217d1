//! `hookwheel serve`: the daemon under its signals and under systemd.

use std::net;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::systemd;
use crate::telemetry::Log;

use super::told::{Came, Told};
use super::{Daemon, Handle};

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reads the config again. It listens at the socket that was `passed` by
/// the service manager, where there is one, and else binds one itself.
///
/// # Errors
/// Where it could not start, or had to end.
pub async fn serve(
    config: Config,
    path: &Path,
    log: &Log,
    passed: Option<net::TcpListener>,
) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt, mut hangup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let first = config.clone();
    let socket = if passed.is_some() {
        "passed by the service manager"
    } else {
        "its own"
    };
    let daemon = match passed {
        Some(listener) => Daemon::start_at(config, TcpListener::from_std(listener)?).await?,
        None => Daemon::start(config).await?,
    };
    tracing::info!(address = %daemon.address(), socket, version = env!("CARGO_PKG_VERSION"), "ready");
    systemd::ready(&format!("serving on {}", daemon.address()));
    let (handle, stop) = (daemon.handle(), CancellationToken::new());
    let tasks = TaskTracker::new();
    tasks.spawn(watchdog(handle.clone(), stop.clone()));
    // A task of its own, so that a reload here holds nobody up.
    let mut run = tasks.spawn(daemon.run(stop.clone()));
    // Beside the others, as it may wait for a disk that does not answer. What is asked for meanwhile is one more.
    let mut told = Told::new(&first.storage.path, path);
    let reloads = async {
        while hangup.recv().await.is_some() && !stop.is_cancelled() {
            reload(&handle, path, &first, log, &mut told).await;
        }
        std::future::pending::<()>().await;
    };
    let mut reloads = pin!(reloads);
    loop {
        tokio::select! {
            ended = &mut run => {
                ended.context("the daemon panicked")??;
                tracing::info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
            _ = terminate.recv() => begin_stop(&stop),
            _ = interrupt.recv() => begin_stop(&stop),
            () = &mut reloads => {}
        }
    }
}

fn begin_stop(stop: &CancellationToken) {
    if stop.is_cancelled() {
        tracing::info!("stopping already: what is under way has until the end of the grace period");
        return;
    }
    tracing::info!("stopping: no new attempts, those under way may end");
    systemd::stopping("finishing what is under way");
    stop.cancel();
}

async fn reload(handle: &Handle, path: &Path, running: &Config, log: &Log, told: &mut Told) {
    systemd::reloading();
    // It reads files, and one of them may be on a disk that hangs.
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
    let came = match read {
        Ok(Ok(config)) => {
            for warning in &config.warnings {
                tracing::warn!("{}", warning.line());
            }
            if let Err(error) = log.change(&config.log.level) {
                tracing::error!(%error, "the log level was not changed");
            }
            take_over(handle, &config, running).await
        }
        Ok(Err(errors)) => {
            handle.count_reload(None);
            tracing::error!(%errors, "the config has errors; the old one stays in force");
            Came::refused("", errors.to_string())
        }
        Err(panic) => {
            handle.count_reload(None);
            tracing::error!(%panic, "reading the config ended by a defect; the old one stays in force");
            Came::refused(
                "",
                "reading the config ended by a defect; the log says where".to_owned(),
            )
        }
    };
    told.tell(came).await;
    systemd::ready("serving");
}

async fn take_over(handle: &Handle, config: &Config, running: &Config) -> Came {
    let needs_restart = config.needs_restart(running);
    let taken = handle.reload(config).await;
    handle.count_reload(taken.is_ok().then_some(config));
    match taken {
        Ok(declared) => {
            if needs_restart {
                tracing::warn!(
                    "accounts, keys, certificates, profiles and formats were read again; other changes need a restart"
                );
            } else {
                tracing::info!(
                    "accounts, keys, certificates, profiles and formats were read again"
                );
            }
            Came::taken(&config.revision, needs_restart, &declared)
        }
        Err(error) => {
            tracing::error!(%error, "the config was not taken over");
            Came::refused(&config.revision, error.to_string())
        }
    }
}

/// Feeds systemd's watchdog for as long as work is progressing; and while the daemon stops, for which the
/// service manager has another time limit.
async fn watchdog(handle: Handle, stop: CancellationToken) {
    let Some(period) = systemd::watchdog_period() else {
        return;
    };
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(50)));
    loop {
        ticks.tick().await;
        if stop.is_cancelled() || handle.is_progressing() {
            systemd::alive();
        } else {
            tracing::error!("work is not progressing; the watchdog is not fed");
        }
    }
}
