//! The clock: whether it is kept, and whether it has gone back behind what is recorded.

use std::path::Path;

use super::Check;
use crate::model::UnixMillis;

/// What is further behind the newest record than this is no rounding.
const BEHIND_WARN_MS: u64 = 2_000;
/// Receivers commonly refuse signatures that are five minutes off.
const BEHIND_FAIL_MS: u64 = 300_000;

pub(super) fn checks(now: UnixMillis, newest: Option<UnixMillis>) -> Vec<Check> {
    let mut checks = vec![kept()];
    if let Some(newest) = newest {
        checks.push(against(now, newest));
    }
    checks
}

/// As far as can be told from outside of the kernel.
fn kept() -> Check {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Check::ok("clock", "synchronised by systemd-timesyncd");
    }
    if Path::new("/run/chrony/chronyd.pid").exists() || Path::new("/run/chronyd.pid").exists() {
        return Check::ok(
            "clock",
            "kept by chronyd, as it seems; `chronyc tracking` knows more",
        );
    }
    Check::warn(
        "clock",
        "it cannot be told whether anything keeps it",
        "make sure that chronyd, systemd-timesyncd or the host does: signatures carry the time",
    )
}

fn against(now: UnixMillis, newest: UnixMillis) -> Check {
    let behind = newest.0.saturating_sub(now.0);
    let found = format!("now {now}, newest record {newest}");
    if behind > BEHIND_FAIL_MS {
        return Check::fail(
            "clock order",
            format!("{found}: it went back by {} s", behind / 1000),
            "set the clock: receivers refuse signatures of another time",
        );
    }
    if behind > BEHIND_WARN_MS {
        return Check::warn(
            "clock order",
            format!("{found}: it went back by {} s", behind / 1000),
            "see why the clock was set back",
        );
    }
    Check::ok("clock order", found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::doctor::State;

    #[test]
    fn a_clock_that_went_back_is_noticed() {
        let now = UnixMillis(1_800_000_000_000);
        for (newest, state) in [
            (now.0 - 9_000_000, State::Ok),
            (now.0 + 1_000, State::Ok),
            (now.0 + 60_000, State::Warn),
            (now.0 + 400_000, State::Fail),
        ] {
            assert_eq!(against(now, UnixMillis(newest)).state, state, "{newest}");
        }
    }
}
