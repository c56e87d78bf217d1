//! The files that a config names: certificates, keys and passwords. Read while checking, with a bound.
//!
//! Relative paths are taken from the config file's directory. Nothing is written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::model::Secret;
use crate::vault::MasterKey;

use super::values::Refusal;

/// A bundle of all public authorities is about 250 kB.
const CA_BYTES_MAX: u64 = 4 << 20;
/// A key is a line; more is some other file.
const KEY_BYTES_MAX: u64 = 4 << 10;
/// The longest keys in use are some kilobytes; certificates may stand in the same file.
const PRIVATE_KEY_BYTES_MAX: u64 = 256 << 10;
/// The other side gets the whole chain with each handshake, and takes few.
const CHAIN_MAX: usize = 16;
/// What SOCKS 5 can carry (RFC 1929).
pub(super) const PASSWORD_BYTES_MAX: usize = 255;
/// A key shorter than this can be guessed through the API.
const KEY_BYTES_MIN: usize = 16;

/// Reads a file whole, and refuses one with more than `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        let message = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// What to do about a file that cannot be read.
pub(super) fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "create it, or correct the path",
        io::ErrorKind::PermissionDenied => {
            "let the user that runs hookwheel read it (and enter its directory)"
        }
        io::ErrorKind::IsADirectory => "name the file, not its directory",
        _ => "check the path and the file",
    }
}

/// The certificates of a PEM file, each fit to be a trust anchor.
pub(super) fn certificates(
    base: &Path,
    written: &str,
) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let found = listed(base, written)?;
    for (index, certificate) in found.iter().enumerate() {
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|cause| {
            let (ordinal, shown) = (index + 1, base.join(written));
            let shown = shown.display();
            Refusal::new(
                format!("certificate {ordinal} of `{shown}` cannot be trusted: {cause}"),
                "put the certificate of an authority (X.509 v3) there",
            )
        })?;
    }
    Ok(found)
}

/// The certificates of a PEM file, at least one.
fn listed(base: &Path, written: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, CA_BYTES_MAX)?;
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|cause| {
        Refusal::new(
            format!("`{shown}` is not a proper PEM file: {cause}"),
            "export the certificate again, as PEM",
        )
    })?;
    if found.is_empty() {
        return Err(Refusal::new(
            format!("`{shown}` holds no certificate"),
            "put at least one PEM block there, from -----BEGIN CERTIFICATE----- on",
        ));
    }
    Ok(found)
}

/// The certificates of a PEM file in their order, as who owns the first one shows them.
pub(super) fn chain(base: &Path, written: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let found = listed(base, written)?;
    let count = found.len();
    if count <= CHAIN_MAX {
        return Ok(found);
    }
    let shown = base.join(written);
    Err(Refusal::new(
        format!(
            "`{}` holds {count} certificates, which is no chain of one certificate",
            shown.display()
        ),
        "put the certificate there, and below it those between it and its authority",
    ))
}

/// The private key of a PEM file. No message has any of what is in it.
pub(super) fn private_key(base: &Path, written: &str) -> Result<PrivateKeyDer<'static>, Refusal> {
    const FIX: &str = "put the certificate's private key there as PEM, without a pass phrase (-----BEGIN PRIVATE \
                       KEY-----)";
    let path = resolve(base, written)?;
    let bytes = read(&path, PRIVATE_KEY_BYTES_MAX)?;
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|cause| {
        let problem = match cause {
            pem::Error::NoItemsFound if contains(&bytes, b"ENCRYPTED") => {
                format!("the private key in `{shown}` has a pass phrase")
            }
            pem::Error::NoItemsFound => format!("`{shown}` holds no private key"),
            _ => format!("`{shown}` is not a proper PEM file"),
        };
        Refusal::new(problem, FIX)
    })
}

/// What to do where everybody on the machine can read a file that holds a secret. A group may be meant to.
pub(super) fn readable_by_all(base: &Path, written: &str) -> Option<String> {
    let path = resolve(base, written).ok()?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| format!("chmod o-rwx {}", path.display()))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// A password of a file, one line. No message shows any of it.
pub(super) fn password(base: &Path, written: &str) -> Result<Secret, Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, KEY_BYTES_MAX)?;
    let line = one_line(&bytes);
    let shown = path.display();
    let fix = format!("put the password there, one line of 1 to {PASSWORD_BYTES_MAX} bytes");
    let text = std::str::from_utf8(line)
        .map_err(|_| Refusal::new(format!("the password in `{shown}` is not UTF-8"), &*fix))?;
    if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
        let problem = format!("the password in `{shown}` has {} bytes", text.len());
        return Err(Refusal::new(problem, fix));
    }
    if text.chars().any(char::is_control) {
        let problem = format!("the password in `{shown}` has line breaks or control characters");
        return Err(Refusal::new(problem, fix));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A credential of a file, one line. What it must look like further is judged by who takes it. No message shows any of
/// it.
pub(super) fn credential(base: &Path, written: &str) -> Result<Secret, Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, KEY_BYTES_MAX)?;
    let shown = path.display();
    let fix = "put it there alone, as one line of text";
    let text = std::str::from_utf8(one_line(&bytes))
        .map_err(|_| Refusal::new(format!("what `{shown}` holds is not UTF-8"), fix))?;
    if text.is_empty() {
        return Err(Refusal::new(format!("`{shown}` is empty"), fix));
    }
    if text.chars().any(char::is_control) {
        let problem = format!("what `{shown}` holds has line breaks or control characters");
        return Err(Refusal::new(problem, fix));
    }
    Ok(Secret::new(text.to_owned()))
}

fn one_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The SHA-256 of the key in a file; one newline at the end is not part of the key.
pub(super) fn key_hash(base: &Path, written: &str) -> Result<[u8; 32], Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, KEY_BYTES_MAX)?;
    let key = one_line(&bytes);
    let shown = path.display();
    let fix = "put the key there, one line of printable ASCII (openssl rand -hex 32)";
    if key.is_empty() {
        return Err(Refusal::new(format!("`{shown}` is empty"), fix));
    }
    // Anything else could not arrive in a header (RFC 9110, section 5.5).
    if !key.iter().all(u8::is_ascii_graphic) {
        let problem = format!("the key in `{shown}` has spaces, line breaks or other characters");
        return Err(Refusal::new(problem, fix));
    }
    if key.len() < KEY_BYTES_MIN {
        let problem = format!("the key in `{shown}` is shorter than {KEY_BYTES_MIN} characters");
        return Err(Refusal::new(problem, fix));
    }
    Ok(Sha256::digest(key).into())
}

/// The master key in a file; one newline at the end is not part of it.
pub(super) fn master_key(base: &Path, written: &str) -> Result<MasterKey, Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, KEY_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    MasterKey::parse(text.trim_end_matches(['\r', '\n'])).map_err(|why| {
        Refusal::new(
            format!("`{}` holds no master key: {why}", path.display()),
            "make one: hookwheel key master --out FILE",
        )
    })
}

/// A path as written, taken from the config file's directory where it is relative.
pub(super) fn resolve(base: &Path, written: &str) -> Result<PathBuf, Refusal> {
    if written.is_empty() || written.contains('\0') {
        return Err(Refusal::new("is not a path", "write the path of a file"));
    }
    Ok(base.join(written))
}

fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    read_bounded(path, bytes_max).map_err(|cause| {
        let problem = format!("`{}` cannot be read: {cause}", path.display());
        Refusal::new(problem, remedy(&cause))
    })
}
