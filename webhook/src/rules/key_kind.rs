//! LH245: a kind of key that the controller, or its clients, cannot do with.

use lasthop_contract::credential::KeyKind;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Pair, Scene, Setting};
use crate::finding::{Finding, Severity};
use crate::object::Object;
use crate::reference::ingress::class;
use crate::reference::{Role, gateway_api};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(245),
    name: "key-kind",
    summary: "a controller serves a certificate whose kind of key it, or many of its clients, cannot do with",
    why: "No browser takes a certificate with an Ed25519 key, and those on BoringSSL (Chrome, Android) none with \
          EC P-521. Envoy, and with it Istio, Ambassador, Contour, Cilium and Envoy Gateway, long loaded no \
          Ed25519 key at all (1.40 does), and before 1.33 of the elliptic curves P-256 alone \
          (https://github.com/envoyproxy/envoy/pull/36369, https://github.com/cilium/cilium/issues/38587). The \
          sidecar takes all of them. Google's global load balancers, which Ingresses of class `gce` get, take RSA 2048 \
          and EC P-256 and nothing else \
          (https://cloud.google.com/load-balancing/docs/ssl-certificates/self-managed-certs).",
    symptoms: &[
        At::Browsers.shows("`ERR_SSL_VERSION_OR_CIPHER_MISMATCH`"),
        At::Istio
            .shows("older gateways log \"Failed to load certificate chain\" and cut clients off"),
        At::IngressNginx.shows(
            "serves it; clients that cannot do with it say \"no shared cipher\" or \"handshake \
             failure\"",
        ),
    ],
    example: "\
$ openssl x509 -in tls.crt -noout -text | grep 'Public Key Algorithm'
        Public Key Algorithm: ED25519",
    cure: "Issue it with EC P-256 or RSA 2048: `openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 ...`, or with \
           `privateKey: {algorithm: ECDSA, size: 256}` in a Certificate of cert-manager.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let pairs = scene.pairs().filter(|pair| pair.reference.role.is_controller_server());
    // Among files it is told of the Secret, which has to change.
    let pairs = pairs.filter(|pair| pair.user.is_some() || scene.setting == Setting::Review);
    pairs.filter_map(|pair| judge_one(scene, &pair)).collect()
}

fn judge_one(scene: &Scene, pair: &Pair<'_>) -> Option<Finding> {
    let leaf = pair.seen.reading().leaf()?;
    let reader = pair.user.map_or(&scene.object, |user| user.raw.as_ref());
    let is_envoy = is_envoy(reader, pair.reference.role);
    let is_google = pair.reference.role == Role::IngressServer && class(reader) == "gce";
    let (severity, who) = match leaf.key {
        KeyKind::Rsa(..=2048) | KeyKind::P256 | KeyKind::Other => return None,
        _ if is_google => {
            (Severity::Warning, "Google's load balancers take RSA 2048 and EC P-256 alone")
        }
        KeyKind::Ed25519 if is_envoy => {
            (Severity::Warning, "older Envoys do not load it, no browser takes it")
        }
        KeyKind::Ed25519 => (Severity::Warning, "no browser takes it"),
        KeyKind::P521 if is_envoy => (
            Severity::Warning,
            "Envoy before 1.33 does not load it, Chrome and others do not take it",
        ),
        KeyKind::P521 => (Severity::Warning, "Chrome and others do not take it"),
        KeyKind::P384 if is_envoy => (Severity::Info, "Envoy before 1.33 does not load it"),
        KeyKind::Rsa(_) | KeyKind::P384 => return None,
    };
    let secret = escape(&pair.reference.secret);
    let message = format!("the key of Secret `{secret}` is {}: {who}", leaf.key);
    let key = pair.seen.reading().form.map_or("tls.crt", |form| form.chain_key());
    let mut finding = pair.finding(scene, &RULE, (&pair.reference.path, key), &message);
    finding.severity = severity;
    Some(finding.help("have it issued anew with a key of EC P-256 or RSA 2048"))
}

/// Whether the controller that serves it is built on Envoy, as far as kind and class say it.
fn is_envoy(reader: &Object, role: Role) -> bool {
    let known = ["cilium", "contour", "eg", "emissary", "envoy", "istio"];
    let is_known = |class: &str| {
        let mut words = class.split(['-', '.', '/']);
        words.any(|word| known.contains(&word.to_ascii_lowercase().as_str()))
    };
    match role {
        Role::GatewayServer | Role::MutualGatewayServer => true,
        Role::ListenerServer => {
            gateway_api::is_gateway(reader) && is_known(reader.text("/spec/gatewayClassName"))
        }
        Role::ControllerServer => reader.is("getambassador.io", "Host"),
        Role::IngressServer => is_known(&class(reader)),
        _ => false,
    }
}
