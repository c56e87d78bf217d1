//! What a new installation asks for: the arguments of `init`, shell completions, and manual pages.
//!
//! Completions and pages are made from the same definitions as the command line itself, so they cannot fall behind.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::model::AccountName;

const INIT_EXAMPLES: &str = "\
Examples:
  hookwheel init                       config.toml and backend.key, here
  hookwheel init /etc/hookwheel --data /var/lib/hookwheel
  hookwheel init --local               for a first try with `hookwheel listen`";

const INIT_HELP: &str = "\
backend.key holds the API key, readable by its owner only; config.toml holds
the key's hash, and the most useful options as comments. Nothing is
overwritten: where one of the two files is there already, nothing is changed.

Exit codes: 0 done; 1 nothing was written, and why is told; 64 an argument
cannot be used.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  hookwheel completions bash > /etc/bash_completion.d/hookwheel
  hookwheel completions zsh > ~/.zfunc/_hookwheel
  hookwheel completions fish > ~/.config/fish/completions/hookwheel.fish";

const COMPLETIONS_HELP: &str = "\
For zsh the directory must be in $fpath before compinit runs.

Exit codes: 0 done; 1 standard output cannot be written; 64 the shell is not
known.";

const MAN_EXAMPLES: &str = "\
Examples:
  hookwheel man | man -l -                       read the first page
  hookwheel man --out /usr/local/share/man/man1  install all pages";

const MAN_HELP: &str = "\
There is one page for each command: hookwheel-serve(1), hookwheel-key-new(1)
and so on.

Exit codes: 0 done; 1 a page cannot be written.";

/// What `init` writes.
#[derive(Debug, Args)]
#[command(before_help = INIT_EXAMPLES, after_help = INIT_HELP)]
pub struct InitOptions {
    /// The directory for the two files; it is made if need be.
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// How requests look to the receivers: a built-in profile.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub profile: String,
    /// The account's name: 1 to 64 characters of a-z, 0-9, _ and -.
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = account)]
    pub account: AccountName,
    /// Where the API listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8420", value_parser = address)]
    pub listen: SocketAddr,
    /// The data directory [default: data, beside the config].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Let the daemon send to `hookwheel listen` on this machine: its address is
    /// allowed, and its local CA is trusted.
    #[arg(long)]
    pub local: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Whose completions.
#[derive(Debug, Args)]
#[command(before_help = COMPLETIONS_EXAMPLES, after_help = COMPLETIONS_HELP)]
pub struct CompletionsOptions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Args)]
#[command(before_help = MAN_EXAMPLES, after_help = MAN_HELP)]
pub struct ManOptions {
    /// Write one page for each command into this directory, which is made if
    /// need be; without it the first page goes to standard output.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn account(text: &str) -> Result<AccountName, String> {
    AccountName::new(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    const FORM: &str = "write an address and a port, as numbers: 127.0.0.1:8420, or [::1]:8420";
    let address: SocketAddr = text.parse().map_err(|_| FORM.to_owned())?;
    if address.port() == 0 {
        return Err("write a port other than 0: clients find the daemon by it".to_owned());
    }
    Ok(address)
}

/// `completions`: prints what a shell needs to complete the commands and options of `command`.
///
/// # Errors
/// Where standard output cannot be written.
pub fn completions(shell: Shell, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "hookwheel", &mut text);
    put_out(&text)
}

/// `man`: prints the first manual page, or writes one for each command.
///
/// # Errors
/// Where standard output, or a file, cannot be written.
pub fn man(options: &ManOptions, command: Command) -> anyhow::Result<ExitCode> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(directory) = &options.out else {
        return put_out(&page(&command)?);
    };
    // Pages are for everybody; what else this process writes is not.
    fs::create_dir_all(directory).with_context(|| {
        let shown = directory.display();
        format!("the directory {shown} cannot be made; name another with --out")
    })?;
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().cloned());
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        let path = directory.join(format!("{name}.1"));
        let shown = path.display();
        fs::write(&path, page(&command)?)
            .and_then(|()| fs::set_permissions(&path, everybodys()))
            .with_context(|| format!("{shown} cannot be written; name another place with --out"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn everybodys() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o644)
}

/// One page: as the help has it, with the examples and what is told behind the options as sections of their own,
/// line by line.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let examples = command.get_before_help().map(ToString::to_string);
    let notes = command.get_after_help().map(ToString::to_string);
    let bare = command.clone().before_help("").after_help("");
    let man = Man::new(bare).manual("Hookwheel");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    section("EXAMPLES", examples.as_deref(), &mut text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    section("NOTES", notes.as_deref(), &mut text)?;
    Ok(text)
}

fn section(name: &str, body: Option<&str>, text: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(body) = body else {
        return Ok(());
    };
    let mut roff = Roff::new();
    roff.control("SH", [name]).control("nf", []);
    for line in body.lines().filter(|line| *line != "Examples:") {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(text)
}

fn put_out(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.flush())
        .context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}
