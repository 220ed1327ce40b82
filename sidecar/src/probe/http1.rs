//! A probe by HTTP/1.1, as kubelet performs it.
//!
//! Redirects as in kubelet: one to the same host is followed, at most ten of them, one that leads
//! elsewhere is success. "The same host" is `localhost` and the port of the probe: no other port is
//! connected to.
//!
//! <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/#http-probes>

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lasthop_contract::sidecar_config::ProbeScheme;
use lasthop_contract::tls::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Failed, connect};
use crate::config::probes::{HttpPlan, target};
use crate::limits;

/// Go's client, and so kubelet, gives up after so many.
const MOST_REDIRECTS: usize = 10;

/// Kubelet reads so much of an answer; what breaks off before that is a failure.
const MOST_BODY: usize = 10 * 1024;

/// Asks, and follows redirects.
pub(super) async fn get(plan: &HttpPlan) -> Result<StatusCode, Failed> {
    let mut next = plan.target.clone();
    for _ in 0..MOST_REDIRECTS {
        let (status, location) = once(plan, next).await?;
        match location {
            Some(location) => next = location,
            None => return Ok(status),
        }
    }
    Err(Failed::Redirects)
}

/// One request: the status of the answer, and where it leads if that is to be followed.
async fn once(
    plan: &HttpPlan,
    target: PathAndQuery,
) -> Result<(StatusCode, Option<PathAndQuery>), Failed> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    plan.headers.clone_into(request.headers_mut());
    *request.uri_mut() = Uri::from(target.clone());
    let stream = connect(plan.port).await?;
    let response = match plan.scheme {
        ProbeScheme::Http => ask(stream, request).await?,
        ProbeScheme::Https => {
            let name = ServerName::IpAddress(IpAddr::V4([127, 0, 0, 1].into()));
            let connector = TlsConnector::from(Arc::new(unverified()?));
            let stream = connector.connect(name, stream).await.map_err(|_error| Failed::Tls)?;
            ask(stream, request).await?
        }
    };
    Ok((response.status(), followed(plan, &target, &response)))
}

async fn ask<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<()>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: hyper::Error| {
        if error.is_parse() { Failed::Protocol } else { Failed::Broken }
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::PLAIN_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        // No final answer (RFC 9110, 15.2).
        if parts.status.is_informational() {
            return Err(Failed::Protocol);
        }
        read(body).await?;
        Ok(Response::from_parts(parts, ()))
    };
    let driving = async {
        // Its end is told to who asks.
        let _told = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answered = asking => answered,
        never = driving => never,
    }
}

async fn read(body: Incoming) -> Result<(), Failed> {
    match Limited::new(body, MOST_BODY).collect().await {
        Err(error) if !error.is::<LengthLimitError>() => Err(Failed::Broken),
        _ => Ok(()),
    }
}

/// Where to ask next.
fn followed(
    plan: &HttpPlan,
    asked: &PathAndQuery,
    response: &Response<()>,
) -> Option<PathAndQuery> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let relative = relative(plan, location)?;
    // Relative to what was asked for (RFC 3986, 5.2.2).
    match relative.as_bytes().first() {
        Some(b'/') if relative.starts_with("//") => None,
        Some(b'/') => target(&relative),
        Some(b'?') => target(&format!("{}{relative}", asked.path())),
        Some(b'#') | None => Some(asked.clone()),
        Some(_) => {
            let (folder, _) = asked.path().rsplit_once('/')?;
            target(&format!("{folder}/{relative}"))
        }
    }
}

/// A location without scheme, host and port, where they are those of the probe or none.
fn relative<'l>(plan: &HttpPlan, location: &'l str) -> Option<Cow<'l, str>> {
    let Some((scheme, rest)) = location.split_once("://") else {
        return Some(Cow::Borrowed(location));
    };
    let (own, default) = match plan.scheme {
        ProbeScheme::Http => ("http", 80),
        ProbeScheme::Https => ("https", 443),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, default),
    };
    let same = scheme.eq_ignore_ascii_case(own)
        && host.eq_ignore_ascii_case("localhost")
        && port == plan.port;
    same.then(
        || if path.starts_with('/') { Cow::Borrowed(path) } else { format!("/{path}").into() },
    )
}

/// TLS without verification, as in kubelet: a probe says whether the application is well, not who
/// it is, and the connection does not leave the pod.
fn unverified() -> Result<ClientConfig, Failed> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_error| Failed::Tls)?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.enable_sni = false;
    Ok(config)
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_redirect_is_followed_on_the_same_host_and_port_only() {
        let plan = HttpPlan {
            port: 8080,
            target: "/a/b?c=d".parse().unwrap(),
            scheme: ProbeScheme::Http,
            headers: HeaderMap::new(),
        };
        for (location, expected) in [
            ("/x?y", Some("/x?y")),
            ("x", Some("/a/x")),
            ("?y", Some("/a/b?y")),
            ("http://localhost:8080/x", Some("/x")),
            ("http://LOCALHOST:8080", Some("/")),
            ("http://localhost:8080?x", Some("/?x")),
            ("http://localhost/x", None),
            ("http://localhost:8081/x", None),
            ("https://localhost:8080/x", None),
            ("http://shop.example:8080/x", None),
            ("http://user@localhost:8080/x", None),
            ("//localhost:8080/x", None),
            ("http://169.254.169.254/latest", None),
        ] {
            let response = Response::builder().status(302).header(LOCATION, location).body(());
            let next = followed(&plan, &plan.target, &response.unwrap());
            assert_eq!(next.as_ref().map(PathAndQuery::as_str), expected, "{location}");
        }
        let unmoved = Response::builder().status(300).header(LOCATION, "/x").body(()).unwrap();
        assert_eq!(followed(&plan, &plan.target, &unmoved), None);
        let nowhere = Response::builder().status(302).body(()).unwrap();
        assert_eq!(followed(&plan, &plan.target, &nowhere), None);
    }
}
