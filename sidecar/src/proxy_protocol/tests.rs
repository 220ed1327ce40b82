//! Examples of the specification, what is not quite like them, and bytes of any kind.

use proptest::prelude::*;

use super::*;

fn client(source: &str, destination: &str) -> Said {
    Said::Client(Ends::new(source.parse().unwrap(), destination.parse().unwrap()))
}

fn whole(said: Said, length: usize) -> Parsed {
    Parsed::Whole(said, length)
}

/// A header of version 2.
fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[version, family], &length, rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 9, 0xdd, 0xd5, 0x01, 0xbb];

#[test]
fn lines_of_the_specification_are_read() {
    for (line, said) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            client("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Said::Somebody),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Said::Somebody,
        ),
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            client("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        ("PROXY TCP6 ::1 ::2 0 1\r\n", client("[::1]:0", "[::2]:1")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::2 1 2\r\n", client("192.0.2.1:1", "[::2]:2")),
    ] {
        assert_eq!(parse(line.as_bytes()), Ok(whole(said, line.len())), "{line}");
        let more = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(parse(more.as_bytes()), Ok(whole(said, line.len())), "{line}");
    }
}

#[test]
fn what_is_not_quite_a_line_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1/8 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
        "PROXY TCP4 \u{661}.0.2.1 192.0.2.2 1 2\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Malformed::Line), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MOST_V1));
    assert_eq!(parse(long.as_bytes()), Err(Malformed::Line));
    for other in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\0\x01", b"proxy ", b"PROXX", b"\r\n\r\nGET"]
    {
        assert_eq!(parse(other), Err(Malformed::NoHeader), "{other:?}");
    }
}

#[test]
fn headers_of_version_2_are_read() {
    let v6: Vec<u8> = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[1, 0x20, 1, 0xd, 0xb8],
        &[0; 11],
        &[2, 0, 80, 1, 187],
    ]
    .concat();
    let tlvs = [&V4[..], &[0x02, 0, 3, b'a', b'.', b'b'], &[0x04, 0, 0]].concat();
    for (header, said) in [
        (v2(0x21, 0x11, &V4), client("192.0.2.7:56789", "198.51.100.9:443")),
        (v2(0x21, 0x11, &tlvs), client("192.0.2.7:56789", "198.51.100.9:443")),
        (v2(0x21, 0x21, &v6), client("[2001:db8::1]:80", "[2001:db8::2]:443")),
        (v2(0x21, 0x31, &[0; 216]), Said::Somebody),
        (v2(0x21, 0x00, &[]), Said::Somebody),
        (v2(0x20, 0x00, &[]), Said::Nobody),
        (v2(0x20, 0x11, &V4), Said::Nobody),
        // What LOCAL carries is passed over, whatever it is.
        (v2(0x20, 0xff, &[1, 2, 3]), Said::Nobody),
    ] {
        assert_eq!(parse(&header), Ok(whole(said, header.len())), "{header:?}");
        let more = [&header[..], b"\x16\x03\x01"].concat();
        assert_eq!(parse(&more), Ok(whole(said, header.len())));
        for cut in 1..header.len() {
            assert!(
                matches!(parse(&header[..cut]), Ok(Parsed::Incomplete(need)) if need > cut),
                "{cut}"
            );
        }
    }
}

#[test]
fn what_is_not_quite_a_header_of_version_2_is_refused() {
    let tlv = |rest: &[u8]| v2(0x21, 0x11, &[&V4[..], rest].concat());
    for (header, expected) in [
        (v2(0x11, 0x11, &V4), Malformed::Version),
        (v2(0x31, 0x11, &V4), Malformed::Version),
        (v2(0x22, 0x11, &V4), Malformed::Command),
        (v2(0x21, 0x12, &V4), Malformed::Family),
        (v2(0x21, 0x41, &V4), Malformed::Family),
        (v2(0x21, 0x10, &V4), Malformed::Family),
        (v2(0x21, 0x11, &V4[..11]), Malformed::Short),
        (v2(0x21, 0x21, &V4), Malformed::Short),
        (tlv(&[1]), Malformed::Tlv),
        (tlv(&[1, 0]), Malformed::Tlv),
        (tlv(&[1, 0, 2, 0]), Malformed::Tlv),
        (tlv(&[1, 0xff, 0xff]), Malformed::Tlv),
        (tlv(&[0; MOST_V2]), Malformed::Long),
    ] {
        assert_eq!(parse(&header), Err(expected), "{header:?}");
    }
    // It is not waited for what cannot be right any more.
    let wrong = v2(0x99, 0, &[]);
    assert_eq!(parse(&wrong[..13]), Err(Malformed::Version));
    assert_eq!(parse(&v2(0x21, 0x11, &[0; MOST_V2])[..FIXED_V2]), Err(Malformed::Long));
}

/// A header with a checksum, between other TLVs, as the balancers of AWS send it.
fn summed(sum: u32) -> Vec<u8> {
    let tlvs = [&[0xea, 0, 1, 7, 3, 0, 4][..], &sum.to_be_bytes(), &[4, 0, 2, 0, 0]].concat();
    v2(0x21, 0x11, &[&V4[..], &tlvs].concat())
}

#[test]
fn a_checksum_is_that_of_the_header() {
    // RFC 3720, B.4.
    assert_eq!(crc32c([0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c([0xff; 32]), 0x62a8_ab43);
    let sum = crc32c(summed(0));
    let header = summed(sum);
    let said = client("192.0.2.7:56789", "198.51.100.9:443");
    assert_eq!(parse(&header), Ok(whole(said, header.len())));
    assert_eq!(parse(&[&header[..], b"\x16\x03\x01"].concat()), Ok(whole(said, header.len())));
    for flipped in 16..header.len() {
        let mut header = header.clone();
        header[flipped] ^= 0x10;
        // Of the TLVs' own kinds and lengths, some are found wrong before.
        let verdict = parse(&header);
        let is_kind_of_sum = flipped == 16 + V4.len() + 4;
        assert!(verdict.is_err() || is_kind_of_sum, "{flipped}: {verdict:?}");
    }
    let short = v2(0x21, 0x11, &[&V4[..], &[3, 0, 3, 0, 0, 0]].concat());
    assert_eq!(parse(&short), Err(Malformed::Checksum));
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn nothing_behind_a_signature_is_too_odd(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&[&SIGNATURE[..], &rest].concat())?;
        check(&[&SIGNATURE[..], &[0x21, 0x11, 0, u8::try_from(rest.len().min(255)).unwrap()], &rest].concat())?;
    }

    #[test]
    fn no_line_is_too_odd(rest in "[A-Z0-9.: \r\n]{0,120}") {
        check(format!("PROXY {rest}").as_bytes())?;
    }

    #[test]
    fn what_is_written_is_read(source: SocketAddr, destination: SocketAddr) {
        let ends = Ends::new(without_scope(source), without_scope(destination));
        for header in [write::v1(&ends), write::v2(&ends, &write::Told::default())] {
            prop_assert_eq!(parse(&header), Ok(Parsed::Whole(Said::Client(ends), header.len())));
        }
    }
}

fn without_scope(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// A verdict about a beginning holds for what comes after it: more is needed, or nothing helps.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let verdict = parse(bytes);
    if let Ok(Parsed::Whole(_, length)) = verdict {
        prop_assert!(length <= bytes.len() && length <= MOST_V2);
        prop_assert_eq!(parse(&bytes[..length]), verdict);
    }
    if let Ok(Parsed::Incomplete(need)) = verdict {
        prop_assert!(need > bytes.len() && need <= MOST_V2);
    }
    for cut in 0..bytes.len() {
        match parse(&bytes[..cut]) {
            Ok(Parsed::Incomplete(need)) => prop_assert!(need > cut),
            earlier => prop_assert_eq!(earlier, verdict),
        }
    }
    Ok(())
}
