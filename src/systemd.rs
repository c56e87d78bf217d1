//! Messages to the service manager, as `sd_notify(3)` has them: ready, reloading, stopping, alive.
//!
//! Without a service manager (`NOTIFY_SOCKET` unset) every call does nothing. A message that cannot be
//! sent is logged and costs nothing else: the daemon's work does not hang on its supervisor.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

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
        let output = Command::new(std::env::current_exe().unwrap())
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
