//! The header of a connection that has just come in.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lasthop_contract::sidecar_config::ProxyAccept;
use lasthop_contract::trusted_proxies::Trust;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Ends, Malformed, Origin, Parsed, Said, parse};
use crate::handshake::Failure;
use crate::limits;
use crate::listener::Terminator;

/// A proxy sends the header with its first packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoHeader {
    /// The connection ended before its first byte.
    Untouched,
    /// It ended in the middle.
    Ended,
    /// It did not come in time.
    Late,
    /// What came is none.
    Malformed(Malformed),
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untouched => f.write_str("the connection was closed without a byte"),
            Self::Ended => {
                f.write_str("the connection was closed in the middle of the PROXY header")
            }
            Self::Late => {
                write!(f, "the PROXY header did not come within {} s", PATIENCE.as_secs())
            }
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

/// Whether `peer` is none of the proxies that `terminator` awaits. There is no certificate before TLS:
/// only the address can be trusted.
pub(crate) fn is_stranger(peer: SocketAddr, terminator: &Terminator) -> bool {
    terminator.proxy_protocol.accept != ProxyAccept::Never
        && terminator.trusted.judge(peer.ip(), None) == Trust::Untrusted
}

/// Between whom `stream` is, which `peer` opened at `terminator`, and who is no stranger there.
///
/// # Errors
/// Where a header is wanted, and none came.
pub(crate) async fn origin(
    stream: &mut TcpStream,
    peer: SocketAddr,
    terminator: &Terminator,
) -> Result<Origin, Failure> {
    let settings = terminator.proxy_protocol;
    // Nobody else asks for it, and it is a system call.
    let own = match settings.send {
        Some(_) => stream.local_addr().unwrap_or(terminator.address),
        None => terminator.address,
    };
    let own = Origin { ends: Ends::new(peer, own), proxy: None };
    if settings.accept == ProxyAccept::Never {
        return Ok(own);
    }
    match take(stream).await {
        Ok(Said::Client(ends)) => Ok(Origin { ends, proxy: Some(peer) }),
        Ok(Said::Somebody) => Ok(Origin { ends: own.ends, proxy: Some(peer) }),
        Ok(Said::Nobody) => Ok(own),
        Err(NoHeader::Untouched) => Err(Failure::Untouched),
        Err(reason) => Err(Failure::NoProxyHeader { reason }),
    }
}

/// Why `stream`, whose other end may send no header, is turned away: TCP health checks end without a
/// byte, and are no news. As few are waited for as `places` has permits.
pub(crate) async fn turned_away(stream: &TcpStream, places: &Semaphore) -> Failure {
    let Ok(_place) = places.try_acquire() else { return Failure::UntrustedProxy };
    match timeout(limits::LINGER, stream.peek(&mut [0])).await {
        Ok(Ok(0) | Err(_)) => Failure::Untouched,
        Ok(Ok(_)) | Err(_) => Failure::UntrustedProxy,
    }
}

/// Takes the header off `stream`, and not a byte that is behind it.
async fn take(stream: &mut TcpStream) -> Result<Said, NoHeader> {
    timeout(PATIENCE, read(stream)).await.unwrap_or(Err(NoHeader::Late))
}

async fn read(stream: &mut TcpStream) -> Result<Said, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes).map_err(NoHeader::Malformed)? {
            Parsed::Whole(said, _length) => return Ok(said),
            Parsed::Incomplete(need) => {
                let had = bytes.len();
                bytes.resize(need, 0);
                let new = bytes.get_mut(had..).unwrap_or_default();
                stream.read_exact(new).await.map_err(|error| ended(&error, had))?;
            }
        }
    }
}

fn ended(error: &io::Error, had: usize) -> NoHeader {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if had == 0 => NoHeader::Untouched,
        _ => NoHeader::Ended,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_behind_a_header_stays_where_it_is() {
        for header in [
            &b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..],
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02\x04\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(&[header, b"\x16rest"].concat()).await.unwrap();
            take(&mut server).await.unwrap();
            let mut rest = [0; 5];
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"\x16rest");
        }
    }

    #[tokio::test]
    async fn who_is_turned_away_is_waited_for_while_there_is_a_place() {
        let places = Semaphore::new(1);
        let (mut client, server) = pair().await;
        client.write_all(b"x").await.unwrap();
        assert!(matches!(turned_away(&server, &places).await, Failure::UntrustedProxy));
        let (client, server) = pair().await;
        drop(client);
        assert!(matches!(turned_away(&server, &places).await, Failure::Untouched));
        let _taken = places.acquire().await.unwrap();
        assert!(matches!(turned_away(&server, &places).await, Failure::UntrustedProxy));
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let (mut client, mut server) = pair().await;
        let slowly = async {
            for byte in b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 443\r\n" {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (said, ()) = tokio::join!(take(&mut server), slowly);
        let Said::Client(ends) = said.unwrap() else { panic!("nobody") };
        assert_eq!(ends.source, "[2001:db8::1]:65535".parse().unwrap());
    }

    #[tokio::test]
    async fn a_connection_without_a_header_is_told_apart() {
        for (bytes, expected) in [
            (&b""[..], NoHeader::Untouched),
            (b"PROXY TCP4", NoHeader::Ended),
            (b"\x16\x03\x01", NoHeader::Malformed(Malformed::NoHeader)),
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(bytes).await.unwrap();
            drop(client);
            assert_eq!(take(&mut server).await, Err(expected));
        }
    }
}
