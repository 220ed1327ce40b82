//! What the application gets to read: hop-by-hop fields out, what a client wrote about itself out,
//! the truth in.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use lasthop_contract::trusted_proxies::Trust;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Fields that end at the next hop, listed in Connection or not (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is known of a request besides its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// Who sent it.
    pub(crate) peer: IpAddr,
    /// Whether the forwarding headers of that peer are believed.
    pub(crate) trust: Trust,
    /// The host that it is for, valid.
    pub(crate) host: &'a str,
    /// The port of that host, if one is named.
    pub(crate) port: Option<u16>,
    /// The identity headers of the connection.
    pub(crate) identity: &'a [(HeaderName, HeaderValue)],
}

/// What a request asked of this hop alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    /// `TE: trailers`.
    pub(crate) trailers: bool,
    /// `Upgrade: websocket`, named in Connection.
    pub(crate) websocket: bool,
}

/// Makes the headers of a request those that the application reads; the number of identity and
/// forwarding headers that were taken out comes back as well.
pub(crate) fn to_application(headers: &mut HeaderMap, origin: &Origin<'_>) -> (Asked, u64) {
    let asked = asked(headers);
    let listed = listed(headers);
    let believed = match origin.trust {
        Trust::Trusted => Believed::take(headers),
        Trust::Untrusted => Believed::default(),
    };
    remove_hop_by_hop(headers, &listed);
    let stripped = strip(headers, origin.trust);
    believed.write(headers, origin);
    for (name, value) in origin.identity {
        headers.append(name.clone(), value.clone());
    }
    (asked, stripped)
}

/// Makes the headers of an answer those that the client reads.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    let listed = listed(headers);
    remove_hop_by_hop(headers, &listed);
}

/// Makes the crumbs of a cookie, as HTTP/2 may send them, the one line that an HTTP/1.1 application
/// knows (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    if let Some(cookie) = joined(headers, &COOKIE, b"; ") {
        headers.insert(COOKIE, cookie);
    }
}

/// Trailers carry neither identity nor framing (RFC 9110, 6.5.1), from nobody.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers, &[]);
    strip(trailers, Trust::Untrusted);
    for name in [HOST, CONTENT_LENGTH, TRAILER] {
        trailers.remove(name);
    }
}

fn asked(headers: &HeaderMap) -> Asked {
    let has_token = |name: HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .any(|value| tokens(value).any(|it| it.eq_ignore_ascii_case(wanted.as_bytes())))
    };
    // Any other protocol would be a tunnel in which nobody takes headers out: `h2c` above all.
    let websocket = has_token(CONNECTION, "upgrade")
        && headers.get_all(UPGRADE).iter().count() == 1
        && headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    Asked { trailers: has_token(TE, "trailers"), websocket }
}

/// The elements of a comma-separated list, without parameters. They are bytes: an element that is
/// no text says nothing against those beside it.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let elements = value.as_bytes().split(|byte| *byte == b',');
    elements.map(|it| it.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

/// The fields that Connection names.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect()
}

fn remove_hop_by_hop(headers: &mut HeaderMap, listed: &[HeaderName]) {
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out every header by which an application could be told who the client is.
fn strip(headers: &mut HeaderMap, trust: Trust) -> u64 {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| is_stripped(name.as_str(), trust)).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
    u64::try_from(names.len()).unwrap_or(u64::MAX)
}

/// Prefixes of headers that tell identity or way, in the spelling of [`normal`].
const TOLD_PREFIXES: [&str; 20] = [
    "client-cert",
    "l5d-",
    "ssl-cert",
    "ssl-client",
    "tls-client-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-client-cert",
    "x-client-s-dn",
    "x-client-subject",
    "x-envoy-peer-metadata",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-remote-",
    "x-spiffe-id",
    "x-ssl-",
    "x-tls-client-",
    "x-webauth-",
];

/// Such headers that are no prefix. `Proxy` becomes `HTTP_PROXY` where headers are read as CGI does,
/// and so the proxy of the application's own requests (CVE-2016-5385).
const TOLD_NAMES: [&str; 8] = [
    "forwarded",
    "proxy",
    "remote-user",
    "x-arr-clientcert",
    "x-client-dn",
    "x-client-verify",
    "x-forwarded",
    "x-original-forwarded-for",
];

/// Headers with the address of the client, each the way of another proxy.
const TOLD_ADDRESSES: [&str; 11] = [
    "cf-connecting-ip",
    "fastly-client-ip",
    "true-client-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
];

fn is_stripped(name: &str, trust: Trust) -> bool {
    let is_told = |name: &str| {
        TOLD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || TOLD_NAMES.contains(&name)
            || TOLD_ADDRESSES.contains(&name)
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return is_told(&normal(name));
    }
    is_told(name) && !(trust == Trust::Trusted && is_kept(name))
}

/// Many applications read headers as CGI does (RFC 3875, 4.1.18), where `X_Forwarded_For` and
/// `X-Forwarded-For` are the same variable; some fold other characters as well.
fn normal(name: &str) -> String {
    name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect()
}

/// What a trusted proxy says of the way. Certificates of the far side are not among it: a proxy
/// that does not take out such headers hands on what a stranger wrote.
fn is_kept(name: &str) -> bool {
    (name.starts_with("x-forwarded-")
        && !name.starts_with("x-forwarded-client-cert")
        && !name.starts_with("x-forwarded-tls-client-cert"))
        || name == "forwarded"
        || TOLD_ADDRESSES.contains(&name)
}

/// What a trusted proxy wrote and we extend, taken before Connection could name it.
#[derive(Debug, Default)]
struct Believed {
    way: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
}

impl Believed {
    fn take(headers: &mut HeaderMap) -> Self {
        Self {
            way: joined(headers, &X_FORWARDED_FOR, b", "),
            forwarded: joined(headers, &FORWARDED, b", "),
            proto: single(headers, &X_FORWARDED_PROTO),
            host: single(headers, &X_FORWARDED_HOST),
            port: single(headers, &X_FORWARDED_PORT),
        }
    }

    fn write(self, headers: &mut HeaderMap, origin: &Origin<'_>) {
        let peer = origin.peer;
        headers.insert(X_FORWARDED_FOR, extended(self.way, &peer.to_string()));
        let proto = self.proto.unwrap_or(HeaderValue::from_static("https"));
        headers.insert(X_FORWARDED_PROTO, proto);
        let host = || HeaderValue::from_str(origin.host).ok();
        if let Some(host) = self.host.or_else(host) {
            headers.insert(X_FORWARDED_HOST, host);
        }
        let port = || HeaderValue::from(origin.port.unwrap_or(443));
        headers.insert(X_FORWARDED_PORT, self.port.unwrap_or_else(port));
        if self.forwarded.is_some() {
            let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
            let mut element = format!("for={node};proto=https");
            let _infallible = write!(element, ";host=\"{}\"", origin.host);
            headers.insert(FORWARDED, extended(self.forwarded, &element));
        }
    }
}

/// All lines of a list as one, with `separator` between them.
fn joined(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .filter(|it| !it.is_empty())
        .collect();
    let value =
        (!lines.is_empty()).then(|| HeaderValue::from_bytes(&lines.join(separator)).ok()).flatten();
    headers.remove(name);
    value
}

/// The value of a header that may stand there once; more than once it says nothing.
fn single(headers: &mut HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let value = match (lines.next(), lines.next()) {
        (Some(value), None) if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    headers.remove(name);
    value
}

fn extended(list: Option<HeaderValue>, element: &str) -> HeaderValue {
    let mut bytes = list.map(|it| it.as_bytes().to_vec()).unwrap_or_default();
    if !bytes.is_empty() {
        bytes.extend_from_slice(b", ");
    }
    bytes.extend_from_slice(element.as_bytes());
    HeaderValue::from_bytes(&bytes)
        .unwrap_or_else(|_not_a_value| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn origin(trust: Trust) -> Origin<'static> {
        let peer = "192.0.2.7".parse().unwrap();
        Origin { peer, trust, host: "app.example.com", port: None, identity: &[] }
    }

    fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    const FORGED: [&str; 66] = [
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-Forwarded-User",
        "Forwarded",
        "X-Real-IP",
        "X-Client-Cert",
        "X-Client-Certificate",
        "X-Client-Cert-Chain",
        "X-SSL-Client-Cert",
        "X-SSL-Cert",
        "Ssl-Client-Verify",
        "Ssl-Client-Subject-Dn",
        "X-Amzn-Mtls-Clientcert-Leaf",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Remote-Extra-Scopes",
        "Remote-User",
        "l5d-client-id",
        "L5D-Dst-Override",
        "True-Client-IP",
        "X-Client-IP",
        "X_Forwarded_For",
        "x_forwarded-proto",
        "X_FORWARDED_CLIENT_CERT",
        "Remote_User",
        "client_cert",
        "X.Forwarded.For",
        "x_real_ip",
        "SSL_CLIENT_S_DN",
        "x-ssl_client_verify",
        "X-ARR-ClientCert",
        "X-TLS-Client-Subject",
        "Tls-Client-Verify",
        "SSL-Cert",
        "Ssl-Client",
        "X-Client-S-Dn",
        "X-Client-Subject",
        "X-Client-Subject-DN",
        "X-Spiffe-Id",
        "X-Envoy-External-Address",
        "X-Envoy-Peer-Metadata",
        "X-Envoy-Peer-Metadata-Id",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
        "X-Azure-ClientIP",
        "X-Azure-SocketIP",
        "X-Cluster-Client-IP",
        "X-ProxyUser-Ip",
        "X-Originating-IP",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-WebAuth-User",
        "X-Ms-Client-Principal",
        "X-MS-CLIENT-PRINCIPAL-NAME",
        "X-Goog-Authenticated-User-Email",
        "X-Amzn-Oidc-Identity",
        "Proxy",
        "cf_connecting_ip",
        "X_Auth_Request_User",
    ];

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        for name in FORGED {
            let mut headers = map(&[(name, "forged"), (name, "again"), ("accept", "*/*")]);
            let (_, stripped) = to_application(&mut headers, &origin(Trust::Untrusted));
            assert_eq!(stripped, 1, "{name}");
            let text = format!("{headers:?}");
            assert!(!text.contains("forged") && !text.contains("again"), "{name}: {text}");
            assert_eq!(value(&headers, "accept"), "*/*");
            assert_eq!(value(&headers, "x-forwarded-for"), "192.0.2.7");
        }
    }

    #[test]
    fn what_only_looks_alike_is_passed_on() {
        for name in [
            "Proxy-Status",
            "X-Auth-Token",
            "X-Client-Version",
            "X-Envoy-Attempt-Count",
            "X-Ms-Client-Request-Id",
            "X-Amzn-Trace-Id",
            "X-Requested-With",
            "Remote-Address",
        ] {
            let mut headers = map(&[(name, "kept")]);
            let (_, stripped) = to_application(&mut headers, &origin(Trust::Untrusted));
            assert_eq!(stripped, 0, "{name}");
            assert_eq!(value(&headers, name), "kept");
        }
    }

    #[test]
    fn a_cookie_in_crumbs_is_one_cookie() {
        let mut headers =
            map(&[("cookie", "a=b"), ("accept", "*/*"), ("cookie", ""), ("cookie", "c=d; e=f")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b; c=d; e=f"]);
        assert_eq!(value(&headers, "accept"), "*/*");
        for lines in [&[][..], &[("cookie", "a=b")]] {
            let mut headers = map(lines);
            join_cookies(&mut headers);
            assert_eq!(headers, map(lines));
        }
    }

    #[test]
    fn the_application_is_told_the_truth() {
        let identity = [(
            HeaderName::from_static("x-forwarded-client-cert"),
            HeaderValue::from_static("Hash=ab"),
        )];
        let mut headers =
            map(&[("X-Forwarded-Client-Cert", "Hash=forged"), ("host", "app.example.com")]);
        let told = Origin { identity: &identity, port: Some(8443), ..origin(Trust::Untrusted) };
        let _asked = to_application(&mut headers, &told);
        assert_eq!(value(&headers, "x-forwarded-client-cert"), "Hash=ab");
        assert_eq!(headers.get_all("x-forwarded-client-cert").iter().count(), 1);
        assert_eq!(value(&headers, "x-forwarded-proto"), "https");
        assert_eq!(value(&headers, "x-forwarded-host"), "app.example.com");
        assert_eq!(value(&headers, "x-forwarded-port"), "8443");
        assert_eq!(value(&headers, "host"), "app.example.com");
        assert!(!headers.contains_key("forwarded"));
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_extended() {
        let mut headers = map(&[
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-For", "198.51.100.1, 10.0.0.2"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "shop.example.com"),
            ("X-Forwarded-Port", "80"),
            ("X-Forwarded-Prefix", "/shop"),
            ("X-Real-IP", "203.0.113.9"),
            ("CF-Connecting-IP", "203.0.113.9"),
            ("Forwarded", "for=203.0.113.9"),
        ]);
        let _asked = to_application(&mut headers, &origin(Trust::Trusted));
        assert_eq!(
            value(&headers, "x-forwarded-for"),
            "203.0.113.9, 198.51.100.1, 10.0.0.2, 192.0.2.7"
        );
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(value(&headers, "x-forwarded-proto"), "http");
        assert_eq!(value(&headers, "x-forwarded-host"), "shop.example.com");
        assert_eq!(value(&headers, "x-forwarded-port"), "80");
        assert_eq!(value(&headers, "x-forwarded-prefix"), "/shop");
        assert_eq!(value(&headers, "x-real-ip"), "203.0.113.9");
        assert_eq!(value(&headers, "cf-connecting-ip"), "203.0.113.9");
        assert_eq!(
            value(&headers, "forwarded"),
            "for=203.0.113.9, for=192.0.2.7;proto=https;host=\"app.example.com\""
        );
    }

    #[test]
    fn even_a_trusted_proxy_does_not_hand_on_certificates() {
        let mut headers = map(&[
            ("X-Forwarded-Client-Cert", "Hash=forged"),
            ("X-Forwarded-Tls-Client-Cert", "forged"),
            ("Ssl-Client-Verify", "forged"),
            ("X_Forwarded_For", "forged"),
            ("X-Remote-User", "forged"),
            ("X-Auth-Request-User", "forged"),
            ("X-Spiffe-Id", "forged"),
            ("X-ARR-ClientCert", "forged"),
            ("CF_Connecting_IP", "forged"),
            ("Proxy", "http://forged"),
        ]);
        let (_, stripped) = to_application(&mut headers, &origin(Trust::Trusted));
        assert_eq!(stripped, 10);
        assert!(!format!("{headers:?}").contains("forged"));
    }

    #[test]
    fn connection_ends_what_it_names_and_nothing_of_ours() {
        let mut headers = map(&[
            ("Connection", "keep-alive, X-Private, x-forwarded-for"),
            ("connection", "X-Forwarded-Client-Cert,  close"),
            ("X-Private", "for the next hop"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers, deflate;q=0.5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ]);
        let (asked, _) = to_application(&mut headers, &origin(Trust::Trusted));
        assert_eq!(asked, Asked { trailers: true, websocket: false });
        assert_eq!(value(&headers, "x-forwarded-for"), "203.0.113.9, 192.0.2.7");
        for name in [
            "connection",
            "x-private",
            "keep-alive",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_text_in_connection_hides_nothing_beside_it() {
        let mut headers = map(&[("X-Private", "for the next hop"), ("X-Other", "likewise")]);
        let line =
            HeaderValue::from_bytes(b"\xff, X-Private,\xe9;X-Kept ,\tX-Other;a=\xff").unwrap();
        headers.append(CONNECTION, line);
        headers.append("x-kept", HeaderValue::from_static("kept"));
        let _asked = to_application(&mut headers, &origin(Trust::Untrusted));
        assert!(!headers.contains_key("x-private") && !headers.contains_key("x-other"));
        assert_eq!(value(&headers, "x-kept"), "kept");
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let asked = |upgrade: &[(&str, &str)]| {
            let mut headers = map(upgrade);
            to_application(&mut headers, &origin(Trust::Untrusted)).0.websocket
        };
        assert!(asked(&[("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")]));
        assert!(!asked(&[("Upgrade", "websocket")]));
        assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "h2c")]));
        assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "websocket, h2c")]));
        assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c")]));
    }

    #[test]
    fn trailers_carry_neither_identity_nor_framing() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("X-Forwarded-For", "forged"),
            ("x_remote_user", "forged"),
            ("Content-Length", "5"),
            ("Host", "forged"),
            ("Transfer-Encoding", "chunked"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers.len(), 1);
        assert_eq!(value(&trailers, "grpc-status"), "0");
    }

    #[test]
    fn an_ipv6_peer_is_quoted_in_forwarded() {
        let mut headers = map(&[
            ("Forwarded", "for=a"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Proto", "https"),
        ]);
        let peer = "2001:db8::7".parse().unwrap();
        let _asked = to_application(&mut headers, &Origin { peer, ..origin(Trust::Trusted) });
        assert!(value(&headers, "forwarded").contains("for=\"[2001:db8::7]\""));
        assert_eq!(value(&headers, "x-forwarded-for"), "2001:db8::7");
        assert_eq!(value(&headers, "x-forwarded-proto"), "https");
    }
}
