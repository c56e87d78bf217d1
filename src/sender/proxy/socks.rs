//! A tunnel by SOCKS 5 (RFC 1928), with a user name and password (RFC 1929).
//!
//! Each answer is read to its last byte and no further, so the next byte is the receiver's.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{ProxyLogin, Refusal, Target};

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NONE_FITS: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// The version of RFC 1929's own messages.
const LOGIN_VERSION: u8 = 1;

/// Asks for a connection to `target`. After it the stream is the tunnel.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    port: u16,
    login: Option<&ProxyLogin>,
) -> Result<(), Refusal> {
    let hello: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, LOGIN],
        None => &[VERSION, 1, NO_LOGIN],
    };
    write(stream, hello).await?;
    match (read(stream).await?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, LOGIN], Some(login)) => log_in(stream, login).await?,
        ([VERSION, NONE_FITS], _) => {
            return Err(Refusal {
                said: "wants credentials, or others".to_owned(),
                remedy: "set [egress] proxy_user and proxy_password_file",
                is_of_target: false,
            });
        }
        _ => return Err(garbage()),
    }
    write(stream, &request(target, port)?).await?;
    let [version, reply, _reserved, kind] = read(stream).await?;
    if version != VERSION {
        return Err(garbage());
    }
    if reply != 0 {
        return Err(refused(reply));
    }
    // The address that the proxy connects from: of no use here, but to be read over.
    let rest = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(garbage()),
    };
    let mut over = [0; 255 + 2];
    let over = over.get_mut(..rest + 2).ok_or_else(garbage)?;
    let done = stream.read_exact(over).await;
    done.map(|_| ()).map_err(|error| Refusal::broken(&error))
}

async fn log_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    login: &ProxyLogin,
) -> Result<(), Refusal> {
    let mut message = Zeroizing::new(vec![LOGIN_VERSION]);
    for part in [login.user.as_str(), login.password.expose()] {
        message.push(length(part)?);
        message.extend_from_slice(part.as_bytes());
    }
    write(stream, &message).await?;
    match read(stream).await? {
        // Some proxies answer with SOCKS' own version.
        [LOGIN_VERSION | VERSION, 0] => Ok(()),
        [LOGIN_VERSION | VERSION, _] => Err(Refusal {
            said: "does not take the credentials".to_owned(),
            remedy: "correct [egress] proxy_user and proxy_password_file",
            is_of_target: false,
        }),
        _ => Err(garbage()),
    }
}

fn request(target: &Target, port: u16) -> Result<Vec<u8>, Refusal> {
    let mut request = vec![VERSION, CONNECT, 0];
    match target {
        Target::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Target::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Target::Name(name) => {
            request.extend([NAME, length(name)?]);
            request.extend(name.bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

/// A length in one byte: the config and the rules for URLs let nothing longer through.
fn length(text: &str) -> Result<u8, Refusal> {
    u8::try_from(text.len()).map_err(|_| Refusal {
        said: "cannot be told so long a name".to_owned(),
        remedy: "SOCKS 5 carries names and credentials of 255 bytes",
        is_of_target: false,
    })
}

/// RFC 1928, 6.
fn refused(reply: u8) -> Refusal {
    let said = match reply {
        2 => "does not allow the connection",
        3 => "cannot reach the receiver's network",
        4 => "cannot reach the receiver",
        5 => "says that the receiver refused the connection",
        7 => "knows no CONNECT",
        8 => "cannot connect to this kind of address",
        _ => "failed to connect",
    };
    Refusal {
        said: format!("{said} (SOCKS status {reply})"),
        remedy: match reply {
            2 => "let it connect there, for this machine",
            _ => "see its log",
        },
        is_of_target: !matches!(reply, 2 | 7),
    }
}

fn garbage() -> Refusal {
    Refusal::garbage("SOCKS 5")
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Refusal> {
    let written = stream.write_all(bytes).await;
    written.map_err(|error| Refusal::broken(&error))
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    let done: io::Result<usize> = stream.read_exact(&mut bytes).await;
    match done {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Refusal::broken(&error)),
    }
}
