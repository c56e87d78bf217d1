//! A real proxy for tests: CONNECT and SOCKS 5, with a login or without; it notes what it is asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Who may use it: a name and a password.
pub type Login = Option<(&'static str, &'static str)>;

/// A running proxy; dropping it ends it with all its connections.
pub struct Proxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Speaks CONNECT.
    pub async fn http(login: Login) -> Self {
        Self::start(login, true).await
    }

    /// Speaks SOCKS 5.
    pub async fn socks5(login: Login) -> Self {
        Self::start(login, false).await
    }

    async fn start(login: Login, is_http: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let noted = Arc::clone(&noted);
                tunnels.spawn(async move {
                    let target = match is_http {
                        true => http(&mut stream, login).await,
                        false => socks5(&mut stream, login).await,
                    };
                    let Some(target) = target else { return };
                    noted.lock().unwrap().push(target.clone());
                    let Ok(mut there) = TcpStream::connect(target).await else {
                        let failed: &[u8] = match is_http {
                            true => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                            false => &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
                        };
                        return stream.write_all(failed).await.unwrap();
                    };
                    let done: &[u8] = match is_http {
                        true => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
                        false => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                    };
                    stream.write_all(done).await.unwrap();
                    // It ends with whoever ends first.
                    drop(copy_bidirectional(&mut stream, &mut there).await);
                });
            }
        });
        Self {
            address,
            asked,
            _serving: serving,
        }
    }

    /// The targets so far, refused logins left out.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn http(stream: &mut TcpStream, login: Login) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let basic = login.map(|(user, password)| STANDARD.encode(format!("{user}:{password}")));
    let fits = basic.is_none_or(|basic| {
        let line = format!("Proxy-Authorization: Basic {basic}\r\n");
        head.contains(&line)
    });
    if !fits {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        return None;
    }
    assert!(head.starts_with("CONNECT "), "{head}");
    head.split(' ').nth(1).map(str::to_owned)
}

async fn socks5(stream: &mut TcpStream, login: Login) -> Option<String> {
    let mut hello = [0; 2];
    stream.read_exact(&mut hello).await.ok()?;
    let mut methods = vec![0; usize::from(hello[1])];
    stream.read_exact(&mut methods).await.unwrap();
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        stream.write_all(&[5, 0xff]).await.unwrap();
        return None;
    }
    stream.write_all(&[5, method]).await.unwrap();
    if let Some((user, password)) = login {
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        let given = (text(stream).await, text(stream).await);
        let fits = given == (user.to_owned(), password.to_owned());
        stream.write_all(&[1, u8::from(!fits)]).await.unwrap();
        if !fits {
            return None;
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.unwrap();
    let host = match request[3] {
        1 => IpAddr::from(stream.read_u32().await.unwrap().to_be_bytes()).to_string(),
        4 => format!(
            "[{}]",
            IpAddr::from(stream.read_u128().await.unwrap().to_be_bytes())
        ),
        _ => text(stream).await,
    };
    Some(format!("{host}:{}", stream.read_u16().await.unwrap()))
}

/// A text with its length before it.
async fn text(stream: &mut TcpStream) -> String {
    let mut text = vec![0; usize::from(stream.read_u8().await.unwrap())];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}
