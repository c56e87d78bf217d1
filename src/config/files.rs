//! The files that a config names: certificates, keys and passwords. Read while checking, with a bound.
//!
//! Relative paths are taken from the config file's directory. Nothing is written.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::model::Secret;

use super::values::Refusal;

/// A bundle of all public authorities is about 250 kB.
const CA_BYTES_MAX: u64 = 4 << 20;
/// A key is a line; more is some other file.
const KEY_BYTES_MAX: u64 = 4 << 10;
/// An RSA key of 16,384 bits as PEM has 12 kB.
const PRIVATE_KEY_BYTES_MAX: u64 = 64 << 10;
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
    let found = chain(base, written)?;
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
pub(super) fn chain(base: &Path, written: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
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

/// The private key of a PEM file. No message shows any of it.
pub(super) fn private_key(base: &Path, written: &str) -> Result<PrivateKeyDer<'static>, Refusal> {
    let path = resolve(base, written)?;
    let bytes = read(&path, PRIVATE_KEY_BYTES_MAX)?;
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        Refusal::new(
            format!("`{shown}` holds no private key that can be read"),
            "put one there as PEM and without a passphrase: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC)",
        )
    })
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
