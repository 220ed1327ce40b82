//! TLS that an Ingress asks for in annotations: towards the application, and of the clients.
//!
//! ingress-nginx: <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/>.
//! Traefik reads the same names: <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress-nginx/>.
//! IBM Cloud's former ALB:
//! <https://cloud.ibm.com/docs/containers?topic=containers-comm-ingress-annotations>.

use super::ingress::{class, is_ingress, is_of_aws};
use super::{Holder, Reference, Role, Weight};
use crate::object::Object;
use crate::path::FieldPath;

/// What stands before every annotation of ingress-nginx.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// IBM Cloud's annotation of services that speak TLS.
pub const SSL_SERVICES: &str = "ingress.bluemix.net/ssl-services";

/// AWS's annotation of what the targets speak.
/// <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#backend-protocol>
pub const ALB_PROTOCOL: &str = "alb.ingress.kubernetes.io/backend-protocol";

/// An annotation and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Annotated {
    /// The field.
    pub path: FieldPath,
    /// The text.
    pub value: String,
}

/// Who reads the annotations of ingress-nginx, as far as the class of the Ingress says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reader {
    /// ingress-nginx.
    IngressNginx,
    /// Traefik's provider for them.
    Traefik,
    /// One of the two; the class does not say.
    Unknown,
}

impl Reader {
    /// The reader of the annotations of `object`; none where its class belongs to a controller that
    /// knows nothing of them, so that they are only left over.
    pub fn of(object: &Object) -> Option<Self> {
        let class = class(object);
        // A class that is called so and no more is that of Traefik's own provider.
        if class == "traefik" {
            return None;
        }
        let strangers = [
            "alb",
            "ambassador",
            "apisix",
            "avi",
            "azure-application-gateway",
            "azure/application",
            "cilium",
            "citrix",
            "contour",
            "gce",
            "haproxy",
            "istio",
            "kong",
            "openshift",
            "pomerium",
            "tailscale",
        ];
        if class.contains("traefik") {
            Some(Self::Traefik)
        } else if class.contains("nginx") {
            Some(Self::IngressNginx)
        } else if strangers.iter().any(|stranger| class.starts_with(stranger)) {
            None
        } else {
            Some(Self::Unknown)
        }
    }
}

/// Whether TLS is handed on to the application by its server name, so that no Secret of `spec.tls` is
/// served.
/// <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#ssl-passthrough>
pub fn passthrough(object: &Object) -> Option<Annotated> {
    Reader::of(object)?;
    // What Go's `strconv.ParseBool` takes for true.
    nginx(object, "ssl-passthrough")
        .filter(|at| matches!(at.value.as_str(), "true" | "t" | "T" | "True" | "TRUE" | "1"))
}

/// What the annotations of ingress-nginx say about the hop to the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// Who reads them.
    pub reader: Reader,
    /// `backend-protocol`.
    pub protocol: Option<Annotated>,
    /// `proxy-ssl-secret`.
    pub secret: Option<Annotated>,
    /// `proxy-ssl-verify`.
    pub verify: Option<Annotated>,
    /// `proxy-ssl-name`.
    pub name: Option<Annotated>,
    /// `proxy-ssl-server-name`.
    pub server_name: Option<Annotated>,
    /// `proxy-ssl-verify-depth`.
    pub depth: Option<Annotated>,
}

impl Backend {
    /// Reads the annotations of an Ingress; none where nobody reads them or there are none.
    pub fn read(object: &Object) -> Option<Self> {
        if !is_ingress(object) {
            return None;
        }
        let reader = Reader::of(object)?;
        let at = |name: &str| nginx(object, name);
        let backend = Self {
            reader,
            protocol: at("backend-protocol"),
            secret: at("proxy-ssl-secret"),
            verify: at("proxy-ssl-verify"),
            name: at("proxy-ssl-name"),
            server_name: at("proxy-ssl-server-name"),
            depth: at("proxy-ssl-verify-depth"),
        };
        let Self { reader: _, protocol, secret, verify, name, server_name, depth } = &backend;
        let all = [protocol, secret, verify, name, server_name, depth];
        all.iter().any(|it| it.is_some()).then_some(backend)
    }

    /// Whether requests to the application are sent over TLS.
    pub fn speaks_tls(&self) -> bool {
        let protocol = self.protocol.as_ref().map(|it| it.value.trim().to_ascii_uppercase());
        matches!(protocol.as_deref(), Some("HTTPS" | "GRPCS"))
    }

    /// Whether the application's certificate is verified. ingress-nginx does nothing of the kind
    /// without a Secret, and takes the word `on` alone; so does Traefik, in whatever case.
    pub fn verifies(&self) -> bool {
        let Some(verify) = &self.verify else { return false };
        match self.reader {
            Reader::Traefik => verify.value.eq_ignore_ascii_case("on"),
            Reader::IngressNginx | Reader::Unknown => verify.value == "on" && self.secret.is_some(),
        }
    }

    /// The server name that is sent to the application (SNI), where one is.
    pub fn sni(&self) -> Option<&str> {
        let name = self.name.as_ref().map(|it| it.value.as_str()).filter(|it| !it.is_empty());
        let server_name = self.server_name.as_ref().map(|it| it.value.as_str());
        match self.reader {
            Reader::Traefik => name.or(server_name).filter(|it| !it.is_empty()),
            Reader::IngressNginx | Reader::Unknown => (server_name == Some("on")
                && self.secret.is_some())
            .then(|| name.unwrap_or(NGINX_DEFAULT_NAME)),
        }
    }

    /// How many intermediate certificates may stand between the application's certificate and the
    /// trusted CA; none where there is no bound.
    pub fn verify_depth(&self) -> Option<usize> {
        match self.reader {
            Reader::Traefik => None,
            Reader::IngressNginx | Reader::Unknown => {
                let written = self.depth.as_ref().and_then(|it| it.value.trim().parse().ok());
                Some(written.filter(|depth| *depth > 0).unwrap_or(1))
            }
        }
    }
}

/// Whether the controller of an Ingress speaks TLS to its Services.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reencryption {
    /// An annotation says so.
    Asked,
    /// No annotation does, and without one plaintext is spoken.
    Absent {
        /// The annotation that is missing.
        line: &'static str,
    },
}

/// Whether the controller of `object` speaks TLS to its Services; [`None`] where it is unknown how that
/// one is told, or the client's own TLS is handed on.
pub fn reencryption(object: &Object) -> Option<Reencryption> {
    if !is_ingress(object) || passthrough(object).is_some() {
        return None;
    }
    let is_asked = |asked: bool, line| {
        if asked { Reencryption::Asked } else { Reencryption::Absent { line } }
    };
    if is_of_aws(object) {
        let protocol = annotated(object, ALB_PROTOCOL);
        let asked = protocol.is_some_and(|at| at.value.trim().eq_ignore_ascii_case("HTTPS"));
        return Some(is_asked(asked, "alb.ingress.kubernetes.io/backend-protocol: HTTPS"));
    }
    let reader = Reader::of(object).filter(|reader| *reader != Reader::Unknown)?;
    // The controller of NGINX Inc., whose class is `nginx` as well, has annotations of its own.
    // <https://docs.nginx.com/nginx-ingress-controller/configuration/ingress-resources/advanced-configuration-with-annotations/>
    let is_of_nginx_inc =
        |name: &&str| name.starts_with("nginx.org/") || name.starts_with("nginx.com/");
    if object.annotations().keys().any(is_of_nginx_inc) {
        return None;
    }
    // A snippet can say anything.
    let is_told_elsewhere = ["configuration-snippet", "server-snippet", "location-snippet"]
        .iter()
        .any(|name| nginx(object, name).is_some_and(|at| at.value.contains("proxy_pass")));
    if is_told_elsewhere || object.annotation(SSL_SERVICES).is_some() {
        return None;
    }
    let asked = Backend::read(object).is_some_and(|it| it.speaks_tls());
    // A value that nobody knows is told as such.
    let unknown = nginx(object, "backend-protocol").is_some_and(|at| {
        !matches!(
            at.value.trim().to_ascii_uppercase().as_str(),
            "HTTP" | "HTTPS" | "GRPC" | "GRPCS"
        )
    });
    let line = "nginx.ingress.kubernetes.io/backend-protocol: HTTPS";
    (!unknown && matches!(reader, Reader::IngressNginx | Reader::Traefik))
        .then(|| is_asked(asked, line))
}

/// The name of the application that ingress-nginx uses where nobody writes one.
pub const NGINX_DEFAULT_NAME: &str = "upstream_balancer";

/// An annotation of ingress-nginx, by the name behind the slash.
pub fn nginx(object: &Object, name: &str) -> Option<Annotated> {
    annotated(object, &format!("{NGINX}{name}"))
}

/// An annotation, by its whole name.
pub fn annotated(object: &Object, name: &str) -> Option<Annotated> {
    let value = object.annotation(name)?.to_owned();
    Some(Annotated { path: FieldPath::annotation(name), value })
}

/// One service of [`SSL_SERVICES`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SslService {
    /// `ssl-service`.
    pub service: Option<String>,
    /// `ssl-secret`.
    pub secret: Option<String>,
    /// `proxy-ssl-name`.
    pub name: Option<String>,
    /// Words that are none of these.
    pub unknown: Vec<String>,
}

/// The services of [`SSL_SERVICES`]: `;` between them, a space between the words of one.
pub fn ssl_services(object: &Object) -> Vec<SslService> {
    if !is_ingress(object) {
        return Vec::new();
    }
    let Some(text) = object.annotation(SSL_SERVICES) else { return Vec::new() };
    let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
    entries.take(MOST_SERVICES).map(ssl_service).collect()
}

/// No more services than this are read from one annotation.
const MOST_SERVICES: usize = 64;

fn ssl_service(entry: &str) -> SslService {
    let mut service = SslService::default();
    for word in entry.split_whitespace() {
        let place = match word.split_once('=') {
            Some(("ssl-service", value)) => Some((&mut service.service, value)),
            Some(("ssl-secret", value)) => Some((&mut service.secret, value)),
            Some(("proxy-ssl-name", value)) => Some((&mut service.name, value)),
            Some(("proxy-ssl-verify-depth", _)) => continue,
            _ => None,
        };
        match place {
            Some((place, value)) if !value.is_empty() => *place = Some(value.to_owned()),
            _ => service.unknown.push(word.to_owned()),
        }
    }
    service
}

/// The references in annotations of an Ingress.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    if !is_ingress(object) {
        return Vec::new();
    }
    let backend = Backend::read(object);
    let role = match &backend {
        Some(backend) if backend.verifies() => Role::VerifyingBackendClient,
        _ => Role::BackendClient,
    };
    let presented = backend.and_then(|it| it.secret).map(|at| (at, role));
    let trusted = Reader::of(object).and_then(|_| nginx(object, "auth-tls-secret"));
    let trusted = trusted.map(|at| (at, Role::IngressClientCa));
    let mut references: Vec<Reference> = presented
        .into_iter()
        .chain(trusted)
        .filter_map(|(at, role)| {
            let (of, secret) = namespace_and_name(&at.value)?;
            let weight = if of == namespace { Weight::Refuses } else { Weight::Warns };
            Some(Reference {
                path: at.path,
                namespace: of.to_owned(),
                holder: Holder::Secret,
                secret: secret.to_owned(),
                hosts: Vec::new(),
                role,
                weight,
            })
        })
        .collect();
    let services = ssl_services(object).into_iter().filter_map(|service| service.secret);
    references.extend(services.map(|secret| Reference {
        path: FieldPath::annotation(SSL_SERVICES),
        namespace: namespace.to_owned(),
        holder: Holder::Secret,
        secret,
        hosts: Vec::new(),
        role: Role::AlbClient,
        // The ALBs that read it are gone: today's controllers pass it over.
        weight: Weight::Warns,
    }));
    references
}

/// The parts of `namespace/name`, as ingress-nginx takes them: both, and no more.
pub fn namespace_and_name(text: &str) -> Option<(&str, &str)> {
    let (namespace, name) = text.split_once('/')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingress(class: &str, annotations: &serde_json::Value) -> Object {
        Object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"ingressClassName": class},
        }))
    }

    #[test]
    fn who_reads_follows_from_the_class() {
        let reader = |class: &str| Reader::of(&ingress(class, &json!({})));
        assert_eq!(reader("nginx"), Some(Reader::IngressNginx));
        assert_eq!(reader("public-iks-k8s-nginx"), Some(Reader::IngressNginx));
        assert_eq!(reader("public-iks-traefik"), Some(Reader::Traefik));
        assert_eq!(reader(""), Some(Reader::Unknown));
        assert_eq!(reader("internal"), Some(Reader::Unknown));
        assert_eq!(reader("traefik"), None);
        assert_eq!(reader("alb"), None);
        assert_eq!(reader("azure/application-gateway"), None);
    }

    #[test]
    fn several_ssl_services_are_told_apart() {
        let text = "ssl-service=a ssl-secret=a-tls proxy-ssl-name=a.example; ssl-service=b;;x=y z";
        let services = ssl_services(&ingress("", &json!({ SSL_SERVICES: text })));
        let [a, b, odd] = services.as_slice() else { panic!("{services:?}") };
        assert_eq!(a.service.as_deref(), Some("a"));
        assert_eq!(a.secret.as_deref(), Some("a-tls"));
        assert_eq!(a.name.as_deref(), Some("a.example"));
        assert_eq!((b.service.as_deref(), &b.secret), (Some("b"), &None));
        assert_eq!(odd.unknown, ["x=y", "z"]);
    }

    #[test]
    fn a_secret_of_another_namespace_only_warns() {
        let annotations = json!({
            "nginx.ingress.kubernetes.io/proxy-ssl-secret": "other/client",
            "nginx.ingress.kubernetes.io/proxy-ssl-verify": "on",
            "nginx.ingress.kubernetes.io/auth-tls-secret": "shop/ca",
        });
        let found = of(&ingress("nginx", &annotations), "shop");
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.namespace.as_str(), it.secret.as_str(), it.role, it.weight))
            .collect();
        assert_eq!(
            found,
            [
                ("other", "client", Role::VerifyingBackendClient, Weight::Warns),
                ("shop", "ca", Role::IngressClientCa, Weight::Refuses),
            ]
        );
        assert_eq!(of(&ingress("alb", &annotations), "shop"), []);
    }

    #[test]
    fn what_is_sent_as_server_name_differs_by_reader() {
        let of = |class: &str, name: Option<&str>, server_name: &str| {
            let backend = Backend::read(&ingress(
                class,
                &json!({
                    "nginx.ingress.kubernetes.io/proxy-ssl-secret": "shop/client",
                    "nginx.ingress.kubernetes.io/proxy-ssl-name": name,
                    "nginx.ingress.kubernetes.io/proxy-ssl-server-name": server_name,
                }),
            ));
            backend.unwrap().sni().map(str::to_owned)
        };
        assert_eq!(of("nginx", None, "on").as_deref(), Some(NGINX_DEFAULT_NAME));
        assert_eq!(of("nginx", Some("web"), "on").as_deref(), Some("web"));
        assert_eq!(of("nginx", Some("web"), "off"), None);
        assert_eq!(of("iks-traefik", None, "on").as_deref(), Some("on"));
        assert_eq!(of("iks-traefik", Some("web"), "off").as_deref(), Some("web"));
    }
}
