//! Server-Sent Events, read from bytes as they come (WHATWG HTML, 9.2.6): pure.
//!
//! Lines end with LF, CR or CRLF, also where these are split between two pieces. What the daemon sends has a bound,
//! and so has what is kept here: a longer event is left out, and said to be.

/// An event is a line of JSON with some ids and an outcome; a megabyte is none of ours.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its name; `message` where it has none.
    pub(super) name: String,
    /// Its data.
    pub(super) data: String,
}

/// What has been read of the stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    after_cr: bool,
    is_begun: bool,
    name: String,
    data: Vec<String>,
    data_bytes: usize,
    is_too_long: bool,
}

impl Reader {
    /// Takes the next bytes and gives the events that they end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Told> {
        let mut found = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_cr) => {}
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    found.extend(self.end_line());
                }
                byte => {
                    self.after_cr = false;
                    if self.line.len() < EVENT_BYTES_MAX {
                        self.line.push(*byte);
                    } else {
                        self.is_too_long = true;
                    }
                }
            }
        }
        found
    }

    fn end_line(&mut self) -> Option<Told> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let mut line = &*line;
        if !std::mem::replace(&mut self.is_begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data_bytes += value.len() + 1;
                if self.data_bytes <= EVENT_BYTES_MAX {
                    self.data.push(value.to_owned());
                } else {
                    self.is_too_long = true;
                }
            }
            // A comment keeps the connection alive; `id` and `retry` are not used here.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Told> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        self.data_bytes = 0;
        if std::mem::take(&mut self.is_too_long) {
            return Some(Told {
                name: "missed".to_owned(),
                data: "{\"missed\":1}".to_owned(),
            });
        }
        if data.is_empty() {
            return None;
        }
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        Some(Told {
            name,
            data: data.join("\n"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, data: &str) -> Told {
        Told {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn reads_events_however_they_are_cut() {
        let text = "\u{feff}: hello\r\nevent: hello\r\ndata: {\"at\":1}\r\n\r\n:\n\ndata\n\n\
                    event:attempt\rdata: a\rdata:b\r\revent: lost\n\nid: 7\nretry: 1\nnonsense\ndata:  é\n\ndata: cut";
        let expected = [
            told("hello", "{\"at\":1}"),
            told("message", ""),
            told("attempt", "a\nb"),
            told("message", " é"),
        ];
        let bytes = text.as_bytes();
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut reader = Reader::default();
            let found: Vec<Told> = bytes
                .chunks(size)
                .flat_map(|piece| reader.take(piece))
                .collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_takes_a_bounded_room_and_is_told_of() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 64 * 1024];
        assert!(reader.take(b"event: attempt\ndata: ").is_empty());
        for _ in 0..64 {
            assert!(reader.take(&piece).is_empty());
            assert!(reader.line.capacity() <= 2 * EVENT_BYTES_MAX);
        }
        assert_eq!(reader.take(b"\n\n"), [told("missed", "{\"missed\":1}")]);
        for _ in 0..64 {
            assert!(reader.take(b"data: ").is_empty());
            assert!(reader.take(&piece).is_empty());
            assert!(reader.take(b"\n").is_empty());
        }
        assert!(reader.data_bytes > EVENT_BYTES_MAX && reader.data.len() < 20);
        assert_eq!(reader.take(b"\n"), [told("missed", "{\"missed\":1}")]);
        assert_eq!(reader.take(b"data: 1\n\n"), [told("message", "1")]);
    }
}
