//! A client of Server-Sent Events that reads as they come, and only when it is asked to.

use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{Daemon, PATIENCE, key_of};

/// An open stream.
pub struct Stream {
    connection: TcpStream,
    /// The answer's head.
    pub head: String,
    /// What came of the body, chunk sizes and all, and was not taken apart yet.
    raw: Vec<u8>,
    /// The text that was not read as events yet.
    text: String,
    /// All that came.
    pub seen: String,
    is_over: bool,
}

impl Stream {
    /// Opens a stream and waits until it begins.
    pub async fn open(daemon: &Daemon, account: &str, path: &str) -> Self {
        let opened = Self::try_open(daemon, account, path).await;
        opened.unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// As [`Stream::open`]; gives the status where it is another than 200.
    pub async fn try_open(daemon: &Daemon, account: &str, path: &str) -> Result<Self, StatusCode> {
        let socket = TcpSocket::new_v4().unwrap();
        // So that little is on its way to who does not read.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut connection = socket.connect(daemon.address).await.unwrap();
        let key = key_of(account);
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self {
            connection,
            head: String::new(),
            raw: Vec::new(),
            text: String::new(),
            seen: String::new(),
            is_over: false,
        };
        let end = loop {
            match stream.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(stream.receive().await, "closed in its head"),
            }
        };
        let head: Vec<u8> = stream.raw.drain(..end).collect();
        stream.head = String::from_utf8(head).unwrap();
        let status = StatusCode::from_bytes(&stream.head.as_bytes()[9..12]).unwrap();
        if status != StatusCode::OK {
            return Err(status);
        }
        assert!(
            stream.head.contains("transfer-encoding: chunked"),
            "{}",
            stream.head
        );
        let (first, data) = stream.any().await;
        assert!(
            first == "hello" && data["at"].is_string(),
            "{first}: {data}"
        );
        Ok(stream)
    }

    /// Receives more; false at the end of the connection.
    async fn receive(&mut self) -> bool {
        let mut part = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.connection.read(&mut part)).await;
        match read.expect("something within a minute") {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.raw.extend_from_slice(&part[..count]);
                true
            }
        }
    }

    /// Takes the chunks apart that are there.
    fn unchunk(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let (from, to) = (line + 2, line + 2 + size);
            if self.raw.len() < to + 2 {
                return;
            }
            let text = std::str::from_utf8(&self.raw[from..to]).unwrap();
            self.text.push_str(text);
            self.seen.push_str(text);
            self.is_over |= size == 0;
            self.raw.drain(..to + 2);
        }
    }

    /// The next part between empty lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                return Some(self.text.drain(..end + 2).collect());
            }
            self.unchunk();
            if self.text.contains("\n\n") {
                continue;
            }
            if self.is_over || !self.receive().await {
                assert!(
                    self.is_over,
                    "the connection ended in the midst of the stream"
                );
                return None;
            }
        }
    }

    /// The next event, with its name.
    pub async fn any(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await.expect("the stream has ended");
            let field = |name: &str| {
                let mut lines = block.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            if let Some(name) = field("event") {
                let data = serde_json::from_str(field("data").unwrap()).unwrap();
                return (name.to_owned(), data);
            }
            assert!(block.starts_with(": "), "{block:?}");
        }
    }

    /// The next event, which is to be of this name.
    pub async fn next(&mut self, name: &str) -> Value {
        let (found, data) = self.any().await;
        assert_eq!(found, name, "{data}");
        data
    }

    /// Waits for a comment; no event may come before it.
    pub async fn comment(&mut self, text: &str) {
        assert_eq!(self.block().await.unwrap(), format!(": {text}\n\n"));
    }

    /// Waits for the end, in good order.
    pub async fn end(&mut self) {
        while let Some(block) = self.block().await {
            assert!(block.starts_with(": "), "{block:?}");
        }
    }
}
