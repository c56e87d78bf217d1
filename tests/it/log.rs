//! The log as its readers get it: a line for each record, also in systemd's journal.

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use crate::support::{Site, hookwheel};

/// Starts a daemon whose standard error is a stream of ours, as the journal's is.
fn start(
    site: &Site,
    config: &str,
    named: impl FnOnce(&OwnedFd) -> Option<String>,
) -> (Child, UnixStream) {
    fs::write(site.path("config.toml"), config).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let mut command = hookwheel();
    command
        .args(["serve", "--config"])
        .arg(site.path("config.toml"));
    match named(&theirs) {
        Some(stream) => command.env("JOURNAL_STREAM", stream),
        None => command.env_remove("JOURNAL_STREAM"),
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(theirs)
        .spawn()
        .unwrap();
    (child, ours)
}

fn stream_of(end: &OwnedFd) -> Option<String> {
    let stat = rustix::fs::fstat(end).unwrap();
    Some(format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Reads until a line has `text`; gives all lines up to there.
fn lines_until(stream: &mut BufReader<UnixStream>, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(
            stream.read_line(&mut line).unwrap() > 0,
            "the log ended before {text}: {lines:#?}"
        );
        lines.push(line.trim_end().to_owned());
        if lines.last().unwrap().contains(text) {
            return lines;
        }
    }
}

fn text_config(site: &Site) -> String {
    site.config(true)
        .replace("format = \"json\"", "format = \"text\"")
}

fn end(mut child: Child, mut rest: BufReader<UnixStream>) {
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let mut more = String::new();
    rest.read_to_string(&mut more).unwrap();
    assert!(child.wait().unwrap().success(), "{more}");
}

#[test]
fn the_journal_gets_priorities_and_no_time() {
    let site = Site::new(&["standard"]);
    let (child, stream) = start(&site, &text_config(&site), stream_of);
    let mut stream = BufReader::new(stream);
    let lines = lines_until(&mut stream, "ready");
    assert!(
        lines.last().unwrap().starts_with("<6> INFO hookwheel"),
        "{lines:#?}"
    );
    let marked = |line: &String| {
        ["<3>", "<4>", "<6>", "<7>"]
            .iter()
            .any(|mark| line.starts_with(mark))
    };
    assert!(lines.iter().all(marked), "{lines:#?}");
    end(child, stream);
}

#[test]
fn a_report_of_many_lines_is_one_record() {
    let site = Site::new(&["standard"]);
    let (child, stream) = start(&site, &text_config(&site), |_| None);
    let mut stream = BufReader::new(stream);
    let lines = lines_until(&mut stream, "ready");
    // The time first, as ever.
    assert!(
        lines.iter().all(|line| line.starts_with("20")),
        "{lines:#?}"
    );
    fs::write(
        site.path("config.toml"),
        "[server]\nlisten = 3\nbody_limit = \"9MB\"\n",
    )
    .unwrap();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    let lines = lines_until(&mut stream, "the old one stays in force");
    let last = lines.last().unwrap();
    assert!(last.starts_with("20"), "{lines:#?}");
    for part in ["listen", "write `9MiB`", "\\n"] {
        assert!(last.contains(part), "{part}: {last}");
    }
    end(child, stream);
}
