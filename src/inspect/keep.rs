//! The local receiver's CA, kept on disk, so that a daemon that trusts it once trusts it at the next start.
//!
//! One file, `authority.pem`, readable by its owner only, has all of it: until when it is good, the key and the
//! certificate. `ca.pem` beside it is a copy of the certificate for those who shall trust it. Files are
//! put into place whole; of two listeners that start at once, both use what the first one made. A CA is
//! renewed before it ends, with the same name and key, so that who trusts the old certificate goes on to.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::model::UnixMillis;
use crate::receiver::Authority;

/// The common name in the certificate.
const NAME: &str = "Hookwheel local CA";
/// How the file with the key begins; behind it stands the certificate's last day.
const HEAD: &str = "Hookwheel local CA, version 1, good until ";
/// A key and a certificate have about a kilobyte.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// How long a CA is good: long enough to be forgotten, short enough for a lost laptop.
const GOOD_FOR_DAYS: i32 = 730;
/// A CA with fewer days left is renewed at the start, as no listener runs that long.
const RENEWED_BEFORE_DAYS: i32 = 90;

/// The CA, and where its certificate is.
#[derive(Debug)]
pub(super) struct Kept {
    /// The CA.
    pub(super) authority: Authority,
    /// The absolute path of its certificate.
    pub(super) certificate: PathBuf,
}

/// Where the CA is kept unless another place is named: `hookwheel` below the directory for state
/// (XDG Base Directory Specification).
pub(super) fn default_directory() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let state =
        state.context("there is neither XDG_STATE_HOME nor HOME; name a place with --dir")?;
    Ok(state.join("hookwheel"))
}

/// The CA that is kept in `directory`; a new one where there is none, a renewed one where its end is near.
///
/// # Errors
/// Where the directory or a file in it cannot be used, with what to do.
pub(super) fn open(directory: &Path, now: UnixMillis) -> anyhow::Result<Kept> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| {
        format!("the directory {shown} cannot be made; name another with --dir")
    })?;
    let directory = directory
        .canonicalize()
        .with_context(|| format!("the directory {shown} cannot be used"))?;
    let path = directory.join("authority.pem");
    let today = day_of(now)?;
    let text = match read(&path)? {
        Some(text) => text,
        None => {
            let text = text_of(
                &Authority::local_until(NAME, last_day(today)?, None)?,
                today,
            )?;
            put(&path, &text, 0o600, false)?;
            read(&path)?.with_context(|| format!("{} is gone again", path.display()))?
        }
    };
    let remedy = || {
        format!(
            "{} cannot be used; remove it, and a new CA is made, which daemons must be told of",
            path.display()
        )
    };
    let until = until(&text).with_context(remedy)?;
    let mut authority = Authority::from_pem(NAME, &text, now).with_context(remedy)?;
    if until < today.saturating_add(RENEWED_BEFORE_DAYS.days()) {
        let key = authority.key_pem();
        authority = Authority::local_until(NAME, last_day(today)?, Some(&key))?;
        put(&path, &text_of(&authority, today)?, 0o600, true)?;
    }
    let certificate = directory.join("ca.pem");
    let wanted = authority.certificate_pem();
    if fs::read(&certificate).ok().as_deref() != Some(wanted.as_bytes()) {
        put(&certificate, &wanted, 0o644, true)?;
    }
    Ok(Kept {
        authority,
        certificate,
    })
}

fn day_of(now: UnixMillis) -> anyhow::Result<Date> {
    let ms = i64::try_from(now.0).context("this machine's clock is far off")?;
    let at = Timestamp::from_millisecond(ms).context("this machine's clock is far off")?;
    Ok(at.to_zoned(TimeZone::UTC).date())
}

/// The last day of a CA that is made on `today`.
fn end_from(today: Date) -> Date {
    today.saturating_add(GOOD_FOR_DAYS.days())
}

fn last_day(today: Date) -> anyhow::Result<(i16, u8, u8)> {
    let end = end_from(today);
    let part = |number: i8| u8::try_from(number).context("this machine's clock is far off");
    Ok((end.year(), part(end.month())?, part(end.day())?))
}

fn text_of(authority: &Authority, today: Date) -> anyhow::Result<Zeroizing<String>> {
    let end = end_from(today);
    let (key, certificate) = (authority.key_pem(), authority.certificate_pem());
    Ok(Zeroizing::new(format!(
        "{HEAD}{end}\n{}{certificate}",
        *key
    )))
}

fn until(text: &str) -> anyhow::Result<Date> {
    let line = text.lines().next().unwrap_or_default();
    let day = line.strip_prefix(HEAD);
    let day = day.with_context(|| format!("its first line is not `{HEAD}` and a day"))?;
    day.parse().context("its first line does not end in a day")
}

/// Reads the file with the key; `None` where there is none. One that others can read is refused.
fn read(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be opened")),
    };
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!(
            "{shown} holds a CA's key and others can read it; remove it, and a new CA is made, or, if \
             nobody did read it: chmod 600 {shown}"
        );
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let count = read.with_context(|| format!("{shown} cannot be read"))?;
    let fits = u64::try_from(count).is_ok_and(|count| count <= FILE_BYTES_MAX);
    ensure!(
        fits,
        "{shown} is larger than {FILE_BYTES_MAX} bytes; remove it"
    );
    Ok(Some(text))
}

/// Puts a file into its place whole. Where one is there already it is replaced, or kept.
fn put(path: &Path, text: &str, mode: u32, replace: bool) -> anyhow::Result<()> {
    let shown = path.display();
    let place = || format!("{shown} cannot be written; name another place with --dir");
    let directory = path.parent().context("a file has a directory")?;
    let mut file = NamedTempFile::new_in(directory).with_context(place)?;
    let permissions = Permissions::from_mode(mode);
    file.as_file()
        .set_permissions(permissions)
        .with_context(place)?;
    file.write_all(text.as_bytes()).with_context(place)?;
    file.as_file().sync_all().with_context(place)?;
    if replace {
        file.persist(path).with_context(place)?;
        return Ok(());
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(place),
    }
}
