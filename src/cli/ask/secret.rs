//! A webhook's new secret: into a new file that only its owner can read, or shown this once.
//!
//! The file is made before the daemon is asked, so that no secret is lost because it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fault::{Done, Fault};
use super::session::{Session, text_if};
use super::text::{Style, Text};

/// A new file that is waiting for its secret; without one it is removed.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl SecretFile {
    /// Makes the file, where one is wanted.
    pub(super) fn make(path: Option<&Path>) -> Done<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| {
            let detail = format!(
                "the new file {} for the secret cannot be made: {error}",
                path.display()
            );
            Fault::usage("secret_file", detail).hint("no file is written over; name another one")
        })?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            is_kept: false,
        }))
    }

    fn keep(&mut self, secret: &str) -> std::io::Result<()> {
        self.file.write_all(secret.as_bytes())?;
        self.file.sync_all()?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "the empty file for the secret stays");
        }
    }
}

/// Puts the secret of an answer where it belongs: into the file, or before the person. Prints the answer's JSON where
/// that is wanted; of a secret in a file it names the file only.
pub(super) fn hand_over(
    session: &Session<'_>,
    answer: &mut Value,
    raw: &str,
    file: Option<SecretFile>,
) -> Done<()> {
    let Some(secret) = text_if(answer, "secret").map(str::to_owned) else {
        return if session.screen.json {
            session.screen.json_text(raw)
        } else {
            Ok(())
        };
    };
    let Some(mut file) = file else {
        if session.screen.json {
            return session.screen.json_text(raw);
        }
        session
            .screen
            .fact("secret", Text::styled(Style::Bold, &secret))?;
        return session.screen.fact(
            "",
            Text::styled(
                Style::Dim,
                "shown this once; the receiver needs it to verify",
            ),
        );
    };
    let shown = file.path.display().to_string();
    if let Err(error) = file.keep(&secret) {
        // It is valid by now, and in no other answer.
        session.screen.note(format!(
            "the secret could not be written to {shown}: {error}; it is:"
        ))?;
        session.screen.note(secret)?;
        return Err(Fault::new("secret_file", "the secret is not in its file"));
    }
    if session.screen.json {
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("secret".to_owned(), Value::Null);
            answer.insert("secret_file".to_owned(), json!(shown));
        }
        return session.screen.json_value(answer);
    }
    session.screen.fact("secret", format!("in {shown}"))
}
