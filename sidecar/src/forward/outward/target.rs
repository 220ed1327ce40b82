//! A request on its way to the next tier: as the application wrote it, in the form of whichever
//! version the next tier speaks.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use lasthop_contract::sidecar_config::Protocol;

use crate::admit::Alpn;
use crate::forward::headers::{self, Asked};
use crate::forward::meaning;
use crate::forward::websocket::Websocket;
use crate::host::{self, Said};

/// What is true of a request in every version.
#[derive(Clone, Debug)]
pub(super) struct Target {
    host: String,
    http1: Uri,
    http2: Uri,
    asked: Asked,
    /// How it asks for a WebSocket, if it does.
    websocket: Option<Websocket>,
    length: Length,
    /// Whether there is nothing behind the head.
    pub(super) has_no_body: bool,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Length {
    /// There is none, and nothing said of it.
    Unsaid,
    Known(u64),
    Unknown,
}

/// A request that is not passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bad {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
}

impl Target {
    /// Takes a request's head apart; what is left in it is for the next tier. `near` is what the
    /// application speaks, `authority` what a request of HTTP/1.0 without host is for.
    pub(super) fn take(
        parts: &mut Parts,
        incoming: &Incoming,
        near: Alpn,
        authority: &str,
    ) -> Result<Self, Bad> {
        let bad = |text| Bad { status: StatusCode::BAD_REQUEST, text };
        // The next tier is asked over HTTP/1.1, whatever it would choose: not every server that
        // speaks HTTP/2 takes WebSockets there.
        let extended = Websocket::extended(parts, Protocol::Http);
        if parts.method == Method::CONNECT && extended.is_none() {
            let status = StatusCode::NOT_IMPLEMENTED;
            return Err(Bad { status, text: "CONNECT is not served here" });
        }
        if let Some((status, text)) = meaning::obstacle(parts) {
            return Err(Bad { status, text });
        }
        let host = match host::of(parts) {
            Said::Host(host) => host,
            Said::Nothing if parts.version == Version::HTTP_10 => authority.to_owned(),
            Said::Nothing => return Err(bad("the request does not say for which host it is")),
            Said::Nonsense => return Err(bad("the request does not name one valid host")),
        };
        let asked = headers::end_hop(&mut parts.headers);
        let is_get = parts.method == Method::GET && near == Alpn::Http1;
        let upgraded = asked.websocket && is_get && parts.version != Version::HTTP_10;
        let websocket =
            extended.or_else(|| upgraded.then(|| Websocket::upgrade(&parts.headers)).flatten());
        let asked = Asked { websocket: websocket.is_some(), ..asked };
        if near == Alpn::H2 {
            headers::join_cookies(&mut parts.headers);
        }
        let length = length(&mut parts.headers, incoming);
        let (http1, http2) = targets(&parts.uri, &host)
            .ok_or_else(|| bad("the target of the request cannot be passed on"))?;
        if parts.version != Version::HTTP_11 {
            parts.headers.remove(EXPECT);
        }
        let has_no_body = incoming.is_end_stream();
        if let Some(websocket) = &websocket {
            websocket.ask(parts);
        }
        Ok(Self { host, http1, http2, asked, websocket, length, has_no_body })
    }

    /// How it asks for a WebSocket, if it does.
    pub(super) fn websocket(&self) -> Option<&Websocket> {
        self.websocket.as_ref()
    }

    /// Gives `request` the form of `protocol`; it may have had another one before.
    pub(super) fn shape<B>(&self, request: &mut Request<B>, protocol: Alpn) {
        let headers = request.headers_mut();
        for name in [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        if self.asked.trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Length::Known(length) = self.length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        match protocol {
            Alpn::H2 => {
                headers.remove(HOST);
                // 1xx answers do not come through HTTP/2, nobody would ever ask for the body.
                headers.remove(EXPECT);
                *request.version_mut() = Version::HTTP_2;
                self.http2.clone_into(request.uri_mut());
            }
            Alpn::Http1 => {
                host::write(headers, &self.host);
                if self.length == Length::Unknown {
                    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                self.connection(headers);
                *request.version_mut() = Version::HTTP_11;
                self.http1.clone_into(request.uri_mut());
            }
        }
    }

    fn connection(&self, headers: &mut HeaderMap) {
        if self.asked.websocket {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let connection = match (self.asked.trailers, self.asked.websocket) {
            (false, false) => return,
            (true, false) => "TE",
            (false, true) => "Upgrade",
            (true, true) => "Upgrade, TE",
        };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
    }
}

fn length(headers: &mut HeaderMap, incoming: &Incoming) -> Length {
    let was_said = headers.remove(CONTENT_LENGTH).is_some();
    match incoming.size_hint().exact() {
        Some(0) if !was_said => Length::Unsaid,
        Some(length) => Length::Known(length),
        None => Length::Unknown,
    }
}

/// The target in origin form and in absolute form (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn targets(uri: &Uri, host: &str) -> Option<(Uri, Uri)> {
    let path = meaning::path(uri);
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path.clone());
    let http1 = Uri::from_parts(parts).ok()?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(Authority::try_from(host).ok()?);
    Some((http1, Uri::from_parts(parts).ok()?))
}
