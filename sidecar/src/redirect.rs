//! Plain HTTP in, a redirect to https on the same host out.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use lasthop_contract::sidecar_config::RedirectStatus;
use tokio::net::TcpListener;

use crate::config::RedirectPlan;
use crate::host::{self, Said};
use crate::limits;
use crate::listener::Process;
use crate::plain::{self, Answer, Reply, Until};

/// Serves the redirect of `plan` until drain closes it.
pub(crate) async fn serve(listener: TcpListener, plan: RedirectPlan, process: Arc<Process>) {
    let answer = move |request: &Request<Incoming>| {
        let said =
            Asked { uri: request.uri(), version: request.version(), headers: request.headers() };
        Reply::Now(redirect(&said, plan))
    };
    plain::serve(listener, process, answer, (limits::REDIRECT_SHARE, Until::Closing)).await;
}

struct Asked<'a> {
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
}

fn redirect(asked: &Asked<'_>, plan: RedirectPlan) -> Answer {
    let location = match host::of_head(asked.uri, asked.version, asked.headers) {
        Said::Host(host) => location(&host, asked.uri, plan.https_port),
        Said::Nothing | Said::Nonsense => None,
    };
    let (status, text) = match &location {
        Some(_) => (status(plan.status), "this is served over https only\n"),
        None => (StatusCode::BAD_REQUEST, "the request does not name one valid host and path\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    response
}

fn status(status: RedirectStatus) -> StatusCode {
    match status {
        RedirectStatus::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
        RedirectStatus::Found => StatusCode::FOUND,
        RedirectStatus::Temporary => StatusCode::TEMPORARY_REDIRECT,
        RedirectStatus::Permanent => StatusCode::PERMANENT_REDIRECT,
    }
}

fn location(host: &str, uri: &Uri, https_port: u16) -> Option<HeaderValue> {
    let name = host::parse(host)?.name;
    let path = uri.path_and_query()?.as_str();
    if !path.starts_with('/') {
        return None;
    }
    let text = match https_port {
        443 => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(https_port: u16, status: RedirectStatus) -> RedirectPlan {
        RedirectPlan { listen: ([127, 0, 0, 1], 80).into(), https_port, status }
    }

    #[test]
    fn the_status_is_the_one_that_was_chosen() {
        let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("a"))]);
        let uri = Uri::from_static("/b");
        let asked = Asked { uri: &uri, version: Version::HTTP_11, headers: &headers };
        for status in RedirectStatus::ALL {
            let answer = redirect(&asked, plan(443, status));
            assert_eq!(answer.status().as_u16(), status.code());
            assert_eq!(answer.headers()[LOCATION], "https://a/b");
        }
    }

    fn ask(uri: &str, hosts: &[&str], https_port: u16) -> (u16, String) {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append("host", HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let uri = uri.parse().unwrap();
        let asked = Asked { uri: &uri, version: Version::HTTP_11, headers: &headers };
        let answer = redirect(&asked, plan(https_port, RedirectStatus::default()));
        let location = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_default())
    }

    #[test]
    fn the_same_host_and_path_over_https() {
        assert_eq!(
            ask("/a/b?c=d", &["shop.example.com:8080"], 443),
            (308, "https://shop.example.com/a/b?c=d".to_owned())
        );
        assert_eq!(
            ask("/", &["[2001:db8::1]:8080"], 8443),
            (308, "https://[2001:db8::1]:8443/".to_owned())
        );
        assert_eq!(
            ask("http://a.example.com/x", &["b.example.com"], 443),
            (308, "https://a.example.com/x".to_owned())
        );
    }

    #[test]
    fn an_invalid_host_is_a_bad_request() {
        for hosts in [
            &[][..],
            &[""],
            &["a b"],
            &["a/b"],
            &["evil.example@good.example"],
            &["a", "b"],
            &["a.example.com:port"],
            &["\u{e9}.example"],
        ] {
            assert_eq!(ask("/", hosts, 443), (400, String::new()), "{hosts:?}");
        }
        assert_eq!(ask("*", &["a.example.com"], 443).0, 400);
    }
}
