//! The list of commands in the first help: in groups, in the order in which a new user needs them.

use std::fmt::Write as _;

use super::HELP_WIDTH;

/// Each command that there is stands in one group; a test holds that.
const GROUPS: [(&str, &[&str]); 5] = [
    ("First steps", &["demo", "init", "listen", "doctor"]),
    (
        "Run the daemon",
        &["serve", "check", "plan", "apply", "key"],
    ),
    (
        "Ask a running daemon",
        &[
            "status", "webhook", "event", "delivery", "tail", "replay", "job", "audit",
        ],
    ),
    ("Look after its data", &["backup", "restore", "repair"]),
    (
        "Signatures, shells, pages",
        &["verify", "completions", "man", "help"],
    ),
];
/// What clap adds by itself.
const HELP_ABOUT: &str = "Print this, or the help of one command";
const NAME_COLUMNS: usize = 13;

/// The form of the first help. What clap would print is one list of all commands.
pub(super) fn template(command: &clap::Command) -> String {
    let mut list = String::new();
    for (title, names) in GROUPS {
        writeln!(list, "{title}:").expect("a String takes all");
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about);
            let about = about.map_or_else(|| HELP_ABOUT.to_owned(), ToString::to_string);
            writeln!(list, "  {name:NAME_COLUMNS$}{}", wrapped(&about))
                .expect("a String takes all");
        }
        list.push('\n');
    }
    format!(
        "{{about-with-newline}}\n{{before-help}}{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}"
    )
}

fn wrapped(text: &str) -> String {
    let (mut shown, mut column) = (String::new(), NAME_COLUMNS + 2);
    for word in text.split(' ') {
        let width = word.chars().count();
        if !shown.is_empty() && column + 1 + width > HELP_WIDTH {
            let indent = NAME_COLUMNS + 2;
            write!(shown, "\n{:indent$}", "").expect("a String takes all");
            column = indent;
        } else if !shown.is_empty() {
            shown.push(' ');
            column += 1;
        }
        shown.push_str(word);
        column += width;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_stands_in_one_group() {
        let command = crate::cli::command();
        let mut there: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        there.push("help");
        let mut listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        there.sort_unstable();
        listed.sort_unstable();
        assert_eq!(there, listed);
    }
}
