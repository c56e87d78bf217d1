//! Records on their way to standard error: each is one line, whatever its fields hold, and systemd's journal is told how
//! urgent it is.
//!
//! A record comes here whole, in one write. What was said in several lines (the faults of a config, an error with a
//! listing) stays readable: a line break becomes `\n`, as in JSON. So do other control characters: to the journal a NUL
//! ends a line, too, and what follows it would tell a priority of its own. Tabs stay, and escapes, which are our colours:
//! those of a field are made harmless where the record is made.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Makes the writer of each record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Whether standard error is systemd's journal.
    pub(super) is_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            prefix: "",
            to: io::stderr(),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let prefix = if self.is_journal {
            priority(*meta.level())
        } else {
            ""
        };
        Line {
            prefix,
            to: io::stderr(),
        }
    }
}

/// How `sd-daemon(3)` writes a priority before a line; the journal takes it off again.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Writes one record.
#[derive(Debug)]
pub(super) struct Line<W> {
    prefix: &'static str,
    to: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = record.strip_suffix(b"\n").unwrap_or(record);
        if self.prefix.is_empty() && !text.iter().any(is_break) {
            self.to.write_all(record)?;
            return Ok(record.len());
        }
        let mut line = Vec::with_capacity(self.prefix.len() + record.len() + 16);
        line.extend_from_slice(self.prefix.as_bytes());
        for byte in text {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                byte if is_break(byte) => {
                    line.extend_from_slice(format!("\\u{byte:04x}").as_bytes())
                }
                byte => line.push(*byte),
            }
        }
        line.push(b'\n');
        self.to.write_all(&line)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What some reader of lines may take for the end of one, or for more than a character.
const fn is_break(byte: &u8) -> bool {
    matches!(*byte, 0..=8 | b'\n'..=0x1a | 0x1c..=0x1f | 0x7f)
}

/// Whether standard error is the stream of systemd's journal that `named` (`JOURNAL_STREAM`) says: device and inode. A
/// service may have sent it elsewhere, and then the variable is still there.
pub(super) fn is_journal(named: Option<&str>) -> bool {
    let Some((device, inode)) = named.and_then(|named| named.split_once(':')) else {
        return false;
    };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(prefix: &'static str, record: &str) -> String {
        let mut line = Line {
            prefix,
            to: Vec::new(),
        };
        line.write_all(record.as_bytes()).unwrap();
        String::from_utf8(line.to).unwrap()
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        assert_eq!(written("", "INFO ready\n"), "INFO ready\n");
        assert_eq!(written("", "a\nb\r\nc\n"), "a\\nb\\r\\nc\n");
        assert_eq!(written("<3>", "a\n  b\n"), "<3>a\\n  b\n");
        // The journal would take what follows for another record, of another priority.
        assert_eq!(written("<6>", "a\0<0>b\n"), "<6>a\\u0000<0>b\n");
        assert_eq!(
            written("", "a\u{b}b\u{c}c\u{7f}\n"),
            "a\\u000bb\\u000cc\\u007f\n"
        );
        let kept = "\u{1b}[32mINFO\u{1b}[0m a\tb \u{e9}\n";
        assert_eq!(written("", kept), kept);
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&named)));
        let other = format!("{}:{}", stat.st_dev, stat.st_ino + 1);
        for named in [None, Some(""), Some("8"), Some("a:b"), Some(&*other)] {
            assert!(!is_journal(named), "{named:?}");
        }
    }
}
