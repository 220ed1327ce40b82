//! The PROXY protocol: a header before the first byte of a connection, that says between whom it is.
//!
//! What is read is read strictly: a header has one form, a bounded length, and ends where it says.
//! `accept` takes it from the network, `write` makes it for the application.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt> (the numbers of sections are its)

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) mod accept;
pub(crate) mod write;

/// What a header of version 2 begins with (2.2).
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end (2.1).
pub(crate) const MOST_V1: usize = 107;

/// Signature, version and command, family and protocol, length (2.2).
pub(crate) const FIXED_V2: usize = 16;

/// The longest header of version 2 that is taken: addresses are up to 216 bytes of it, the rest is
/// TLVs, of which a certificate's names are the longest that anybody sends.
pub(crate) const MOST_V2: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// The proxy speaks for itself (`LOCAL`): the addresses of the connection itself count.
    Nobody,
    /// It speaks for somebody whom it does not name (`UNKNOWN`).
    Somebody,
    /// It speaks for a client.
    Client(Ends),
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) source: SocketAddr,
    /// The one that the client connected to.
    pub(crate) destination: SocketAddr,
}

/// Between whom a connection is, and by whom we know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The client, and what it connected to.
    pub(crate) ends: Ends,
    /// The proxy that speaks for the client, where one does. It is the client as well where it did not
    /// say for whom it speaks.
    pub(crate) proxy: Option<SocketAddr>,
}

impl Origin {
    /// Whether somebody is behind a proxy and was not named: what comes may be a stranger's.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.proxy == Some(self.ends.source)
    }
}

/// How far the bytes of a header got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parsed {
    /// More of it must come; at least so many bytes are needed in all.
    Incomplete(usize),
    /// It is whole, and so long.
    Whole(Said, usize),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Malformed {
    /// They begin like neither version.
    NoHeader,
    /// A line of version 1 that is no such line.
    Line,
    /// A version other than 2 behind the signature.
    Version,
    /// A command that there is not.
    Command,
    /// A family or protocol that there is not, or not one of streams.
    Family,
    /// Shorter than its addresses.
    Short,
    /// Longer than anything that is taken.
    Long,
    /// TLVs that do not end where the header ends.
    Tlv,
    /// A checksum that is not the header's.
    Checksum,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "there is no PROXY header before the first byte",
            Self::Line => "the line of PROXY version 1 is not one",
            Self::Version => "the version behind the PROXY signature is not 2",
            Self::Command => "the PROXY command is neither LOCAL nor PROXY",
            Self::Family => "the PROXY header is for no TCP connection",
            Self::Short => "the PROXY header is shorter than its addresses",
            Self::Long => "the PROXY header is longer than 4096 bytes",
            Self::Tlv => "the TLVs of the PROXY header do not end where it ends",
            Self::Checksum => "the checksum in the PROXY header is not that of its bytes",
        })
    }
}

/// Reads what is there of a header.
///
/// # Errors
/// As soon as the bytes cannot become a header any more.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    const V1: &[u8] = b"PROXY ";
    let begins = |whole: &[u8]| {
        let both = bytes.len().min(whole.len());
        bytes.get(..both) == whole.get(..both)
    };
    if begins(&SIGNATURE) && !bytes.is_empty() {
        parse_v2(bytes)
    } else if begins(V1) && !bytes.is_empty() {
        parse_v1(bytes)
    } else if bytes.is_empty() {
        Ok(Parsed::Incomplete(1))
    } else {
        Err(Malformed::NoHeader)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let within = bytes.get(..MOST_V1).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        let over = within.len() == MOST_V1 || within.iter().rev().skip(1).any(|it| *it == b'\r');
        return if over { Err(Malformed::Line) } else { Ok(Parsed::Incomplete(bytes.len() + 1)) };
    };
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let plain = |line: &&str| line.bytes().all(|it| it.is_ascii_graphic() || it == b' ');
    let said = line.filter(plain).and_then(read_line).ok_or(Malformed::Line)?;
    Ok(Parsed::Whole(said, end + 2))
}

/// Single spaces, five fields, or `UNKNOWN` and anything (2.1).
fn read_line(line: &str) -> Option<Said> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Said::Somebody);
    }
    let mut fields = rest.split(' ');
    let family = fields.next()?;
    let mut ip = || match family {
        "TCP4" => fields.next()?.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => fields.next()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || decimal(fields.next()?);
    let (from, to) = (port()?, port()?);
    let ends = Ends::new(SocketAddr::new(source, from), SocketAddr::new(destination, to));
    fields.next().is_none().then_some(Said::Client(ends))
}

/// A port without sign and without zeros in front of it.
fn decimal(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain { text.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED_V2>() else {
        // What is wrong already need not be waited for.
        if let Some(version) = bytes.get(12) {
            command(*version)?;
        }
        return Ok(Parsed::Incomplete(FIXED_V2));
    };
    let [.., version, family, high, low] = *fixed;
    let speaks = command(version)?;
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
    if length > MOST_V2 {
        return Err(Malformed::Long);
    }
    let Some(rest) = bytes.get(FIXED_V2..length) else { return Ok(Parsed::Incomplete(length)) };
    let addresses = match (speaks, family) {
        // The receiver must take no notice of the rest of it (2.2).
        (Command::Local, _) => return Ok(Parsed::Whole(Said::Nobody, length)),
        // Unspecified: as with UNKNOWN.
        (Command::Proxy, 0x00) => 0,
        (Command::Proxy, 0x11) => 12,
        (Command::Proxy, 0x21) => 36,
        (Command::Proxy, 0x31) => 216,
        (Command::Proxy, _) => return Err(Malformed::Family),
    };
    let (addresses, tlvs) = rest.split_at_checked(addresses).ok_or(Malformed::Short)?;
    check_tlvs(tlvs, |at| {
        let (before, checksum) = bytes.get(..length)?.split_at_checked(length - tlvs.len() + at)?;
        let (checksum, after) = checksum.split_first_chunk::<4>()?;
        let sum = crc32c([before, &[0; 4], after].into_iter().flatten().copied());
        (u32::from_be_bytes(*checksum) == sum).then_some(())
    })?;
    Ok(Parsed::Whole(read_addresses(addresses).map_or(Said::Somebody, Said::Client), length))
}

enum Command {
    Local,
    Proxy,
}

fn command(version: u8) -> Result<Command, Malformed> {
    match version {
        0x20 => Ok(Command::Local),
        0x21 => Ok(Command::Proxy),
        other if other >> 4 == 2 => Err(Malformed::Command),
        _ => Err(Malformed::Version),
    }
}

/// Source, destination, and their ports; [`None`] for those of Unix sockets.
fn read_addresses(bytes: &[u8]) -> Option<Ends> {
    let (ips, ports) = match bytes.len() {
        12 => {
            let (ips, ports) = bytes.split_at_checked(8)?;
            let mut ips = ips.chunks_exact(4).filter_map(<[u8]>::first_chunk::<4>);
            ([IpAddr::from(*ips.next()?), IpAddr::from(*ips.next()?)], ports)
        }
        36 => {
            let (ips, ports) = bytes.split_at_checked(32)?;
            let mut ips = ips.chunks_exact(16).filter_map(<[u8]>::first_chunk::<16>);
            ([IpAddr::from(*ips.next()?), IpAddr::from(*ips.next()?)], ports)
        }
        _ => return None,
    };
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    let [source, destination] = ips;
    Some(Ends::new(
        SocketAddr::new(source, u16::from_be_bytes([a, b])),
        SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    ))
}

impl Ends {
    /// The ends, with IPv4 addresses as such also where they came in the dress of IPv6.
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let plain = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        Self { source: plain(source), destination: plain(destination) }
    }
}

/// The TLV that holds a checksum of the whole header (2.2.3).
const CRC32C: u8 = 3;

/// Whether `bytes` are TLVs; `sums_up` says whether the checksum is right that begins so many bytes on.
fn check_tlvs(bytes: &[u8], sums_up: impl Fn(usize) -> Option<()>) -> Result<(), Malformed> {
    let mut left = bytes;
    while let Some((head, rest)) = left.split_first_chunk::<3>() {
        let [kind, high, low] = *head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        left = rest.get(length..).ok_or(Malformed::Tlv)?;
        if kind == CRC32C {
            let checked = if length == 4 { sums_up(bytes.len() - rest.len()) } else { None };
            checked.ok_or(Malformed::Checksum)?;
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Malformed::Tlv) }
}

/// CRC-32C (RFC 3720, B.4), bit by bit: headers are short, and few have a checksum.
fn crc32c(bytes: impl IntoIterator<Item = u8>) -> u32 {
    !bytes.into_iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 }
        })
    })
}

#[cfg(test)]
mod tests;
