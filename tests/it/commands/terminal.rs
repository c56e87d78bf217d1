//! On a terminal: tables keep to its width, colours are there unless they are not wanted, questions are asked.

use std::process::{Command, Stdio};

use super::desk::Desk;
use crate::support::skip;

/// Runs a command on a terminal of `script`, of util-linux; gives the exit code and what was seen.
fn on_terminal(
    desk: &Desk,
    arguments: &[&str],
    set: &[(&str, &str)],
    typed: &str,
) -> Option<(Option<i32>, String)> {
    let command = desk.command(arguments);
    let quoted: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| format!("'{}'", part.to_str().unwrap()))
        .collect();
    let typed_file = desk.site.path("typed");
    std::fs::write(&typed_file, typed).unwrap();
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &quoted.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.env("TERM", "xterm").envs(set.iter().copied());
    let output = script
        .stdin(Stdio::from(std::fs::File::open(typed_file).unwrap()))
        .output();
    match output {
        Ok(output) => Some((
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )),
        Err(why) => {
            skip(
                "commands on a terminal",
                &format!("`script` cannot be run: {why}"),
            );
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_the_terminal_and_colours_can_be_done_without() {
    let desk = Desk::new(|_| 200).await;
    desk.add(
        "a-name-of-some-length-that-nobody-would-choose",
        &["-e", "order.created,order.paid,order.cancelled"],
    );
    desk.add("b", &["--inactive"]);
    let list = |set: &[(&str, &str)]| on_terminal(&desk, &["webhook", "list"], set, "");
    let Some((code, coloured)) = list(&[("COLUMNS", "70")]) else {
        return;
    };
    assert_eq!(code, Some(0), "{coloured}");
    assert!(
        coloured.contains("\x1b[32mactive\x1b[0m") && coloured.contains("\x1b[33mdisabled\x1b[0m"),
        "{coloured:?}"
    );
    let (_, plain) = list(&[("COLUMNS", "70"), ("NO_COLOR", "1")]).unwrap();
    assert!(
        !plain.contains('\x1b') && plain.contains('…') && plain.contains("ago"),
        "{plain:?}"
    );
    let lines: Vec<&str> = plain
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 3, "{plain}");
    for line in lines {
        assert!(line.trim_end().chars().count() <= 70, "{line:?}");
    }
    let (_, dumb) = list(&[("COLUMNS", "70"), ("TERM", "dumb")]).unwrap();
    assert!(!dumb.contains('\x1b'), "{dumb:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_answered() {
    let desk = Desk::new(|_| 200).await;
    desk.add("a", &[]);
    let remove = |typed: &str| on_terminal(&desk, &["webhook", "remove", "a"], &[], typed);
    let Some((code, seen)) = remove("n\n") else {
        return;
    };
    assert_eq!(code, Some(1), "{seen}");
    assert!(
        seen.contains("[y/N]") && seen.contains("nothing was changed"),
        "{seen:?}"
    );
    desk.run(&["webhook", "show", "a"]).good();
    let (code, seen) = remove("yes\n").unwrap();
    assert_eq!(code, Some(0), "{seen}");
    desk.run(&["webhook", "show", "a"])
        .said(1, "there is no webhook");
}
