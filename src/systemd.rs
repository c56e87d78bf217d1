//! Messages to the service manager, as `sd_notify(3)` has them: ready, reloading, stopping, alive; and the socket that it
//! has bound for the daemon, as `sd_listen_fds(3)` has it.
//!
//! Without a service manager (`NOTIFY_SOCKET` unset) every message does nothing. One that cannot be
//! sent is logged and costs nothing else: the daemon's work does not hang on its supervisor. A socket that cannot be used
//! is an error, never passed over: the daemon would bind one of its own beside it, or wait where nobody comes.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

/// Why a passed socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// Not one socket.
    #[error(
        "LISTEN_FDS is {0:?}, and the daemon takes one socket: give the socket unit one ListenStream= and no other"
    )]
    Count(String),
    /// No socket, or none of TCP.
    #[error(
        "the socket that was passed cannot be used: {0}; the socket unit is to have ListenStream= with an address and a \
         port, as ListenStream={1}"
    )]
    Kind(io::Error, SocketAddr),
    /// A connection, or a socket that nobody listens at.
    #[error(
        "the socket that was passed does not listen: the socket unit is to have Accept=no, which is the default"
    )]
    Deaf,
    /// Another address than the config's.
    #[error(
        "the socket that was passed is bound to {bound}, and [server] listen is {listen}: set both to the same address, as \
         all commands go by the config"
    )]
    Elsewhere {
        /// What the socket unit says.
        bound: SocketAddr,
        /// What the config says.
        listen: SocketAddr,
    },
}

/// The listener that the service manager has bound for this process, where it has. To be asked for once, and before any
/// other thread is there, as it takes the variables out of the environment.
///
/// # Errors
/// [`PassedError`] says what was passed instead of a listener at `listen`, and what to change. Port 0 means any port.
pub fn listener(listen: SocketAddr) -> Result<Option<TcpListener>, PassedError> {
    let own = std::process::id().to_string();
    // Another process's, which did not take them out of the environment of its children.
    if env::var("LISTEN_PID").is_ok_and(|id| id != own) || env::var_os("LISTEN_PID").is_none() {
        return Ok(None);
    }
    let count = match env::var_os("LISTEN_FDS") {
        None => return Ok(None),
        Some(count) => count.to_string_lossy().into_owned(),
    };
    match count.as_str() {
        "0" => return Ok(None),
        "1" => {}
        _ => return Err(PassedError::Count(count)),
    }
    let kind = |error| PassedError::Kind(error, listen);
    let listener = ListenFd::from_env().take_tcp_listener(0).map_err(kind)?;
    let Some(listener) = listener else {
        return Err(PassedError::Count(count));
    };
    if !socket_acceptconn(&listener).map_err(|error| kind(error.into()))? {
        return Err(PassedError::Deaf);
    }
    let bound = listener.local_addr().map_err(kind)?;
    let same_port = listen.port() == 0 || listen.port() == bound.port();
    if bound.ip() != listen.ip() || !same_port {
        return Err(PassedError::Elsewhere { bound, listen });
    }
    listener.set_nonblocking(true).map_err(kind)?;
    Ok(Some(listener))
}

/// Says that the daemon is ready, with a status for `systemctl status`. Also ends a reload.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that a reload has begun; [`ready`] ends it.
pub fn reloading() {
    // systemd 253 and later want the time of the request in the same datagram.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => report(&error),
    }
}

/// Says that the daemon is stopping.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Shows another status in `systemctl status`.
pub fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// Says that the daemon is alive. To be sent every [`watchdog_period`], and only while work progresses.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be called: half of the watchdog's time, as `sd_watchdog_enabled(3)`
/// advises; `None` where there is no watchdog for this process.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        report(&error);
    }
}

fn report(error: &io::Error) {
    tracing::warn!(%error, "the service manager cannot be told");
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Runs only inside the process that the next test starts, with the service manager's environment.
    #[test]
    #[ignore = "a part of speaks_the_protocol_to_a_service_manager"]
    fn as_a_service() {
        assert_eq!(watchdog_period(), Some(Duration::from_secs(15)));
        ready("3 webhooks");
        reloading();
        alive();
        stopping("draining");
    }

    #[test]
    fn speaks_the_protocol_to_a_service_manager() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "systemd::tests::as_a_service", "--ignored"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let receive = || {
            let mut buffer = [0; 256];
            let size = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..size].to_vec()).unwrap()
        };
        assert_eq!(receive(), "READY=1\nSTATUS=3 webhooks\n");
        let reload = receive();
        let rest = reload.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(rest.trim_end().parse::<u64>().unwrap() > 0, "{reload}");
        assert_eq!(receive(), "WATCHDOG=1\n");
        assert_eq!(receive(), "STOPPING=1\nSTATUS=draining\n");
    }
}
