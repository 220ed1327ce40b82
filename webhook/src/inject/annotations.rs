//! The annotations of a pod, parsed: a [`Request`], and everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use lasthop_contract::alpn::AlpnName;
use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientAuth, ClientEku, Revocation};
use lasthop_contract::hsts::Hsts;
use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::sidecar_config::{
    IdentityHeader, LogLevel, PlaintextDoor, Protocol, ProxyProtocol, RedirectStatus, STATUS_PORT,
    SocketPath, Upstream,
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
mod terminate;
mod upstreams;
pub mod values;

use values::{Allowed, CaSource, Wish, Wrong};

/// What a pod asks of its sidecar.
#[derive(Clone, Debug)]
pub struct Request {
    /// The terminating listeners, in the order in which they were written; none where the pod only
    /// originates.
    pub listeners: Vec<Terminate>,
    /// The originating listeners, in the order in which they were written; at least one of either.
    pub upstreams: Vec<Originate>,
    /// A plain HTTP port that redirects to https.
    pub redirect_port: Option<u16>,
    /// How it says so.
    pub redirect_status: RedirectStatus,
    /// Where to: the port on which clients reach https.
    pub redirect_https_port: u16,
    /// The port of `/livez`, `/readyz`, `/metrics` and the probes.
    pub status_port: u16,
    /// Whether the app is to be on loopback alone.
    pub plaintext_door: PlaintextDoor,
    /// What differs from the operator's options.
    pub knobs: Knobs,
}

/// What a pod asks of one terminating listener.
#[derive(Clone, Debug)]
pub struct Terminate {
    /// The port that clients connect to.
    pub listen: u16,
    /// Where the app is.
    pub app: App,
    /// What the app speaks.
    pub protocol: Protocol,
    /// The Secrets with chain and key; at least one.
    pub tls_secrets: Vec<String>,
    /// Who may come in; [`None`] where no client is asked for a certificate.
    pub clients: Option<Clients>,
    /// Whose forwarding headers and PROXY headers are believed.
    pub trusted_proxies: Vec<String>,
    /// What the app is told of the client.
    pub identity_headers: Vec<IdentityHeader>,
    /// Who says before the first byte from where a connection comes.
    pub proxy_protocol: ProxyProtocol,
    /// What browsers are told where the app tells them nothing.
    pub hsts: Option<Hsts>,
    /// What is agreed on with clients where the app is sent bytes.
    pub alpn: Vec<AlpnName>,
}

/// Where an app is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum App {
    /// On a port of localhost.
    Port(u16),
    /// On a Unix socket.
    Socket(SocketPath),
}

impl App {
    /// The port, where it is on one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Socket(_) => None,
        }
    }
}

/// What a pod asks of one originating listener.
#[derive(Clone, Debug)]
pub struct Originate {
    /// The port on localhost that the app connects to.
    pub listen: u16,
    /// The next tier.
    pub upstream: Upstream,
    /// The Secret that the sidecar presents.
    pub client_secret: Option<String>,
    /// The CAs of the next tier; [`None`] for the public ones.
    pub ca: Option<CaSource>,
    /// The names of which its certificate must bear one; none for the host.
    pub server_names: Vec<String>,
    /// The server name that is asked for; [`None`] for the host.
    pub sni: Option<String>,
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
    /// How they are asked.
    pub revocation: Revocation,
    /// The paths that need no certificate.
    pub exempt_paths: Vec<String>,
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

/// The port of https that no URL names (RFC 9110, 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Parses the annotations of `pod`. There is no request where an objection blocks it.
pub fn read(pod: &Object) -> (Option<Request>, Vec<Objection>) {
    let mut reader = Reader { written: BTreeMap::new(), objections: Vec::new() };
    reader.gather(pod);
    let upstreams = reader.upstreams();
    let pairs = if reader.only_originates() { Vec::new() } else { reader.pairs(pod) };
    reader.check_ports(&pairs, &upstreams);
    let listeners: Vec<Terminate> =
        pairs.iter().filter_map(|pair| reader.terminate(*pair)).collect();
    if pairs.is_empty() && !reader.only_originates() {
        reader.require_tls_secret(None);
    }
    reader.check_redirect();
    let request = Request {
        redirect_port: reader.get(name::REDIRECT_PORT, None, values::port),
        redirect_status: reader
            .get(name::REDIRECT_STATUS, None, values::redirect_status)
            .unwrap_or_default(),
        redirect_https_port: reader
            .get(name::REDIRECT_HTTPS_PORT, None, values::port)
            .unwrap_or(HTTPS_PORT),
        status_port: reader.get(name::STATUS_PORT, None, values::port).unwrap_or(STATUS_PORT),
        plaintext_door: reader.plaintext_door(&listeners),
        knobs: reader.knobs(),
        listeners,
        upstreams,
    };
    let Reader { written: _, mut objections } = reader;
    dedup(&mut objections);
    let is_blocked = objections.iter().any(|it| it.bearing == Bearing::Blocks);
    let has_some = !request.listeners.is_empty() || !request.upstreams.is_empty();
    let is_whole = !is_blocked && has_some;
    (is_whole.then_some(request), objections)
}

/// No more is said of one annotation, nor of unknown ones: a quarter of a MiB of them may come.
const MOST_TOLD: usize = 8;

/// What is wrong in an annotation that several listeners share is said once.
fn dedup(objections: &mut Vec<Objection>) {
    let mut seen = BTreeSet::new();
    let told = |it: &Objection| (it.code, it.path.clone(), it.message.clone(), it.help.clone());
    objections.retain(|it| seen.insert(told(it)));
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
        name::CLIENT_CA_SECRET | name::UPSTREAM_CA_SECRET => wrongs(values::ca_source(value)),
        name::ALLOWED_CLIENTS => wrongs(values::allowed(value)),
        name::CLIENT_EKU => wrongs(values::client_eku(value)),
        name::CLIENT_CRL_SECRET | name::UPSTREAM_CLIENT_SECRET => {
            wrongs(values::secret_name(value))
        }
        name::CLIENT_CRL_EXPIRED => wrongs(values::crl_expired(value)),
        name::CLIENT_CRL_UNKNOWN => wrongs(values::crl_unknown(value)),
        name::CLIENT_CRL_DEPTH => wrongs(values::crl_depth(value)),
        name::TRUSTED_PROXIES => wrongs(values::trusted_proxies(value)),
        name::IDENTITY_HEADERS => wrongs(values::identity_headers(value)),
        name::REDIRECT_PORT | name::REDIRECT_HTTPS_PORT | name::STATUS_PORT => {
            wrongs(values::port(value))
        }
        name::REDIRECT_STATUS => wrongs(values::redirect_status(value)),
        name::HSTS => wrongs(values::hsts(value)),
        name::ALPN => wrongs(values::alpn(value)),
        name::MISSING_SECRET => wrongs(values::enforcement(value)),
        name::SIDECAR_IMAGE => wrongs(values::image(value)),
        name::SIDECAR_IMAGE_PULL_POLICY => wrongs(values::pull_policy(value)),
        name::SIDECAR_CPU_REQUEST | name::SIDECAR_CPU_LIMIT => wrongs(values::cpu(value)),
        name::SIDECAR_MEMORY_REQUEST | name::SIDECAR_MEMORY_LIMIT => wrongs(values::memory(value)),
        name::SIDECAR_LOG_LEVEL => wrongs(values::log_level(value)),
        name::SIDECAR_DRAIN_DELAY | name::SIDECAR_DRAIN_TIMEOUT => wrongs(values::seconds(value)),
        name::SIDECAR_NATIVE => wrongs(values::native(value)),
        name::CLIENT_AUTH_EXEMPT_PATHS => wrongs(values::exempt_paths(value)),
        name::PROXY_PROTOCOL => wrongs(values::proxy_protocol(value)),
        name::APP_SOCKET => wrongs(values::app_socket(value)),
        name::REQUIRE_LOOPBACK => wrongs(values::require_loopback(value)),
        name::UPSTREAMS => wrongs(values::upstreams(value)),
        name::UPSTREAM_SERVER_NAMES => wrongs(values::server_names(value)),
        name::UPSTREAM_SNI => wrongs(values::sni(value)),
        // `ignore` is judged where findings are ignored; `status` and `original-probes` are written by us.
        _ => Vec::new(),
    }
}
