//! How a client asks for a WebSocket, how the application is asked, and whether it agreed: HTTP/1.1
//! upgrades the connection (RFC 6455, 4), HTTP/2 opens a stream by extended CONNECT (RFC 8441).

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::ext::Protocol as Named;
use lasthop_contract::sidecar_config::Protocol;

/// A request for a WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Websocket {
    /// By an upgrade, which is passed on as it is.
    Upgrade,
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

impl Websocket {
    /// What a request of HTTP/2 asks for, if that is a WebSocket, for an application that speaks
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
        let mut nonce = [0; 16];
        // A nonce is no secret, it tells a server of WebSockets from one that answers by rote; but
        // one that is always the same would tell nothing.
        rand::fill(&mut nonce).ok()?;
        Some(Self::Translated { key: STANDARD.encode(nonce) })
    }

    /// Gives the head of a request the form in which the application is asked.
    pub(super) fn ask(&self, parts: &mut Parts) {
        match self {
            Self::Upgrade => {}
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
        }
    }
}

/// What `response` means to who asked for `websocket`, or for none.
pub(super) fn verdict<B>(websocket: Option<&Websocket>, response: &Response<B>) -> Verdict {
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    // To a stream any success says that there is a WebSocket now (RFC 8441, 4).
    let seems = switches || status.is_success();
    let (agrees, seems) = match websocket {
        None => (false, switches),
        Some(Websocket::Upgrade) => (switches, switches),
        Some(Websocket::Translated { key }) => (switches && is_accepted(key, response), seems),
        Some(Websocket::Stream) => (status == StatusCode::OK, seems),
    };
    match (agrees, seems) {
        (true, _) => Verdict::Tunnel,
        (false, true) => Verdict::Nonsense,
        (false, false) => Verdict::Answer,
    }
}

/// Whether the application read the key; the client of a stream cannot see that.
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
        assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
    }

    #[test]
    fn there_is_a_tunnel_where_the_application_agreed_to_what_it_was_asked() {
        let translated = Websocket::Translated { key: KEY.to_owned() };
        for (websocket, response, expected) in [
            (None, answer(101, &[]), Verdict::Nonsense),
            (None, answer(200, &[]), Verdict::Answer),
            (Some(&Websocket::Upgrade), answer(101, &[]), Verdict::Tunnel),
            (Some(&Websocket::Upgrade), answer(200, &[]), Verdict::Answer),
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
        ] {
            assert_eq!(verdict(websocket, &response), expected, "{websocket:?} {response:?}");
        }
    }
}
