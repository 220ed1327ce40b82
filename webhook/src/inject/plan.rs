//! What the sidecar of a pod is going to be: a pure function of the pod, its request and the
//! operator's options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::digest::{SHA256, digest};
use lasthop_contract::credential::{CA_KEYS, CRL_KEYS};
use lasthop_contract::sidecar_config::{
    self, CONFIG_VARIABLE, Drain, Forward, KeyLog, Listener, Probe, Redirect, SECRETS_ROOT,
    SidecarConfig,
};
use lasthop_contract::text::hex;
use serde_json::{Value, json};

use super::annotations::values::CaSource;
use super::annotations::{App, Clients, Originate, Request, Terminate};
use super::istio::Mesh;
use super::objection::Objection;
use super::options::{Options, Placement};
use super::pod::{self, CONTAINER};
use super::probes::{self, Takeover};
use super::quantity::Quantity;
use super::resources::{self, Asked};
use super::socket;
use crate::object::Object;

/// The user that the sidecar runs as where the pod's user is root: the one of its image.
pub(super) const SIDECAR_UID: u64 = 65_532;

/// Secret volumes are readable for whichever user the sidecar runs as, and for nobody else, since
/// they are mounted in the sidecar alone.
const MODE: u32 = 0o444;

/// What is going to be in the pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The container.
    pub(super) container: Value,
    /// Which list it goes to.
    pub(super) placement: Placement,
    /// The volumes, each with a name of its own.
    pub(super) volumes: Vec<Value>,
    /// What the pod is to request as a whole, by resource, beside what it says.
    pub(super) pod_requests: Vec<(&'static str, Quantity)>,
    /// The container that kubectl takes by default, unless the pod names one.
    pub(super) default_container: Option<String>,
    /// The value of `lasthop.dev/status`: the version and a digest of container and volumes.
    pub(super) status: String,
    /// The probes that the sidecar performs.
    pub(super) takeover: Takeover,
}

/// What holds for all sidecars of a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct House<'a> {
    /// The operator's options.
    pub(super) options: &'a Options,
    /// Whether TLS secrets may be logged.
    pub(super) key_log: KeyLog,
    /// Whose proxy its pods get.
    pub(super) mesh: Mesh,
}

/// Makes the plan, and says what is odd about it.
pub(super) fn make(pod: &Object, request: &Request, house: House<'_>) -> (Plan, Vec<Objection>) {
    let options = house.options;
    let (asked, mut objections) = resources::merge(pod, &request.knobs, &options.amounts());
    let (takeover, odd) = probes::take_over(pod, request);
    objections.extend(odd);
    let (sockets, odd) = socket::mounts(pod, request);
    objections.extend(odd);
    let placement = options.placement_for(&request.knobs);
    let mounts = mounts(request);
    let document = document(request, &takeover.probes, house);
    let mut container = container(pod, request, options, &asked, &document);
    if let Some(fields) = container.as_object_mut() {
        if placement == Placement::Native {
            fields.insert("restartPolicy".to_owned(), json!("Always"));
        }
        let volume_mounts = mounts.iter().map(|mount| {
            json!({
                "name": mount.volume_name(),
                "mountPath": format!("{SECRETS_ROOT}/{}", mount.directory()),
                "readOnly": true,
            })
        });
        fields.insert("volumeMounts".to_owned(), volume_mounts.chain(sockets).collect());
    }
    let volumes: Vec<Value> = mounts.iter().map(Mount::volume).collect();
    let first = request.listeners.first().and_then(|listener| listener.app.port());
    let default_container = pod::container_of(pod, first).map(ToOwned::to_owned);
    let input = json!([container, volumes]).to_string();
    let status = format!(
        "{} sha256:{}",
        env!("CARGO_PKG_VERSION"),
        hex(digest(&SHA256, input.as_bytes()).as_ref().get(..16).unwrap_or_default())
    );
    let pod_requests = asked.pod_requests;
    let plan =
        Plan { container, placement, volumes, pod_requests, default_container, status, takeover };
    (plan, objections)
}

/// The user that the sidecar runs as: the pod's, else the one of its image; never root.
pub(super) fn sidecar_uid(pod: &Object) -> u64 {
    match pod_uid(pod) {
        Some(0) | None => SIDECAR_UID,
        Some(uid) => uid,
    }
}

fn pod_uid(pod: &Object) -> Option<u64> {
    pod.0.pointer("/spec/securityContext/runAsUser").and_then(Value::as_u64)
}

/// The container, but for what depends on placement and volumes. Every field that the API server
/// would fill in is written, so that a second look finds what the first one wrote.
fn container(
    pod: &Object,
    request: &Request,
    options: &Options,
    asked: &Asked,
    document: &str,
) -> Value {
    let knobs = &request.knobs;
    let probe = |path: &str, period: u32, timeout: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": request.status_port, "scheme": "HTTP" },
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "successThreshold": 1,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": CONTAINER,
        "image": knobs.image.as_ref().unwrap_or(&options.image),
        "imagePullPolicy": knobs.pull_policy.unwrap_or(options.pull_policy).word(),
        "env": [{ "name": CONFIG_VARIABLE, "value": document }],
        "ports": ports(request),
        "resources": resources::to_json(asked),
        "securityContext": security_context(pod),
        "startupProbe": probe("/readyz", 1, 3, 120),
        "livenessProbe": probe("/livez", 10, 3, 3),
        "readinessProbe": probe("/readyz", 5, 3, 2),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// What Pod Security `restricted` wants of every container, whatever the pod says. No `runAsUser`
/// but where the pod's is root: OpenShift chooses one itself.
///
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
fn security_context(pod: &Object) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    if pod_uid(pod) == Some(0)
        && let Some(fields) = context.as_object_mut()
    {
        fields.insert("runAsUser".to_owned(), json!(SIDECAR_UID));
    }
    context
}

fn ports(request: &Request) -> Value {
    let listening = request.listeners.iter().map(|listener| listener.listen);
    let named = listening.chain(request.redirect_port).map(|port| (port_name(port), port));
    let status = (status_port_name(), request.status_port);
    named
        .chain([status])
        .map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" }))
        .collect()
}

/// What a Service calls a listener: `targetPort: lasthop-8443`.
pub fn port_name(listen: u16) -> String {
    format!("{CONTAINER}-{listen}")
}

/// What a Service calls the status port.
pub(super) fn status_port_name() -> String {
    format!("{CONTAINER}-status")
}

/// The configuration as the value of a variable. kubelet expands `$(NAME)` and `$$` in values; a
/// dollar written as JSON escape is none to it, and the same text to the sidecar.
///
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>
fn document(request: &Request, probes: &[Probe], house: House<'_>) -> String {
    configuration(request, probes, house).to_json().replace('$', "\\u0024")
}

fn configuration(request: &Request, probes: &[Probe], house: House<'_>) -> SidecarConfig {
    let Request {
        listeners: _,
        upstreams: _,
        redirect_port: _,
        redirect_status: _,
        redirect_https_port: _,
        status_port,
        plaintext_door,
        knobs,
    } = request;
    let House { options, key_log, mesh: _ } = house;
    let Drain { delay_seconds, timeout_seconds } = options.drain();
    SidecarConfig {
        version: sidecar_config::VERSION,
        listeners: listeners(request),
        status_listen: everywhere(*status_port),
        probes: probes.to_vec(),
        plaintext_door: *plaintext_door,
        key_log,
        drain: Drain {
            delay_seconds: knobs.drain_delay.unwrap_or(delay_seconds),
            timeout_seconds: knobs.drain_timeout.unwrap_or(timeout_seconds),
        },
        log_level: knobs.log_level.unwrap_or(options.log_level),
    }
}

/// The listeners of the document that tells a sidecar everything: what `request` asks for.
pub fn listeners(request: &Request) -> Vec<Listener> {
    let Request {
        listeners, upstreams, redirect_port, redirect_status, redirect_https_port, ..
    } = request;
    let terminate = listeners.iter().map(|listener| Listener::Terminate(terminate(listener)));
    let originate = upstreams.iter().map(|upstream| Listener::Originate(originate(upstream)));
    let redirect = redirect_port
        .map(|port| Redirect {
            listen: everywhere(port),
            https_port: *redirect_https_port,
            status: *redirect_status,
        })
        .map(Listener::Redirect);
    terminate.chain(originate).chain(redirect).collect()
}

/// `[::]` takes IPv4, too.
fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

fn terminate(listener: &Terminate) -> sidecar_config::Terminate {
    let Terminate {
        listen,
        app,
        protocol,
        tls_secrets,
        clients,
        trusted_proxies,
        identity_headers,
        proxy_protocol,
        hsts,
        alpn,
    } = listener;
    let tls = |name: &String| Mount::Tls(name.clone()).directory();
    sidecar_config::Terminate {
        listen: everywhere(*listen),
        forward: match app {
            App::Port(port) => Forward::Port(*port),
            App::Socket(path) => Forward::Socket(path.clone()),
        },
        protocol: *protocol,
        tls_secrets: tls_secrets.iter().map(tls).collect(),
        clients: clients.as_ref().map(policy).unwrap_or_default(),
        trusted_proxies: trusted_proxies.clone(),
        identity_headers: identity_headers.clone(),
        proxy_protocol: *proxy_protocol,
        hsts: hsts.clone(),
        alpn: alpn.clone(),
    }
}

/// Only the pod's own containers reach loopback, and so the identity of the sidecar.
fn originate(listener: &Originate) -> sidecar_config::Originate {
    let Originate { listen, upstream, client_secret, ca, server_names, sni } = listener;
    sidecar_config::Originate {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *listen),
        upstream: upstream.clone(),
        client_secret: client_secret.clone().map(|name| Mount::Tls(name).directory()),
        ca_secret: ca.as_ref().map(|ca| Mount::of_upstream_ca(ca).directory()),
        server_names: server_names.clone(),
        sni: sni.clone(),
    }
}

fn policy(clients: &Clients) -> sidecar_config::Clients {
    let Clients { auth, ca, allowed, eku, crl_secret, revocation, exempt_paths } = clients;
    sidecar_config::Clients {
        auth: *auth,
        ca_secret: Some(Mount::of_ca(ca).directory()),
        allowed: allowed.entries.clone(),
        eku: Some(*eku),
        crl_secret: crl_secret.clone().map(|name| Mount::Crl(name).directory()),
        crl_expired: revocation.expired,
        crl_unknown: revocation.unknown,
        crl_depth: revocation.depth,
        exempt_paths: exempt_paths.clone(),
    }
}

/// A Secret (or `ConfigMap`) that the sidecar reads, and what for: the same Secret is mounted once a
/// purpose, so that who only verifies is not given a private key.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mount {
    /// A Secret with chain and key that it serves.
    Tls(String),
    /// A Secret with the CAs of clients.
    Ca(String),
    /// A `ConfigMap` with the CAs of clients.
    CaConfigMap(String),
    /// A Secret with revocation lists.
    Crl(String),
    /// A Secret with the CAs of a next tier.
    UpstreamCa(String),
    /// A `ConfigMap` with the CAs of a next tier.
    UpstreamCaConfigMap(String),
}

/// Every mount once, in the order of the listeners.
fn mounts(request: &Request) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut add = |mount: Mount| {
        if !mounts.contains(&mount) {
            mounts.push(mount);
        }
    };
    for listener in &request.listeners {
        let tls = listener.tls_secrets.iter().cloned().map(Mount::Tls);
        let clients = listener.clients.as_ref();
        let ca = clients.map(|clients| Mount::of_ca(&clients.ca));
        let crl = clients.and_then(|clients| clients.crl_secret.clone()).map(Mount::Crl);
        tls.chain(ca).chain(crl).for_each(&mut add);
    }
    for upstream in &request.upstreams {
        let identity = upstream.client_secret.clone().map(Mount::Tls);
        let ca = upstream.ca.as_ref().map(Mount::of_upstream_ca);
        identity.into_iter().chain(ca).for_each(&mut add);
    }
    mounts
}

impl Mount {
    fn of_ca(source: &CaSource) -> Self {
        match source {
            CaSource::Secret(name) => Self::Ca(name.clone()),
            CaSource::ConfigMap(name) => Self::CaConfigMap(name.clone()),
        }
    }

    fn of_upstream_ca(source: &CaSource) -> Self {
        match source {
            CaSource::Secret(name) => Self::UpstreamCa(name.clone()),
            CaSource::ConfigMap(name) => Self::UpstreamCaConfigMap(name.clone()),
        }
    }

    /// The mount that a directory of the document stands for.
    pub fn of_directory(directory: &str) -> Option<Self> {
        let (purpose, name) = directory.split_once('/')?;
        let makers = [
            Self::Tls,
            Self::Ca,
            Self::CaConfigMap,
            Self::Crl,
            Self::UpstreamCa,
            Self::UpstreamCaConfigMap,
        ];
        let mut mounts = makers.into_iter().map(|make| make(name.to_owned()));
        mounts.find(|mount| mount.purpose() == purpose)
    }

    /// The name of the Secret or `ConfigMap`.
    pub fn name(&self) -> &str {
        match self {
            Self::Tls(name)
            | Self::Ca(name)
            | Self::CaConfigMap(name)
            | Self::Crl(name)
            | Self::UpstreamCa(name)
            | Self::UpstreamCaConfigMap(name) => name,
        }
    }

    /// Whether it is a Secret, as opposed to a `ConfigMap`.
    pub fn is_secret(&self) -> bool {
        !matches!(self, Self::CaConfigMap(_) | Self::UpstreamCaConfigMap(_))
    }

    /// The directory below the secrets root.
    fn directory(&self) -> String {
        format!("{}/{}", self.purpose(), self.name())
    }

    fn purpose(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::Ca(_) => "client-ca",
            Self::CaConfigMap(_) => "client-ca-configmap",
            Self::Crl(_) => "client-crl",
            Self::UpstreamCa(_) => "upstream-ca",
            Self::UpstreamCaConfigMap(_) => "upstream-ca-configmap",
        }
    }

    fn volume_name(&self) -> String {
        let prefix = match self {
            Self::Tls(_) => VOLUME_PREFIXES[0],
            Self::Ca(_) => VOLUME_PREFIXES[1],
            Self::CaConfigMap(_) => VOLUME_PREFIXES[2],
            Self::Crl(_) => VOLUME_PREFIXES[3],
            Self::UpstreamCa(_) => VOLUME_PREFIXES[4],
            Self::UpstreamCaConfigMap(_) => VOLUME_PREFIXES[5],
        };
        label(prefix, self.name())
    }

    /// The volume. Of a Secret with a key pair all keys are projected, whichever form it has; kubelet
    /// waits until it is there. Of CAs and revocation lists only the keys that hold such are:
    /// `optional` makes kubelet pass over those that are not there (and over a Secret that is not:
    /// the sidecar then says so and is started again until it is).
    ///
    /// <https://github.com/kubernetes/kubernetes/blob/v1.34.1/pkg/volume/secret/secret.go>, `MakePayload`
    fn volume(&self) -> Value {
        let items = |keys: &[&str]| -> Value {
            keys.iter().map(|key| json!({ "key": key, "path": key })).collect()
        };
        let name = self.name();
        match self {
            Self::Tls(_) => json!({
                "name": self.volume_name(),
                "secret": { "secretName": name, "defaultMode": MODE },
            }),
            Self::Ca(_) | Self::UpstreamCa(_) => json!({
                "name": self.volume_name(),
                "secret": {
                    "secretName": name, "defaultMode": MODE, "items": items(&CA_KEYS), "optional": true,
                },
            }),
            Self::CaConfigMap(_) | Self::UpstreamCaConfigMap(_) => json!({
                "name": self.volume_name(),
                "configMap": {
                    "name": name, "defaultMode": MODE, "items": items(&CA_KEYS), "optional": true,
                },
            }),
            Self::Crl(_) => json!({
                "name": self.volume_name(),
                "secret": {
                    "secretName": name, "defaultMode": MODE, "items": items(&CRL_KEYS), "optional": true,
                },
            }),
        }
    }
}

/// What our volumes' names begin with: none is the beginning of another.
pub(super) const VOLUME_PREFIXES: [&str; 6] = [
    "lasthop-tls-",
    "lasthop-ca-",
    "lasthop-cacm-",
    "lasthop-crl-",
    "lasthop-upca-",
    "lasthop-upcacm-",
];

/// A DNS label (63 characters, no dots) from an object's name (253, with dots). A name that does not
/// fit is cut, and a digest keeps it apart from the others.
fn label(prefix: &str, name: &str) -> String {
    const MOST: usize = 63;
    if prefix.len() + name.len() <= MOST && !name.contains('.') {
        return format!("{prefix}{name}");
    }
    let digest = hex(digest(&SHA256, name.as_bytes()).as_ref().get(..5).unwrap_or_default());
    let room = MOST - prefix.len() - digest.len() - 1;
    let start: String = name.replace('.', "-").chars().take(room).collect();
    format!("{prefix}{start}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_document_leads_back_to_its_mount() {
        let makers = [
            Mount::Tls,
            Mount::Ca,
            Mount::CaConfigMap,
            Mount::Crl,
            Mount::UpstreamCa,
            Mount::UpstreamCaConfigMap,
        ];
        for make in makers {
            let mount = make("web-tls".to_owned());
            assert_eq!(Mount::of_directory(&mount.directory()), Some(mount));
        }
        assert_eq!(Mount::of_directory("nothing/web-tls"), None);
        assert_eq!(Mount::of_directory("web-tls"), None);
    }

    #[test]
    fn volume_names_are_labels_and_stay_apart() {
        assert_eq!(label("lasthop-tls-", "web-tls"), "lasthop-tls-web-tls");
        let long = "a".repeat(250);
        let names =
            ["a.b", "a-b", &long, &format!("{long}b")].map(|name| label("lasthop-ca-", name));
        for name in &names {
            assert!(name.len() <= 63 && !name.contains('.'), "{name}");
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
