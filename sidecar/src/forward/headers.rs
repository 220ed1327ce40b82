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
    pub(crate) peer: &'a Peer,
    /// Whether the forwarding headers of that peer are believed.
    pub(crate) trust: Trust,
    /// The host that it is for, valid.
    pub(crate) host: &'a HeaderValue,
    /// The port of that host, if one is named.
    pub(crate) port: Option<u16>,
    /// The identity headers of the connection.
    pub(crate) identity: &'a [(HeaderName, HeaderValue)],
    pub(crate) forwarded: Forwarded,
}

/// An address, and how it is written in every request from there: made once.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    written: HeaderValue,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { address, written: extended(None, &address.to_string()) }
    }
}

/// Where the header `Forwarded` (RFC 7239) is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forwarded {
    /// Where a trusted proxy wrote one, which is extended.
    Extended,
    /// In every request.
    Always,
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

/// Takes out what ends at this hop, and nothing else.
pub(crate) fn end_hop(headers: &mut HeaderMap) -> Asked {
    let asked = asked(headers);
    let listed = listed(headers);
    remove_hop_by_hop(headers, &listed);
    asked
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

/// Those of an answer carry no framing either; HTTP/2 has no place for what belongs to a connection
/// (RFC 9113, 8.2.2).
pub(crate) fn clean_answer_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers, &[]);
    for name in [CONTENT_LENGTH, TRAILER] {
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

/// The elements of all lines of `name`.
pub(super) fn tokens_of<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers.get_all(name).iter().flat_map(tokens)
}

/// The fields that Connection names.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens_of(headers, &CONNECTION).filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

fn remove_hop_by_hop(headers: &mut HeaderMap, listed: &[HeaderName]) {
    for name in listed {
        headers.remove(name);
    }
    // Most heads have none, and to see that is cheaper than to look each up.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
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
const TOLD_PREFIXES: [&str; 44] = [
    // `$WSCC`, `$WSRU` and their kin of WebSphere's plug-in.
    "-ws",
    "cf-access-authenticated-",
    "client-cert",
    "iv-creds",
    "iv-groups",
    "iv-user",
    "l5d-",
    "mtls-client-",
    "oam-",
    "oidc-claim-",
    "oidc-userinfo-",
    "shib-",
    "sm-user",
    "ssl-",
    "tailscale-user-",
    "tls-client-",
    "wl-proxy-client-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-apigateway-api-userinfo",
    "x-auth-request-",
    "x-authenticated-",
    "x-authentik-",
    "x-cert-",
    "x-client-cert",
    "x-client-s-dn",
    "x-client-subject",
    "x-consumer-",
    "x-credential-",
    "x-endpoint-api-userinfo",
    "x-envoy-peer-metadata",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-mtls-",
    "x-pomerium-",
    "x-remote-",
    "x-spiffe-id",
    "x-ssl-",
    "x-sslclient-",
    "x-tls-client-",
    "x-vouch-",
    "x-webauth-",
];

/// Such headers that are no prefix. `Proxy` becomes `HTTP_PROXY` where headers are read as CGI does,
/// and so the proxy of the application's own requests (CVE-2016-5385); `Script-Name` and `Path-Info`
/// move the application below another path (PEP 3333), as gunicorn lets a proxy on localhost do.
const TOLD_NAMES: [&str; 41] = [
    "auth-user",
    "forwarded",
    "front-end-https",
    "ms-aspnetcore-clientcert",
    "ms-aspnetcore-winauthtoken",
    "path-info",
    "proxy",
    "proxy-auth-cert",
    "proxy-ssl-id",
    "remote-addr",
    "remote-email",
    "remote-group",
    "remote-groups",
    "remote-name",
    "remote-user",
    "script-name",
    "wl-proxy-ssl",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-auth-email",
    "x-auth-user",
    "x-auth-username",
    "x-certificate",
    "x-client-cn",
    "x-client-dn",
    "x-client-fingerprint",
    "x-client-issuer",
    "x-client-san",
    "x-client-serial",
    "x-client-verified",
    "x-client-verify",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-original-proto",
    "x-peer-certificate",
    "x-proxied-https",
    "x-scheme",
    "x-script-name",
    "x-ssl",
    "x-url-scheme",
    "x-userinfo",
];

/// Headers with the address of the client, each the way of another proxy.
const TOLD_ADDRESSES: [&str; 24] = [
    "ali-cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "incap-client-ip",
    "proxy-client-ip",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-nf-client-connection-ip",
    "x-original-for",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-sucuri-clientip",
];

/// Fields that say where a request ends and for whom it is. In another spelling they are nobody's, but
/// where headers are read as CGI does, `Content_Length` is `Content-Length`.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_stripped(name: &str, trust: Trust) -> bool {
    let is_told = |name: &str| {
        TOLD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || TOLD_NAMES.contains(&name)
            || TOLD_ADDRESSES.contains(&name)
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        let name = normal(name);
        return is_told(&name) || FRAMING.contains(&name.as_str());
    }
    is_told(name) && !(trust == Trust::Trusted && is_kept(name))
}

/// Many applications read headers as CGI does (RFC 3875, 4.1.18), where `X_Forwarded_For` and
/// `X-Forwarded-For` are the same variable; some fold other characters as well.
pub(super) fn normal(name: &str) -> String {
    name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect()
}

/// What a trusted proxy says of the way. Certificates and users of the far side are not among it: a
/// proxy that does not take out such headers hands on what a stranger wrote.
fn is_kept(name: &str) -> bool {
    let told = name.strip_prefix("x-forwarded-");
    told.is_some_and(|it| WAY.contains(&it))
        || name == "forwarded"
        || TOLD_ADDRESSES.contains(&name)
}

/// What stands behind `X-Forwarded-` and tells of the way. Who the user is (`-User`, `-Email`, `-Groups`
/// and what else there may be) is not among it: balancers hand such headers on as a stranger wrote them.
const WAY: [&str; 17] = [
    "by", "for", "host", "hostname", "https", "method", "path", "port", "prefix", "proto",
    "protocol", "proxy", "query", "scheme", "server", "ssl", "uri",
];

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
        let peer = origin.peer.address;
        let way = match self.way {
            Some(way) => extended(Some(way), &peer.to_string()),
            None => origin.peer.written.clone(),
        };
        headers.insert(X_FORWARDED_FOR, way);
        let proto = self.proto.unwrap_or(HeaderValue::from_static("https"));
        headers.insert(X_FORWARDED_PROTO, proto);
        headers.insert(X_FORWARDED_HOST, self.host.unwrap_or_else(|| origin.host.clone()));
        let port = || origin.port.map_or(HeaderValue::from_static("443"), HeaderValue::from);
        headers.insert(X_FORWARDED_PORT, self.port.unwrap_or_else(port));
        if self.forwarded.is_some() || origin.forwarded == Forwarded::Always {
            let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
            let mut element = format!("for={node};proto=https");
            if let Ok(host) = origin.host.to_str() {
                let _infallible = write!(element, ";host=\"{host}\"");
            }
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
mod tests;
