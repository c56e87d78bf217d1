//! The arguments of `hookwheel webhook`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::cli::ask::PageOptions;
use crate::cli::ask::fields::FieldOptions;

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List webhooks, oldest first.
    #[command(visible_alias = "ls")]
    List(PageOptions),
    /// Register a webhook; its secret is shown this once.
    Add(Box<AddOptions>),
    /// Show a webhook, and what its receiver will see.
    Show(Named),
    /// Change what is given, and nothing else.
    Edit(Box<EditOptions>),
    /// Remove a webhook; what waits for it is cancelled.
    #[command(visible_alias = "rm")]
    Remove(Sure),
    /// Let deliveries go out, and those that were held.
    Enable(Named),
    /// Hold deliveries until the webhook is enabled again.
    Disable(Named),
    /// Send an example now, and show what came of it.
    Test(Named),
    /// Replace the secret: at once with both valid for a while, or staged, as the profile has it.
    Rotate(RotateOptions),
    /// End, on record, what a disabled webhook holds.
    Discard(DiscardOptions),
    /// Print a program for the receiver that verifies the signatures of this webhook.
    Verifier(VerifierOptions),
}

/// A webhook.
#[derive(Debug, Args)]
pub struct Named {
    /// Its id, the beginning of it, or its name.
    pub(super) webhook: String,
}

/// A webhook for which something cannot be undone.
#[derive(Debug, Args)]
pub struct Sure {
    /// Its id, the beginning of it, or its name.
    pub(super) webhook: String,
    /// Do not ask.
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// A new webhook.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// Where to send to: an https URL. Not needed with --from.
    #[arg(value_name = "URL", required_unless_present = "from")]
    pub(super) target: Option<String>,
    #[command(flatten)]
    pub(super) fields: FieldOptions,
    /// A file with the secret to sign with, - for standard input [default: a new one].
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Write the secret to this new file, readable by its owner only, in place of showing it.
    #[arg(long, value_name = "FILE")]
    pub(super) secret_out: Option<PathBuf>,
    /// Hold deliveries until it is enabled.
    #[arg(long)]
    pub(super) inactive: bool,
}

/// What becomes another of a webhook.
#[derive(Debug, Args)]
pub struct EditOptions {
    /// Its id, the beginning of it, or its name.
    pub(super) webhook: String,
    /// Where to send to from now on.
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    #[command(flatten)]
    pub(super) fields: FieldOptions,
    /// A field to be taken away, such as filter; can be given many times.
    #[arg(long, value_name = "FIELD")]
    pub(super) clear: Vec<String>,
}

/// How a secret is replaced.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("step").args(["stage", "promote", "abort", "rollback"])))]
pub struct RotateOptions {
    /// Its id, the beginning of it, or its name.
    pub(super) webhook: String,
    /// Make the new secret; the old one signs on until --promote.
    #[arg(long)]
    pub(super) stage: bool,
    /// Sign with the staged secret from now on.
    #[arg(long)]
    pub(super) promote: bool,
    /// Drop the staged secret.
    #[arg(long)]
    pub(super) abort: bool,
    /// Sign with the secret before the last --promote again.
    #[arg(long)]
    pub(super) rollback: bool,
    /// How long the old secret is kept, such as 24h.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["stage", "abort", "rollback"])]
    pub(super) keep_old: Option<String>,
    /// A file with the new secret, - for standard input [default: a new one is made].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["promote", "abort", "rollback"])]
    pub(super) secret_file: Option<PathBuf>,
    /// Write the new secret to this new file, readable by its owner only, in place of showing it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["promote", "abort", "rollback"])]
    pub(super) secret_out: Option<PathBuf>,
}

/// What is given up.
#[derive(Debug, Args)]
pub struct DiscardOptions {
    #[command(flatten)]
    pub(super) sure: Sure,
    /// Only events created up to this time, or so long ago, such as 2h.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

/// A program for a receiver.
#[derive(Debug, Args)]
pub struct VerifierOptions {
    /// Its id, the beginning of it, or its name.
    pub(super) webhook: String,
    /// The receiver's language: node, python, go, rust, php or ruby.
    #[arg(long, short)]
    pub(super) language: String,
}
