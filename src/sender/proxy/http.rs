//! A tunnel by HTTP `CONNECT` (RFC 9110, 9.3.6), with Basic credentials (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::super::exchange::USER_AGENT_TEXT;
use super::{ProxyLogin, Refusal, Target};

/// Bytes of the head of a proxy's answer, at most. Common ones are a few hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What every answer begins with.
const VERSION: &[u8] = b"HTTP/1.";
/// The empty line behind a head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Asks for a connection to `target`. After it the stream is the tunnel.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    port: u16,
    login: Option<&ProxyLogin>,
) -> Result<(), Refusal> {
    let authority = target.with_port(port);
    let mut request = Zeroizing::new(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT_TEXT}\r\n"
    ));
    if let Some(login) = login {
        let pair = Zeroizing::new(format!("{}:{}", login.user, login.password.expose()));
        let basic = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&basic);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|error| Refusal::broken(&error))?;
    let head = head(stream).await?;
    let status = status(&head).ok_or_else(|| Refusal::garbage("HTTP"))?;
    match status {
        // The receiver says nothing before we do, so nothing may stand behind the head.
        200..=299 if head.ends_with(HEAD_END) => Ok(()),
        200..=299 => Err(Refusal::garbage("HTTP")),
        _ => Err(refused(status, login.is_some())),
    }
}

/// Reads up to the end of the head, and what came with it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Refusal> {
    let mut head = Vec::with_capacity(512);
    loop {
        let mut piece = [0; 512];
        let read = stream.read(&mut piece).await;
        let read = read.map_err(|error| Refusal::broken(&error))?;
        if read == 0 {
            return Err(Refusal::broken(&std::io::ErrorKind::UnexpectedEof.into()));
        }
        // The end may lie across two pieces.
        let from = head.len().saturating_sub(HEAD_END.len() - 1);
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        let begun = VERSION.len().min(head.len());
        if head.get(..begun) != VERSION.get(..begun) {
            return Err(Refusal::garbage("HTTP"));
        }
        let fresh = head.get(from..).unwrap_or_default();
        if fresh.windows(HEAD_END.len()).any(|four| four == HEAD_END) {
            return Ok(head);
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(Refusal {
                said: format!("answered with a head of over {} KiB", HEAD_BYTES_MAX / 1024),
                remedy: "see whether it is a proxy",
                is_of_target: false,
            });
        }
    }
}

/// The status of `HTTP/1.1 200 …`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(VERSION)?;
    let digits = match rest {
        [b'0' | b'1', b' ', digits @ ..] => digits.get(..3)?,
        _ => return None,
    };
    let ended = rest.get(5).is_some_and(|next| matches!(next, b' ' | b'\r'));
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (ended && (200..=599).contains(&status)).then_some(status)
}

fn refused(status: u16, has_login: bool) -> Refusal {
    let remedy = match status {
        407 if has_login => "it does not take [egress] proxy_user and proxy_password_file",
        407 => "set [egress] proxy_user and proxy_password_file",
        403 => "let it CONNECT there, for this machine",
        _ => "see its log; it could not connect, or does not want to",
    };
    Refusal {
        said: format!("refused the connection with the status {status}"),
        remedy,
        is_of_target: status >= 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_strictly() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for bad in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 20",
            "SSH-2.0",
        ] {
            assert_eq!(status(bad.as_bytes()), None, "{bad}");
        }
    }
}
