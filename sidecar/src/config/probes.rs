//! The probes of a document, parsed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRAILER,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::uri::PathAndQuery;
use lasthop_contract::sidecar_config::{Probe, ProbeAction, ProbeScheme};
use lasthop_contract::text::escape;

use super::ConfigFault;

/// A probe, ready to be performed.
#[derive(Clone, Debug)]
pub(crate) struct ProbePlan {
    /// The path at which the status listener performs it.
    pub(crate) path: String,
    pub(crate) action: ActionPlan,
    pub(crate) timeout: Duration,
}

/// What it does on localhost.
#[derive(Clone, Debug)]
pub(crate) enum ActionPlan {
    Http(HttpPlan),
    Tcp { port: u16 },
    Grpc { port: u16, service: String },
}

/// A GET.
#[derive(Clone, Debug)]
pub(crate) struct HttpPlan {
    pub(crate) port: u16,
    pub(crate) target: PathAndQuery,
    pub(crate) scheme: ProbeScheme,
    /// `Host` among them, and what kubelet adds.
    pub(crate) headers: HeaderMap,
}

impl ActionPlan {
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Http(http) => http.port,
            Self::Tcp { port } | Self::Grpc { port, .. } => *port,
        }
    }
}

/// What the status listener answers itself.
const OWN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// How kubelet introduces itself; applications tell probes by the prefix.
const AGENT: &str = concat!("kube-probe/1 lasthop-sidecar/", env!("CARGO_PKG_VERSION"));

/// Reads `probes` beside listeners on the ports `own`.
pub(super) fn read(probes: &[Probe], own: &[u16], faults: &mut Vec<ConfigFault>) -> Vec<ProbePlan> {
    let mut paths = BTreeSet::new();
    let mut plans = Vec::new();
    for probe in probes {
        let Probe { path, action, timeout_seconds } = probe;
        let mut report = |text: String| {
            faults.push(ConfigFault(format!("probe `{}`: {text}", escape(path))));
        };
        if !is_path(path) || OWN.contains(&path.as_str()) {
            report("its path must be one of its own, such as `/probes/web/readyz`".to_owned());
        }
        if !paths.insert(path) {
            report("there is another one at this path".to_owned());
        }
        if *timeout_seconds == 0 {
            report("its timeout must be at least 1 s".to_owned());
        }
        let Some(action) = action_plan(action, &mut report) else { continue };
        let port = action.port();
        if port == 0 {
            report("the application's port must not be 0".to_owned());
        }
        if own.contains(&port) {
            report(format!("port {port} is the sidecar's own, a probe is for the application"));
        }
        let timeout = Duration::from_secs(u64::from(*timeout_seconds));
        plans.push(ProbePlan { path: path.clone(), action, timeout });
    }
    plans
}

fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.len() > 1 && path.starts_with('/') && path.bytes().all(plain)
}

fn action_plan(action: &ProbeAction, report: &mut impl FnMut(String)) -> Option<ActionPlan> {
    match action {
        ProbeAction::TcpSocket { port } => Some(ActionPlan::Tcp { port: *port }),
        ProbeAction::Grpc { port, service } => {
            Some(ActionPlan::Grpc { port: *port, service: service.clone() })
        }
        ProbeAction::HttpGet { port, path, scheme, headers } => {
            let headers = read_headers(headers, *port, report)?;
            let Some(target) = target(path) else {
                report(format!("`{}` cannot be asked for", escape(path)));
                return None;
            };
            Some(ActionPlan::Http(HttpPlan { port: *port, target, scheme: *scheme, headers }))
        }
    }
}

/// Path and query as kubelet sends them: with a slash in front, without a fragment, and what may not
/// stand in a URI percent-encoded.
pub(crate) fn target(path: &str) -> Option<PathAndQuery> {
    let path = path.split('#').next().unwrap_or_default();
    let mut text = if path.starts_with('/') { String::new() } else { "/".to_owned() };
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
    text.parse().ok()
}

/// The headers as Go's client makes them of those of a probe, for that is what kubelet is.
fn read_headers(
    headers: &[(String, String)],
    port: u16,
    report: &mut impl FnMut(String),
) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    let mut sound = true;
    for (name, value) in headers {
        let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        let (Ok(name), Ok(value)) = parsed else {
            report(format!("`{}` is no header that can be sent", escape(name)));
            sound = false;
            continue;
        };
        map.append(name, value);
    }
    for framing in [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER] {
        map.remove(framing);
    }
    // Whoever gives one of these two without a value does not want it sent.
    for (name, default) in [(USER_AGENT, AGENT), (ACCEPT, "*/*")] {
        match map.get(&name) {
            Some(given) if given.is_empty() => drop(map.remove(&name)),
            Some(_) => {}
            None => drop(map.insert(name, HeaderValue::from_static(default))),
        }
    }
    let host = map.get(HOST).filter(|given| !given.is_empty()).cloned();
    let host = host.or_else(|| HeaderValue::try_from(format!("localhost:{port}")).ok())?;
    map.insert(HOST, host);
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    sound.then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(probes: &str) -> Vec<String> {
        let probes: Vec<Probe> = serde_json::from_str(probes).unwrap();
        let mut faults = Vec::new();
        read(&probes, &[8443, 15443], &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_with_a_probe_is_told() {
        for (probe, expected) in [
            (r#"{"path":"/readyz","action":{"tcpSocket":{"port":80}}}"#, "one of its own"),
            (r#"{"path":"probe","action":{"tcpSocket":{"port":80}}}"#, "one of its own"),
            (r#"{"path":"/p?x","action":{"tcpSocket":{"port":80}}}"#, "one of its own"),
            (r#"{"path":"/p","action":{"tcpSocket":{"port":0}}}"#, "must not be 0"),
            (r#"{"path":"/p","action":{"tcpSocket":{"port":8443}}}"#, "the sidecar's own"),
            (r#"{"path":"/p","action":{"grpc":{"port":15443}}}"#, "the sidecar's own"),
            (
                r#"{"path":"/p","action":{"tcpSocket":{"port":80}},"timeoutSeconds":0}"#,
                "at least 1 s",
            ),
            (
                r#"{"path":"/p","action":{"httpGet":{"port":80,"path":"/","headers":[["a b","c"]]}}}"#,
                "no header",
            ),
            (
                r#"{"path":"/p","action":{"httpGet":{"port":80,"path":"/","headers":[["a","c\n"]]}}}"#,
                "no header",
            ),
        ] {
            let faults = faults(&format!("[{probe}]"));
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{probe}: {faults:?}");
        }
        let probe = r#"{"path":"/p","action":{"tcpSocket":{"port":80}}}"#;
        assert_eq!(faults(&format!("[{probe}]")), Vec::<String>::new());
        assert_eq!(faults(&format!("[{probe},{probe}]")).len(), 1);
    }

    #[test]
    fn a_path_is_sent_as_kubelet_sends_it() {
        for (path, sent) in [
            ("/healthz?full=1", "/healthz?full=1"),
            ("healthz", "/healthz"),
            ("", "/"),
            ("/a b/ü", "/a%20b/%C3%BC"),
            ("/a%20b", "/a%20b"),
            ("/page#part", "/page"),
        ] {
            assert_eq!(target(path).unwrap(), sent, "{path}");
        }
    }

    #[test]
    fn headers_are_those_of_the_probe_and_kubelet_s_own() {
        let headers = |given: &[(&str, &str)]| {
            let given: Vec<(String, String)> =
                given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            read_headers(&given, 8080, &mut |fault| panic!("{fault}")).unwrap()
        };
        let none = headers(&[]);
        assert_eq!(none["host"], "localhost:8080");
        assert!(none["user-agent"].to_str().unwrap().starts_with("kube-probe/"));
        assert_eq!(none["accept"], "*/*");
        assert_eq!(none["connection"], "close");
        let given = [
            ("Host", "shop.example"),
            ("User-Agent", ""),
            ("accept", "text/plain"),
            ("X-Two", "1"),
            ("X-Two", "2"),
            ("Content-Length", "7"),
            ("Transfer-Encoding", "chunked"),
        ];
        let given = headers(&given);
        assert_eq!(given["host"], "shop.example");
        assert_eq!(given["accept"], "text/plain");
        assert_eq!(given.get_all("x-two").iter().count(), 2);
        for name in ["user-agent", "content-length", "transfer-encoding"] {
            assert!(!given.contains_key(name), "{name}");
        }
    }
}
