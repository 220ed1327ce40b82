//! The header for the application, before the first byte of a connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lasthop_contract::sidecar_config::ProxyVersion;

use super::{Ends, SIGNATURE};

/// What version 2 tells besides the two ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told<'a> {
    /// What was agreed on by ALPN (RFC 7301).
    pub(crate) alpn: Option<&'a [u8]>,
    /// The server name that the client asked for.
    pub(crate) authority: Option<&'a str>,
    /// `TLSv1.3`.
    pub(crate) version: &'a str,
    /// The suite by its registered name.
    pub(crate) cipher: &'a str,
    pub(crate) client: ClientTold<'a>,
}

/// What is told of the client's certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ClientTold<'a> {
    /// It has none.
    #[default]
    Nobody,
    /// It presented one on this connection, which was found good.
    Presented { common_name: Option<&'a str> },
    /// It did on an earlier connection, which this one resumes; it was judged again.
    Resumed { common_name: Option<&'a str> },
}

/// The header in `version`.
pub(crate) fn header(version: ProxyVersion, ends: &Ends, told: &Told<'_>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => v1(ends),
        ProxyVersion::V2 => v2(ends, told),
    }
}

/// The line of version 1.
pub(super) fn v1(ends: &Ends) -> Vec<u8> {
    let Ends { source, destination } = ends;
    let (family, from, to) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", from.to_string(), to.to_string()),
        (from, to) => ("TCP6", v6(from).to_string(), v6(to).to_string()),
    };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// One address of each family: both as IPv6.
fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Types of TLVs (2.2.1, 2.2.6).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// Bits of the client field of [`SSL`].
const CLIENT_SSL: u8 = 1;
const CLIENT_CERT_CONN: u8 = 2;
const CLIENT_CERT_SESS: u8 = 4;

/// A common name is at most 64 characters (RFC 5280, A.1); one that is much longer is not told, for
/// a part of it could be another's.
const MOST_NAME: usize = 1024;

/// The header of version 2.
pub(super) fn v2(ends: &Ends, told: &Told<'_>) -> Vec<u8> {
    let mut rest = Vec::new();
    let Ends { source, destination } = ends;
    let family = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            rest.extend([from.octets(), to.octets()].concat());
            0x11
        }
        (from, to) => {
            rest.extend([v6(from).octets(), v6(to).octets()].concat());
            0x21
        }
    };
    for port in [source, destination].map(SocketAddr::port) {
        rest.extend(port.to_be_bytes());
    }
    let Told { alpn, authority, version, cipher, client } = told;
    if let Some(name) = alpn {
        put(&mut rest, ALPN, name);
    }
    if let Some(name) = authority {
        put(&mut rest, AUTHORITY, name.as_bytes());
    }
    if !version.is_empty() {
        put(&mut rest, SSL, &ssl(version, cipher, client));
    }
    let length = u16::try_from(rest.len()).unwrap_or(0);
    rest.truncate(usize::from(length));
    [&SIGNATURE[..], &[0x21, family], &length.to_be_bytes(), &rest].concat()
}

fn ssl(version: &str, cipher: &str, client: &ClientTold<'_>) -> Vec<u8> {
    // 0 is for a certificate that was presented and verified.
    let (bits, verify, name) = match client {
        ClientTold::Nobody => (CLIENT_SSL, 1_u32, None),
        ClientTold::Presented { common_name } => {
            (CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS, 0, *common_name)
        }
        ClientTold::Resumed { common_name } => (CLIENT_SSL | CLIENT_CERT_SESS, 0, *common_name),
    };
    let mut value = vec![bits];
    value.extend(verify.to_be_bytes());
    put(&mut value, SSL_VERSION, version.as_bytes());
    if let Some(name) = name.filter(|name| name.len() <= MOST_NAME) {
        put(&mut value, SSL_CN, name.as_bytes());
    }
    put(&mut value, SSL_CIPHER, cipher.as_bytes());
    value
}

fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    out.push(kind);
    out.extend(length.to_be_bytes());
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends::new(source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn a_line_names_both_ends() {
        for (source, destination, line) in [
            ("192.0.2.7:1", "192.0.2.8:443", "PROXY TCP4 192.0.2.7 192.0.2.8 1 443\r\n"),
            ("[2001:db8::1]:1", "[2001:db8::2]:2", "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
            ("192.0.2.7:1", "[::2]:2", "PROXY TCP6 ::ffff:192.0.2.7 ::2 1 2\r\n"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.8:2", "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"),
        ] {
            assert_eq!(v1(&ends(source, destination)), line.as_bytes());
        }
    }

    #[test]
    fn version_2_tells_of_tls_and_of_the_client() {
        let ends = ends("192.0.2.7:1", "192.0.2.8:443");
        let told = Told {
            alpn: Some(b"h2"),
            authority: Some("a.b"),
            version: "TLSv1.3",
            cipher: "X",
            client: ClientTold::Presented { common_name: Some("me") },
        };
        let mut expected = SIGNATURE.to_vec();
        expected.extend([0x21, 0x11, 0, 50]);
        expected.extend([192, 0, 2, 7, 192, 0, 2, 8, 0, 1, 1, 0xbb]);
        expected.extend(b"\x01\0\x02h2\x02\0\x03a.b");
        expected.extend(b"\x20\0\x18\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x02me\x23\0\x01X");
        assert_eq!(v2(&ends, &told), expected);
        let nobody = v2(&ends, &Told { client: ClientTold::Nobody, ..told });
        assert!(nobody.windows(5).any(|it| it == [1, 0, 0, 0, 1]), "{nobody:?}");
        let resumed = ClientTold::Resumed { common_name: None };
        let resumed = v2(&ends, &Told { client: resumed, ..told });
        assert!(resumed.windows(5).any(|it| it == [5, 0, 0, 0, 0]), "{resumed:?}");
        assert!(!resumed.windows(2).any(|it| it == [0x22, 0]), "{resumed:?}");
    }
}
