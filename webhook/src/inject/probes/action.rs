//! What a probe or hook does.

use std::fmt::Write as _;

use lasthop_contract::sidecar_config::{ProbeAction, ProbeScheme};
use serde_json::{Value, json};

/// An action that goes over the network.
///
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Probe>
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    /// Which one.
    pub(super) kind: Kind,
    /// The raw object below the field of that name.
    pub(super) value: Value,
}

/// The kinds of actions over the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::inject) enum Kind {
    HttpGet,
    TcpSocket,
    Grpc,
}

impl Kind {
    /// The field of a probe.
    pub(in crate::inject) fn field(self) -> &'static str {
        match self {
            Self::HttpGet => "httpGet",
            Self::TcpSocket => "tcpSocket",
            Self::Grpc => "grpc",
        }
    }
}

impl Action {
    /// The one action of a probe or hook; [`None`] where it is another, or not clear.
    pub(super) fn of(handler: &Value) -> Option<Self> {
        let is_there = |field: &str| handler.get(field).is_some_and(|value| !value.is_null());
        if is_there("exec") || is_there("sleep") {
            return None;
        }
        let kinds = [Kind::HttpGet, Kind::TcpSocket, Kind::Grpc];
        let mut there = kinds.into_iter().filter(|kind| is_there(kind.field()));
        let (kind, None) = (there.next()?, there.next()) else { return None };
        let value = handler.get(kind.field()).filter(|value| value.is_object())?.clone();
        Some(Self { kind, value })
    }

    /// A GET of the status port, with every field that the API server would fill in.
    pub(super) fn get(path: &str, port: u16) -> Self {
        let value = json!({ "path": path, "port": port, "scheme": "HTTP" });
        Self { kind: Kind::HttpGet, value }
    }

    /// Whether it is a GET of exactly this path, on whatever port.
    pub(super) fn is_get_of(&self, path: &str) -> bool {
        self.kind == Kind::HttpGet && self.text("path") == path
    }

    /// The port, where it is a number.
    pub(super) fn port_number(&self) -> Option<u16> {
        self.value.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok())
    }

    /// The port, where it is a name.
    pub(super) fn port_name(&self) -> Option<&str> {
        self.value.get("port")?.as_str()
    }

    /// Whether it goes to another host than the pod.
    pub(super) fn has_host(&self) -> bool {
        !self.text("host").is_empty()
    }

    /// Whether it is in the clear.
    pub(super) fn scheme(&self) -> ProbeScheme {
        if self.text("scheme") == "HTTPS" { ProbeScheme::Https } else { ProbeScheme::Http }
    }

    /// Path and query as kubelet sends them: it puts `/` before, and escapes what no request line holds.
    pub(super) fn path(&self) -> String {
        let written = self.text("path");
        let written = written.split('#').next().unwrap_or_default();
        let mut path = String::with_capacity(written.len() + 1);
        if !written.starts_with('/') {
            path.push('/');
        }
        for byte in written.bytes() {
            if byte.is_ascii_graphic() {
                path.push(char::from(byte));
            } else {
                let _infallible = write!(path, "%{byte:02X}");
            }
        }
        path
    }

    /// The same as the sidecar performs it, on this port; [`None`] where a header cannot be sent.
    pub(super) fn performed(&self, port: u16, scheme: ProbeScheme) -> Option<ProbeAction> {
        Some(match self.kind {
            Kind::HttpGet => {
                let headers = self.headers()?;
                ProbeAction::HttpGet { port, path: self.path(), scheme, headers }
            }
            Kind::TcpSocket => ProbeAction::TcpSocket { port },
            Kind::Grpc => ProbeAction::Grpc { port, service: self.text("service").to_owned() },
        })
    }

    fn headers(&self) -> Option<Vec<(String, String)>> {
        let written = self.value.get("httpHeaders").and_then(Value::as_array);
        let text = |header: &Value, field: &str| header.get(field)?.as_str().map(str::to_owned);
        let read = |header: &Value| {
            let name = text(header, "name").filter(|name| is_token(name))?;
            let value = text(header, "value").unwrap_or_default();
            (!value.contains(char::is_control)).then_some((name, value))
        };
        written.into_iter().flatten().map(read).collect()
    }

    fn text(&self, field: &str) -> &str {
        self.value.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}
