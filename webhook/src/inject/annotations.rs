//! The annotations of a pod, parsed: a [`Request`], and everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientAuth, ClientEku, CrlExpired};
use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::sidecar_config::{
    IdentityHeader, LISTEN_PORT, LogLevel, Protocol, STATUS_PORT,
};
use lasthop_contract::text::escape;
use serde_json::Value;

use super::code;
use super::objection::{Bearing, Objection};
use super::options::{Placement, PullPolicy};
use super::quantity::Quantity;
use super::table::{self, Level, Support, TABLE};
use crate::object::Object;
use crate::path::FieldPath;

mod clients;
pub mod values;

use values::{Allowed, CaSource, PortPair, Wish, Wrong};

/// What a pod asks of its sidecar.
#[derive(Clone, Debug)]
pub struct Request {
    /// The listeners, in the order in which they were written; at least one.
    pub listeners: Vec<Terminate>,
    /// A plain HTTP port that redirects to https.
    pub redirect_port: Option<u16>,
    /// The port of `/livez`, `/readyz` and `/metrics`.
    pub status_port: u16,
    /// What differs from the operator's options.
    pub knobs: Knobs,
}

/// What a pod asks of one terminating listener.
#[derive(Clone, Debug)]
pub struct Terminate {
    /// Where it listens and where the app does.
    pub ports: PortPair,
    /// What the app speaks.
    pub protocol: Protocol,
    /// The Secrets with chain and key; at least one.
    pub tls_secrets: Vec<String>,
    /// Who may come in; [`None`] where no client is asked for a certificate.
    pub clients: Option<Clients>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<String>,
    /// What the app is told of the client.
    pub identity_headers: Vec<IdentityHeader>,
}

/// What a pod asks of a listener's clients.
#[derive(Clone, Debug)]
pub struct Clients {
    /// `optional` or `required`.
    pub auth: ClientAuth,
    /// The CAs.
    pub ca: CaSource,
    /// The names.
    pub allowed: Allowed,
    /// The extended key usages.
    pub eku: ClientEku,
    /// The Secret with revocation lists.
    pub crl_secret: Option<String>,
    /// What a list past its time does.
    pub crl_expired: CrlExpired,
}

/// What differs from the operator's options.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the annotation `lasthop.dev/sidecar-…` of its name")]
pub struct Knobs {
    pub image: Option<String>,
    pub pull_policy: Option<PullPolicy>,
    pub cpu_request: Option<Quantity>,
    pub cpu_limit: Option<Quantity>,
    pub memory_request: Option<Quantity>,
    pub memory_limit: Option<Quantity>,
    pub log_level: Option<LogLevel>,
    pub drain_delay: Option<u32>,
    pub drain_timeout: Option<u32>,
    pub placement: Option<Placement>,
}

/// Whether a pod asks for a sidecar; [`None`] where it does not say, or not in a way that can be
/// read (which [`read`] objects to).
pub fn wish(pod: &Object) -> Option<Wish> {
    pod.annotation(name::INJECT).and_then(|value| values::wish(value).ok())
}

/// Whether the pod bears `lasthop.dev/inject`, readable or not.
pub fn bears_wish(pod: &Object) -> bool {
    entries(pod).any(|(key, _)| key == name::INJECT)
}

/// The annotations under our prefix, also those that are no texts.
pub fn entries(pod: &Object) -> impl Iterator<Item = (&str, &Value)> {
    let annotations = pod.0.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .filter(|(key, _)| key.starts_with(name::PREFIX))
}

/// `NAME.PORT` as name and port, any other name as it is.
pub fn split_port(key: &str) -> (&str, Option<u16>) {
    match key.rsplit_once('.') {
        Some((base, port)) if table::find(base).is_some() => match values::port(port) {
            Ok(port) => (base, Some(port)),
            Err(_not_a_port) => (key, None),
        },
        _ => (key, None),
    }
}

/// Parses the annotations of `pod`. There is no request where an objection blocks it.
pub fn read(pod: &Object) -> (Option<Request>, Vec<Objection>) {
    let mut reader = Reader { written: BTreeMap::new(), objections: Vec::new() };
    reader.gather(pod);
    let pairs = reader.pairs(pod);
    reader.check_ports(&pairs);
    let mut listeners: Vec<Terminate> =
        pairs.iter().filter_map(|pair| reader.terminate(*pair)).collect();
    if pairs.is_empty() {
        reader.require_tls_secret(None);
    }
    let request = Request {
        listeners: std::mem::take(&mut listeners),
        redirect_port: reader.get(name::REDIRECT_PORT, None, values::port),
        status_port: reader.get(name::STATUS_PORT, None, values::port).unwrap_or(STATUS_PORT),
        knobs: reader.knobs(),
    };
    let Reader { written: _, mut objections } = reader;
    dedup(&mut objections);
    let is_blocked = objections.iter().any(|it| it.bearing == Bearing::Blocks);
    let is_whole = !is_blocked && !request.listeners.is_empty();
    (is_whole.then_some(request), objections)
}

/// No more is said of one annotation, nor of unknown ones: a quarter of a MiB of them may come.
const MOST_TOLD: usize = 8;

/// What is wrong in an annotation that several listeners share is said once.
fn dedup(objections: &mut Vec<Objection>) {
    let mut seen = BTreeSet::new();
    objections.retain(|it| seen.insert((it.code, it.path.clone(), it.message.clone())));
}

/// An annotation that holds for a listener: its own, or the one of all listeners.
#[derive(Clone, Copy, Debug)]
struct Held<'a> {
    base: &'static str,
    port: Option<u16>,
    value: &'a str,
}

impl Held<'_> {
    fn key(&self) -> String {
        match self.port {
            Some(port) => format!("{}.{port}", self.base),
            None => self.base.to_owned(),
        }
    }
}

struct Reader<'a> {
    written: BTreeMap<(&'static str, Option<u16>), &'a str>,
    objections: Vec<Objection>,
}

impl<'a> Reader<'a> {
    fn object(&mut self, code: Code, key: &str, message: String, help: impl Into<String>) {
        self.objections.push(Objection {
            code,
            bearing: Bearing::Blocks,
            path: FieldPath::annotation(key),
            message,
            help: help.into(),
        });
    }

    /// Takes in every annotation under the prefix, and objects to names and values.
    fn gather(&mut self, pod: &'a Object) {
        let mut unknown = 0;
        for (key, value) in entries(pod) {
            let (base, port) = split_port(key);
            let Some(annotation) = table::find(base) else {
                unknown += 1;
                if unknown <= MOST_TOLD {
                    self.unknown(key);
                }
                continue;
            };
            if port.is_some() && annotation.level == Level::Pod {
                let message = format!("`{base}` is about the pod, it takes no port");
                self.object(code::LISTENER, key, message, format!("write `{base}`"));
                continue;
            }
            let Some(value) = value.as_str() else {
                let message = format!("the value of `{}` is not a text", escape(key));
                let help = "annotations are texts; put the value in double quotes";
                self.object(code::VALUE, key, message, help);
                continue;
            };
            self.check(annotation, key, value);
            self.written.insert((annotation.name, port), value);
        }
    }

    fn unknown(&mut self, key: &str) {
        let message = format!("the annotation `{}` is unknown", escape(key));
        let base = key.rsplit_once('.').filter(|(_, port)| values::port(port).is_ok());
        let short = |key: &'a str| key.strip_prefix(name::PREFIX).unwrap_or(key);
        let word = key.strip_prefix(name::PREFIX).unwrap_or(key);
        let word = base.and_then(|(base, _)| base.strip_prefix(name::PREFIX)).unwrap_or(word);
        let help = match nearest(word, TABLE.iter().map(|annotation| short(annotation.name))) {
            Some(near) => format!("did you mean `{}{near}`?", name::PREFIX),
            None => "docs/annotations.md lists all of them".to_owned(),
        };
        self.object(code::UNKNOWN, key, message, help);
    }

    /// Objects to a value that cannot be read, and to what this version does not serve.
    fn check(&mut self, annotation: &table::Annotation, key: &str, value: &str) {
        let refused = match annotation.support {
            Support::Served => {
                let wrongs = check_value(annotation.name, value);
                let more = wrongs.len().saturating_sub(MOST_TOLD);
                for Wrong { message, help } in wrongs.into_iter().take(MOST_TOLD) {
                    self.object(code::VALUE, key, format!("`{}` {message}", escape(key)), help);
                }
                if more > 0 {
                    let message = format!("`{}` has {more} more mistakes", escape(key));
                    self.object(code::VALUE, key, message, "correct the others first");
                }
                return;
            }
            Support::Only(word) if value.trim() == word => return,
            Support::Only(word) => format!("leave it out, or write `{word}`"),
            Support::Later => "leave it out".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let message = match annotation.support {
            Support::Only(_) => format!(
                "`{}: {}` is not supported by this version ({version})",
                escape(key),
                escape(value)
            ),
            Support::Served | Support::Later => {
                format!("`{}` is not supported by this version ({version})", escape(key))
            }
        };
        self.object(code::UNSUPPORTED, key, message, refused);
    }

    /// What holds for the listener at `port`: its own annotation before the one of all listeners.
    fn held(&self, base: &'static str, port: Option<u16>) -> Option<Held<'a>> {
        let own = port.and_then(|_| self.written.get(&(base, port)).map(|value| (port, *value)));
        let (port, value) =
            own.or_else(|| self.written.get(&(base, None)).map(|value| (None, *value)))?;
        Some(Held { base, port, value })
    }

    /// The value that holds, where it can be read; [`Reader::check`] has objected where it cannot.
    fn get<T>(
        &self,
        base: &'static str,
        port: Option<u16>,
        read: impl Fn(&str) -> Result<T, Vec<Wrong>>,
    ) -> Option<T> {
        self.held(base, port).and_then(|held| read(held.value).ok())
    }

    /// The listeners: as written, or the app's only port.
    fn pairs(&mut self, pod: &Object) -> Vec<PortPair> {
        if let Some(held) = self.held(name::PORTS, None) {
            return values::ports(held.value).unwrap_or_default();
        }
        match super::pod::only_app_port(pod) {
            Ok((app, _container)) => vec![PortPair { listen: LISTEN_PORT, app }],
            Err(candidates) => {
                let (message, help) = match candidates.as_slice() {
                    [] => (
                        "no container declares a port, so the app's port is not known".to_owned(),
                        format!("name it: `{}: \"8443:8080\"`", name::PORTS),
                    ),
                    [first, ..] => {
                        let all: Vec<String> = candidates.iter().map(u16::to_string).collect();
                        (
                            format!(
                                "the app's port is not clear, the containers declare {}",
                                all.join(", ")
                            ),
                            format!("name it: `{}: \"8443:{first}\"`", name::PORTS),
                        )
                    }
                };
                self.object(code::APP_PORT, name::PORTS, message, help);
                Vec::new()
            }
        }
    }

    /// Objects to a port behind an annotation that no listener has.
    fn check_ports(&mut self, pairs: &[PortPair]) {
        if pairs.is_empty() {
            return;
        }
        let listeners: Vec<String> = pairs.iter().map(|pair| pair.listen.to_string()).collect();
        let strays: Vec<(&str, u16)> = self
            .written
            .keys()
            .filter_map(|(base, port)| Some((*base, (*port)?)))
            .filter(|(_, port)| pairs.iter().all(|pair| pair.listen != *port))
            .collect();
        for (base, port) in strays {
            let message =
                format!("no listener has the port {port}, they have {}", listeners.join(", "));
            let help = match pairs.iter().find(|pair| pair.app == port) {
                Some(pair) => format!(
                    "the port is the one that the sidecar listens on: write `{base}.{}`",
                    pair.listen
                ),
                None => format!("add the listener to `{}`, or correct the port", name::PORTS),
            };
            self.object(code::LISTENER, &format!("{base}.{port}"), message, help);
        }
    }

    fn require_tls_secret(&mut self, port: Option<u16>) {
        if self.held(name::TLS_SECRET, port).is_none() {
            let message = format!("`{}` is missing", name::TLS_SECRET);
            let help = format!(
                "name the Secret with the certificate that the sidecar serves: `{}: web-tls`",
                name::TLS_SECRET
            );
            self.object(code::REQUIRED, name::TLS_SECRET, message, help);
        }
    }

    fn terminate(&mut self, ports: PortPair) -> Option<Terminate> {
        let port = Some(ports.listen);
        self.require_tls_secret(port);
        let protocol = self.get(name::PROTOCOL, port, values::protocol).unwrap_or_default();
        let clients = self.clients(port);
        let trusted_proxies = self.trusted_proxies(port, protocol);
        let identity_headers = self.identity_headers(port, protocol);
        let tls_secrets = self.get(name::TLS_SECRET, port, values::secret_names)?;
        Some(Terminate { ports, protocol, tls_secrets, clients, trusted_proxies, identity_headers })
    }

    fn knobs(&self) -> Knobs {
        Knobs {
            image: self.get(name::SIDECAR_IMAGE, None, values::image),
            pull_policy: self.get(name::SIDECAR_IMAGE_PULL_POLICY, None, values::pull_policy),
            cpu_request: self.get(name::SIDECAR_CPU_REQUEST, None, values::cpu),
            cpu_limit: self.get(name::SIDECAR_CPU_LIMIT, None, values::cpu),
            memory_request: self.get(name::SIDECAR_MEMORY_REQUEST, None, values::memory),
            memory_limit: self.get(name::SIDECAR_MEMORY_LIMIT, None, values::memory),
            log_level: self.get(name::SIDECAR_LOG_LEVEL, None, values::log_level),
            drain_delay: self.get(name::SIDECAR_DRAIN_DELAY, None, values::seconds),
            drain_timeout: self.get(name::SIDECAR_DRAIN_TIMEOUT, None, values::seconds),
            placement: self.get(name::SIDECAR_NATIVE, None, values::native),
        }
    }
}

/// Everything that is wrong with the value of an annotation that this version serves.
pub(super) fn check_value(annotation: &str, value: &str) -> Vec<Wrong> {
    fn wrongs<T>(read: Result<T, Vec<Wrong>>) -> Vec<Wrong> {
        read.err().unwrap_or_default()
    }
    match annotation {
        name::INJECT => wrongs(values::wish(value)),
        name::TLS_SECRET => wrongs(values::secret_names(value)),
        name::PORTS => wrongs(values::ports(value)),
        name::PROTOCOL => wrongs(values::protocol(value)),
        name::CLIENT_AUTH => wrongs(values::client_auth(value)),
        name::CLIENT_CA_SECRET => wrongs(values::ca_source(value)),
        name::ALLOWED_CLIENTS => wrongs(values::allowed(value)),
        name::CLIENT_EKU => wrongs(values::client_eku(value)),
        name::CLIENT_CRL_SECRET => wrongs(values::secret_name(value)),
        name::CLIENT_CRL_EXPIRED => wrongs(values::crl_expired(value)),
        name::TRUSTED_PROXIES => wrongs(values::trusted_proxies(value)),
        name::IDENTITY_HEADERS => wrongs(values::identity_headers(value)),
        name::REDIRECT_PORT | name::STATUS_PORT => wrongs(values::port(value)),
        name::MISSING_SECRET => wrongs(values::enforcement(value)),
        name::SIDECAR_IMAGE => wrongs(values::image(value)),
        name::SIDECAR_IMAGE_PULL_POLICY => wrongs(values::pull_policy(value)),
        name::SIDECAR_CPU_REQUEST | name::SIDECAR_CPU_LIMIT => wrongs(values::cpu(value)),
        name::SIDECAR_MEMORY_REQUEST | name::SIDECAR_MEMORY_LIMIT => wrongs(values::memory(value)),
        name::SIDECAR_LOG_LEVEL => wrongs(values::log_level(value)),
        name::SIDECAR_DRAIN_DELAY | name::SIDECAR_DRAIN_TIMEOUT => wrongs(values::seconds(value)),
        name::SIDECAR_NATIVE => wrongs(values::native(value)),
        // `ignore` is judged where findings are ignored; `status` is never read for what it says.
        _ => Vec::new(),
    }
}
