//! Where the data lies: the directory, its owner, the space, the file system, the disk's sync time, and the limit on
//! open files.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use tokio::time::Instant;

use super::Check;
use crate::config::Config;
use crate::daemon::room_for;
use crate::store::{self, free_bytes};
use crate::upkeep::size;

/// Writes that are timed, and the size of each: as a group of a few events.
const SYNCS: usize = 50;
const SYNC_BYTES: usize = 4096;
/// The timing ends after this, however slow the disk is.
const SYNCS_TIME_MAX: Duration = Duration::from_secs(5);
/// A sync that takes longer is felt by every client that posts.
const SYNC_SLOW: Duration = Duration::from_millis(50);

/// The checks of the data directory.
pub(super) fn checks(options: &store::Options) -> Vec<Check> {
    let path = &options.path;
    if !path.exists() {
        // Before the first start the place where it will be made tells of the disk.
        let above = path.ancestors().find(|above| above.is_dir());
        let above = above.unwrap_or(Path::new("."));
        let mut checks = vec![missing(path)];
        checks.push(space(above, options.disk_reserve_bytes));
        checks.push(file_system(above));
        return checks;
    }
    let mut checks = vec![directory(path)];
    checks.push(space(path, options.disk_reserve_bytes));
    checks.push(file_system(path));
    checks.push(sync_time(path));
    checks
}

fn missing(path: &Path) -> Check {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = path.display();
    if rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Check::ok(
            "data",
            format!("{shown} is not there yet: the first start makes it (hookwheel serve)"),
        );
    }
    Check::fail(
        "data",
        format!("{shown} is not there, and cannot be made"),
        format!("make {} writable for the daemon's user", parent.display()),
    )
}

fn directory(path: &Path) -> Check {
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            return Check::fail(
                "data",
                format!("{shown} is a file"),
                "move it away, or set another storage.path",
            );
        }
        Ok(found) => found,
        Err(error) => {
            return Check::fail(
                "data",
                format!("{shown}: {error}"),
                "run doctor as the daemon's user",
            );
        }
    };
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if rustix::fs::access(path, all).is_err() {
        return Check::fail(
            "data",
            format!("{shown} cannot be written to by this user"),
            "run doctor as the daemon's user, or let that user write there",
        );
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Check::warn(
            "data",
            format!(
                "{shown} belongs to user {}, and this is user {user}",
                found.uid()
            ),
            "run doctor as the daemon's user",
        );
    }
    if found.mode() & 0o077 != 0 {
        return Check::warn(
            "data",
            format!(
                "{shown} is open to other users (mode {:03o})",
                found.mode() & 0o777
            ),
            "chmod 700: webhooks' secrets are in it",
        );
    }
    Check::ok("data", format!("{shown} is this user's own, and writable"))
}

fn space(path: &Path, reserve: u64) -> Check {
    let free = match free_bytes(path) {
        Ok(free) => free,
        Err(error) => return Check::fail("space", error.to_string(), "check the file system"),
    };
    let found = format!("{} free, with a reserve of {}", size(free), size(reserve));
    if free < reserve {
        return Check::fail(
            "space",
            found,
            "new events are refused (507): free some space, or lower storage.disk_reserve",
        );
    }
    if free < reserve.saturating_mul(2) {
        return Check::warn(
            "space",
            found,
            "free some space before new events are refused",
        );
    }
    Check::ok("space", found)
}

fn file_system(path: &Path) -> Check {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = match std::fs::read_to_string("/proc/self/mounts") {
        Ok(mounts) => mounts,
        Err(error) => {
            return Check::warn(
                "file system",
                format!("not known: /proc/self/mounts: {error}"),
                "make sure that it is a local disk",
            );
        }
    };
    let Some((at, kind)) = mount_of(&mounts, &real) else {
        return Check::warn(
            "file system",
            "not known",
            "make sure that it is a local disk",
        );
    };
    let found = format!("{kind} at {}", at.display());
    judged(&kind, found)
}

fn judged(kind: &str, found: String) -> Check {
    let network = [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "ceph",
        "glusterfs",
        "afs",
    ];
    if network.contains(&kind) || kind.starts_with("fuse.") {
        return Check::warn(
            "file system",
            found,
            "a network's file system may lose what it called synced: use a local disk",
        );
    }
    match kind {
        "tmpfs" | "ramfs" => Check::warn(
            "file system",
            found,
            "it is memory: all data is gone when the machine stops; use a disk",
        ),
        "overlay" | "aufs" => Check::warn(
            "file system",
            found,
            "it goes with its container: mount a volume there",
        ),
        _ => Check::ok("file system", found),
    }
}

/// Where the file system that holds `path` is mounted, and its type.
fn mount_of(mounts: &str, path: &Path) -> Option<(PathBuf, String)> {
    let mut best: Option<(PathBuf, String)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(at), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let at = PathBuf::from(at.replace("\\040", " "));
        // The last of those on one place is the one that is seen.
        let deeper = best
            .as_ref()
            .is_none_or(|(found, _)| at.components().count() >= found.components().count());
        if path.starts_with(&at) && deeper {
            best = Some((at, kind.to_owned()));
        }
    }
    best
}

fn sync_time(path: &Path) -> Check {
    let mut times = match timed(path) {
        Ok(times) => times,
        Err(error) => {
            return Check::fail(
                "disk sync",
                format!("a file in {} cannot be synced: {error}", path.display()),
                "check the disk's space and health",
            );
        }
    };
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default()
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let found = format!(
        "{} syncs of {SYNC_BYTES} B: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        times.len(),
        ms(at(50)),
        ms(at(99)),
        ms(at(100))
    );
    if at(99) > SYNC_SLOW {
        return Check::warn(
            "disk sync",
            found,
            "each acknowledgement waits for one: see what else writes there, or use a faster disk",
        );
    }
    Check::ok("disk sync", found)
}

/// Times syncs of a file without a name, which is gone when it is closed.
fn timed(path: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file: File = tempfile::tempfile_in(path)?;
    let begun = Instant::now();
    let mut times = Vec::with_capacity(SYNCS);
    while times.len() < SYNCS && begun.elapsed() < SYNCS_TIME_MAX {
        file.seek(SeekFrom::End(0))?;
        file.write_all(&[0x5a; SYNC_BYTES])?;
        let before = Instant::now();
        file.sync_data()?;
        times.push(before.elapsed());
    }
    Ok(times)
}

/// Whether the process may open as many files as the config asks for.
pub(super) fn files(config: &Config) -> Check {
    let wanted = config.server.connections_max;
    match room_for(wanted, config.delivery.in_flight_max) {
        Ok(room) if room >= wanted => Check::ok(
            "open files",
            format!("enough for {wanted} clients, as far as this shell's limit tells"),
        ),
        Ok(room) => Check::warn(
            "open files",
            format!("enough for {room} of {wanted} clients, as far as this shell's limit tells"),
            "raise LimitNOFILE of the unit, or ulimit -n",
        ),
        Err(error) => Check::fail(
            "open files",
            error.to_string(),
            "a daemon would not start with this shell's limit",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::doctor::State;

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\nhost:/x /var/lib nfs4 rw 0 0\ntmpfs /var/li tmpfs rw 0 0\n\
                      /dev/b /var/lib/hook\\040wheel xfs rw 0 0\n/dev/c /srv ext4 rw 0 0\noverlay /srv overlay rw 0 0\n";
        for (path, at, kind) in [
            ("/var/lib/other", "/var/lib", "nfs4"),
            ("/var/lib/hook wheel/data", "/var/lib/hook wheel", "xfs"),
            ("/etc", "/", "ext4"),
            ("/srv/data", "/srv", "overlay"),
        ] {
            let found = mount_of(mounts, Path::new(path));
            assert_eq!(found, Some((PathBuf::from(at), kind.to_owned())), "{path}");
        }
        for (kind, state) in [
            ("nfs", State::Warn),
            ("fuse.sshfs", State::Warn),
            ("tmpfs", State::Warn),
            ("overlay", State::Warn),
            ("ext4", State::Ok),
            ("xfs", State::Ok),
        ] {
            assert_eq!(judged(kind, String::new()).state, state, "{kind}");
        }
    }
}
