//! How a client asks for a WebSocket, how the application is asked, and whether it agreed: HTTP/1.1
//! upgrades the connection (RFC 6455, 4), HTTP/2 opens a stream by extended CONNECT (RFC 8441).

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::ext::Protocol as Named;
use lasthop_contract::sidecar_config::Protocol;

/// A request for a WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Websocket {
    /// By an upgrade with this key, which is passed on as it is.
    Upgrade { key: String },
    /// By an upgrade, which is answered with `accept`, and the application is asked for a stream.
    Opened { accept: HeaderValue },
    /// By a stream, and the application is asked for an upgrade with this key.
    Translated { key: String },
    /// By a stream, and the application is asked for one.
    Stream,
}

/// What the application's answer means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// An answer like any other.
    Answer,
    /// From here on there are bytes both ways.
    Tunnel,
    /// No answer to what was asked.
    Nonsense,
}

/// What a server appends to the key (RFC 6455, 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const PROTOCOL: &[u8] = b"websocket";

/// The version of the protocol (RFC 6455, 4.1).
const VERSION: &[u8] = b"13";

/// Bytes of a key, before they are encoded (RFC 6455, 4.1).
const KEY_BYTES: usize = 16;

impl Websocket {
    /// What a request of HTTP/2 asks for, if that is a WebSocket, for a far side that speaks
    /// `protocol`.
    pub(super) fn extended(parts: &Parts, protocol: Protocol) -> Option<Self> {
        let named = parts.extensions.get::<Named>()?;
        let is_websocket = parts.version == Version::HTTP_2
            && parts.method == Method::CONNECT
            && named.as_ref() == PROTOCOL;
        if !is_websocket {
            return None;
        }
        if protocol == Protocol::H2c {
            return Some(Self::Stream);
        }
        Self::translated()
    }

    /// What asks a far side of HTTP/1.1 for the WebSocket that the near side wants on a stream.
    fn translated() -> Option<Self> {
        let mut nonce = [0; KEY_BYTES];
        // A nonce is no secret, it tells a server of WebSockets from one that answers by rote; but
        // one that is always the same would tell nothing.
        rand::fill(&mut nonce).ok()?;
        Some(Self::Translated { key: STANDARD.encode(nonce) })
    }

    /// What a request of HTTP/1.1 asks for that wants an upgrade, for a far side of HTTP/1.1; without one
    /// key that is nothing (RFC 6455, 4.2.1), and nobody could tell whether the far side agreed.
    pub(super) fn upgrade(headers: &HeaderMap) -> Option<Self> {
        let key = only(headers, SEC_WEBSOCKET_KEY)?.to_str().ok()?;
        Some(Self::Upgrade { key: key.to_owned() })
    }

    /// What a request of HTTP/1.1 asks for that wants an upgrade, for a far side of HTTP/2.
    ///
    /// # Errors
    /// Where it asks in a way in which nobody could agree (RFC 6455, 4.2.1): the status and why.
    pub(super) fn opened(headers: &HeaderMap) -> Result<Self, (StatusCode, &'static str)> {
        if only(headers, SEC_WEBSOCKET_VERSION).is_none_or(|it| it.as_bytes() != VERSION) {
            let text = "the only version of WebSocket is 13";
            return Err((StatusCode::UPGRADE_REQUIRED, text));
        }
        let nonsense = (StatusCode::BAD_REQUEST, "the key of the WebSocket is not 16 bytes");
        let key =
            only(headers, SEC_WEBSOCKET_KEY).and_then(|it| it.to_str().ok()).ok_or(nonsense)?;
        if STANDARD.decode(key).is_ok_and(|it| it.len() == KEY_BYTES) {
            let accept = HeaderValue::try_from(accept(key)).map_err(|_not_base64| nonsense)?;
            return Ok(Self::Opened { accept });
        }
        Err(nonsense)
    }

    /// Gives the head of a request the form in which the far side is asked.
    pub(super) fn ask(&self, parts: &mut Parts) {
        match self {
            Self::Upgrade { .. } => {}
            Self::Translated { key } => {
                parts.method = Method::GET;
                // With a stream the two fields mean nothing (RFC 8441, 5).
                if let Ok(key) = HeaderValue::from_str(key) {
                    parts.headers.insert(SEC_WEBSOCKET_KEY, key);
                }
                parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
            Self::Stream => {
                parts.extensions.insert(Named::from_static("websocket"));
            }
            Self::Opened { .. } => {
                parts.method = Method::CONNECT;
                parts.extensions.insert(Named::from_static("websocket"));
                parts.headers.remove(SEC_WEBSOCKET_KEY);
                parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
        }
    }

    /// Gives the head of an answer that agreed the form in which the near side was to be told.
    pub(super) fn agree(&self, headers: &mut HeaderMap) {
        match self {
            Self::Upgrade { .. } => {}
            Self::Translated { .. } | Self::Stream => {
                // A tunnel has no length (RFC 9110, 9.3.6).
                headers.remove(CONTENT_LENGTH);
                headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
            Self::Opened { accept } => {
                // An interim answer has no length (RFC 9110, 8.6).
                headers.remove(CONTENT_LENGTH);
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
            }
        }
    }
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: http::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_none() { first } else { None }
}

/// What `response` means to who asked for `websocket`, or for none.
pub(super) fn verdict<B>(websocket: Option<&Websocket>, response: &Response<B>) -> Verdict {
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    // To a stream any success says that there is a WebSocket now (RFC 8441, 4).
    let seems = switches || status.is_success();
    let (agrees, seems) = match websocket {
        None => (false, switches),
        // Who answers 101 by rote goes on with HTTP: in a tunnel, past the header policy.
        Some(Websocket::Upgrade { key }) => (switches && is_accepted(key, response), switches),
        Some(Websocket::Translated { key }) => (switches && is_accepted(key, response), seems),
        Some(Websocket::Stream | Websocket::Opened { .. }) => (status == StatusCode::OK, seems),
    };
    match (agrees, seems) {
        (true, _) => Verdict::Tunnel,
        (false, true) => Verdict::Nonsense,
        (false, false) => Verdict::Answer,
    }
}

/// Whether the far side read the key; the client of a stream cannot see that, and one of an upgrade
/// need not want to.
fn is_accepted<B>(key: &str, response: &Response<B>) -> bool {
    let mut accepts = response.headers().get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let (one, other) = (accepts.next(), accepts.next());
    other.is_none() && one.is_some_and(|it| it.as_bytes() == accept(key).as_bytes())
}

/// What a server answers to `key` (RFC 6455, 4.2.2).
fn accept(key: &str) -> String {
    let text = [key, MAGIC].concat();
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example of RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn asked(method: Method, version: Version, protocol: Option<&'static str>) -> Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Named::from_static(protocol));
        }
        request.into_parts().0
    }

    fn answer(status: u16, accepts: &[&str]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for accept in accepts {
            response = response.header(SEC_WEBSOCKET_ACCEPT, *accept);
        }
        response.body(()).unwrap()
    }

    #[test]
    fn only_extended_connect_for_a_websocket_asks_for_one() {
        let v2 = Version::HTTP_2;
        let of = |parts: &Parts| Websocket::extended(parts, Protocol::H2c);
        assert_eq!(of(&asked(Method::CONNECT, v2, Some("websocket"))), Some(Websocket::Stream));
        for parts in [
            asked(Method::CONNECT, v2, None),
            asked(Method::CONNECT, v2, Some("connect-udp")),
            asked(Method::CONNECT, v2, Some("WebSocket")),
            asked(Method::GET, v2, Some("websocket")),
            asked(Method::CONNECT, Version::HTTP_11, Some("websocket")),
        ] {
            assert_eq!(of(&parts), None, "{parts:?}");
        }
    }

    #[test]
    fn an_application_of_http_1_is_asked_with_a_key_of_our_own() {
        let mut parts = asked(Method::CONNECT, Version::HTTP_2, Some("websocket"));
        parts.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("theirs"));
        let [one, other] = [(); 2]
            .map(|()| Websocket::extended(&parts, Protocol::Http).expect("one is asked for"));
        assert_ne!(one, other);
        one.ask(&mut parts);
        assert_eq!(parts.method, Method::GET);
        let key = parts.headers[SEC_WEBSOCKET_KEY].to_str().unwrap();
        assert_eq!(one, Websocket::Translated { key: key.to_owned() });
        assert_eq!(STANDARD.decode(key).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn an_application_of_http_2_is_asked_for_a_stream_and_the_client_told_what_it_awaits() {
        let opened = |key: &[&'static str], version: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(version));
            for key in key {
                headers.append(SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            }
            Websocket::opened(&headers).map_err(|(status, _)| status.as_u16())
        };
        let accept = HeaderValue::from_static(ACCEPT);
        assert_eq!(opened(&[KEY], "13"), Ok(Websocket::Opened { accept: accept.clone() }));
        for (keys, version, status) in [
            (&[][..], "13", 400),
            (&[KEY, KEY], "13", 400),
            (&["dGhlIHNhbXBsZQ=="], "13", 400),
            (&["not base64 at all..."], "13", 400),
            (&[KEY], "8", 426),
        ] {
            assert_eq!(opened(keys, version), Err(status), "{keys:?}");
        }
        let mut parts = asked(Method::GET, Version::HTTP_11, None);
        parts.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY));
        let opened = Websocket::Opened { accept: accept.clone() };
        opened.ask(&mut parts);
        assert_eq!(parts.method, Method::CONNECT);
        assert!(parts.extensions.get::<Named>().is_some());
        assert!(parts.headers.is_empty());
        let mut headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        opened.agree(&mut headers);
        assert_eq!(headers, HeaderMap::from_iter([(SEC_WEBSOCKET_ACCEPT, accept)]));
    }

    #[test]
    fn an_upgrade_has_one_key() {
        let upgrade = |keys: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            }
            Websocket::upgrade(&headers)
        };
        assert_eq!(upgrade(&[KEY]), Some(Websocket::Upgrade { key: KEY.to_owned() }));
        assert_eq!(upgrade(&[]), None);
        assert_eq!(upgrade(&[KEY, KEY]), None);
    }

    #[test]
    fn there_is_a_tunnel_where_the_application_agreed_to_what_it_was_asked() {
        let translated = Websocket::Translated { key: KEY.to_owned() };
        let upgrade = Websocket::Upgrade { key: KEY.to_owned() };
        let opened = Websocket::Opened { accept: HeaderValue::from_static(ACCEPT) };
        for (websocket, response, expected) in [
            (None, answer(101, &[]), Verdict::Nonsense),
            (None, answer(200, &[]), Verdict::Answer),
            (Some(&upgrade), answer(101, &[ACCEPT]), Verdict::Tunnel),
            (Some(&upgrade), answer(101, &[]), Verdict::Nonsense),
            (Some(&upgrade), answer(101, &["x"]), Verdict::Nonsense),
            (Some(&upgrade), answer(200, &[]), Verdict::Answer),
            (Some(&translated), answer(101, &[ACCEPT]), Verdict::Tunnel),
            (Some(&translated), answer(101, &[]), Verdict::Nonsense),
            (Some(&translated), answer(101, &["x"]), Verdict::Nonsense),
            (Some(&translated), answer(101, &[ACCEPT, "x"]), Verdict::Nonsense),
            (Some(&translated), answer(200, &[ACCEPT]), Verdict::Nonsense),
            (Some(&translated), answer(204, &[]), Verdict::Nonsense),
            (Some(&translated), answer(302, &[]), Verdict::Answer),
            (Some(&translated), answer(426, &[]), Verdict::Answer),
            (Some(&Websocket::Stream), answer(200, &[]), Verdict::Tunnel),
            (Some(&Websocket::Stream), answer(201, &[]), Verdict::Nonsense),
            (Some(&Websocket::Stream), answer(101, &[]), Verdict::Nonsense),
            (Some(&Websocket::Stream), answer(404, &[]), Verdict::Answer),
            (Some(&opened), answer(200, &[]), Verdict::Tunnel),
            (Some(&opened), answer(101, &[]), Verdict::Nonsense),
            (Some(&opened), answer(204, &[]), Verdict::Nonsense),
            (Some(&opened), answer(426, &[]), Verdict::Answer),
        ] {
            assert_eq!(verdict(websocket, &response), expected, "{websocket:?} {response:?}");
        }
    }
}
