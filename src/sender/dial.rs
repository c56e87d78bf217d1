//! Dialling: the first of a name's addresses that answers, as far as there are sockets.
//!
//! A request may have one socket, which the bound on attempts counts; what it dials beside that is counted here.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

/// Addresses of one name that are dialled, at most: if eight do not answer, the ninth will not before
/// the deadline.
pub(super) const DIALS_MAX: usize = 8;
/// Addresses that are dialled beside the first one of each request, over all requests: what a healthy network needs of it
/// is little. Beyond that the next address takes the place of the one that was tried longest.
pub(super) const DIALS_BESIDE_MAX: usize = 64;
/// How long an address is dialled before the next one is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Dials, for all requests of a sender.
pub(super) struct Dialler {
    beside: Semaphore,
}

struct Dial<'a> {
    stream: Pin<Box<dyn Future<Output = (SocketAddr, io::Result<TcpStream>)> + Send>>,
    /// Held unless it is the request's own.
    place: Option<SemaphorePermit<'a>>,
}

impl Dialler {
    pub(super) const fn new() -> Self {
        Self::with(DIALS_BESIDE_MAX)
    }

    const fn with(beside_max: usize) -> Self {
        Self {
            beside: Semaphore::const_new(beside_max),
        }
    }

    /// Connects to the first address that answers. Each has a head start before the next one is tried beside
    /// it, so that a dead one costs a moment and not the deadline.
    ///
    /// # Errors
    /// The last address that failed, and how; `None` where there is none.
    pub(super) async fn dial(
        &self,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
        let mut waiting = alternating(addresses)
            .into_iter()
            .take(DIALS_MAX)
            .map(|address| SocketAddr::new(address, port));
        let mut dials: Vec<Dial<'_>> = Vec::new();
        let mut failed = None;
        loop {
            if let Some(address) = waiting.next() {
                let place = self.place(&mut dials);
                let stream = Box::pin(async move { (address, TcpStream::connect(address).await) });
                dials.push(Dial { stream, place });
            }
            if dials.is_empty() {
                return Err(failed);
            }
            tokio::select! {
                (address, result) = first(&mut dials) => match result.and_then(prompt) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failed = Some((address, error)),
                },
                () = sleep(HEAD_START), if waiting.size_hint().0 > 0 => {}
            }
        }
    }

    /// The place of the next dial: the request's own if that is free, one beside it, or that of the oldest, which ends.
    fn place<'a>(&'a self, dials: &mut Vec<Dial<'a>>) -> Option<SemaphorePermit<'a>> {
        if dials.iter().all(|dial| dial.place.is_some()) {
            return None;
        }
        match self.beside.try_acquire() {
            Ok(place) => Some(place),
            Err(_) => dials.remove(0).place,
        }
    }
}

/// The first of the dials to end; it is taken out.
async fn first(dials: &mut Vec<Dial<'_>>) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for (index, dial) in dials.iter_mut().enumerate() {
            if let Poll::Ready(ended) = dial.stream.as_mut().poll(cx) {
                drop(dials.remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// A request is one write; it is not to wait for company.
fn prompt(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses with their families taking turns (RFC 8305, 4), each once, the resolver's first one
/// first.
pub(super) fn alternating(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut seen = HashSet::with_capacity(addresses.len());
    let mut unique: Vec<IpAddr> = addresses.to_vec();
    unique.retain(|address| seen.insert(*address));
    let Some(first_is_v6) = unique.first().map(IpAddr::is_ipv6) else {
        return unique;
    };
    let (same, other): (Vec<IpAddr>, Vec<IpAddr>) = unique
        .iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    unique.clear();
    while same.len() + other.len() > 0 {
        unique.extend(same.next());
        unique.extend(other.next());
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_nothing_is_lost() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(
            alternating(&parse(&["::1", "::2", "::1", "::3", "1.1.1.1", "1.1.1.2"])),
            parse(&["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"])
        );
        assert_eq!(
            alternating(&parse(&["1.1.1.1", "::1"])),
            parse(&["1.1.1.1", "::1"])
        );
        assert_eq!(alternating(&[]), Vec::<IpAddr>::new());
    }

    fn hanging(place: Option<SemaphorePermit<'_>>) -> Dial<'_> {
        let stream = Box::pin(std::future::pending());
        Dial { stream, place }
    }

    #[test]
    fn a_request_has_one_dial_and_shares_the_others_with_all() {
        let dialler = Dialler::with(2);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let place = dialler.place(&mut one);
            one.push(hanging(place));
        }
        assert_eq!((one.len(), dialler.beside.available_permits()), (3, 0));
        // Nothing is left: the next one takes the place of the oldest, here and elsewhere.
        let place = dialler.place(&mut one);
        one.push(hanging(place));
        assert_eq!(one.len(), 3);
        for _ in 0..5 {
            let place = dialler.place(&mut other);
            other.push(hanging(place));
            assert_eq!(other.len(), 1);
        }
        let own = |dials: &[Dial<'_>]| dials.iter().filter(|dial| dial.place.is_none()).count();
        assert_eq!((own(&one), own(&other)), (1, 1));
        drop(one);
        assert_eq!(dialler.beside.available_permits(), 2);
        let place = dialler.place(&mut other);
        other.push(hanging(place));
        assert_eq!(other.len(), 2);
    }
}
