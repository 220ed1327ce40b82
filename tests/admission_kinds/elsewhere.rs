//! A Secret that is read from other namespaces: whoever writes it is warned for its readers, with their hosts, and never
//! refused, and the readers' side learns nothing of it without the right to read it.

use lasthop_tests::kubernetes::{Cluster, exclusively, secret_manifest};
use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::process::Finished;
use lasthop_tests::webhook::Webhook;
use lasthop_tests::workloads;
use serde_json::{Value, json};

use crate::{TLS, ca, cluster, gateway_pod, istio, leaf, object, server, store};

const HOST: &str = "web.example.com";

/// API groups and what is in them.
type Kinds<'a> = (&'a [&'a str], &'a [&'a str]);

const SECRETS: Kinds<'_> = (&[""], &["secrets"]);
const READERS: Kinds<'_> = (
    &["networking.k8s.io", "gateway.networking.k8s.io", "getambassador.io"],
    &["ingresses", "gateways", "hosts"],
);

/// The namespace of the readers, and the one of the Secret, whose owner has no right in the other.
struct Scene {
    cluster: &'static Cluster,
    edge: String,
    certs: String,
}

impl Scene {
    fn new(cluster: &'static Cluster, name: &str) -> Self {
        let scene = Self { cluster, edge: format!("{name}-edge"), certs: format!("{name}-certs") };
        cluster.namespace(&scene.edge, &[]);
        cluster.namespace(&scene.certs, &[]);
        scene.may("olga", &scene.certs, SECRETS);
        scene
    }

    /// Lets a person do as they like with these kinds of one namespace, and with nothing else.
    fn may(&self, who: &str, namespace: &str, (groups, kinds): Kinds<'_>) {
        let metadata = json!({ "namespace": namespace, "name": who });
        let rbac = "rbac.authorization.k8s.io";
        let version = format!("{rbac}/v1");
        let role = json!({
            "apiVersion": version, "kind": "Role", "metadata": metadata,
            "rules": [{ "apiGroups": groups, "resources": kinds, "verbs": ["*"] }],
        });
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": who },
            "subjects": [{ "apiGroup": rbac, "kind": "User", "name": who }],
        });
        let both = json!({ "apiVersion": "v1", "kind": "List", "items": [role, binding] });
        self.cluster.admitted(&both.to_string());
    }

    fn apply(&self, who: &str, object: &str) -> Finished {
        let who = format!("--as={who}");
        self.cluster.kubectl(&["apply", "-f", "-", &who]).input(object).run().expect_success()
    }

    /// The Secret's owner writes it, and what is said to it, without line breaks.
    fn written(&self, name: &str, (kind, data): (&str, &SecretData)) -> String {
        joined(&self.apply("olga", &secret_manifest(&self.certs, name, kind, data)).stderr)
    }

    /// The owner is warned of what breaks the reader, by its name and with this code, and of the deletion, and
    /// not of what is right.
    #[track_caller]
    fn is_warned_for(
        &self,
        (called, code): (&str, &str),
        name: &str,
        [right, broken]: [Written<'_>; 2],
    ) {
        assert_eq!(self.written(name, right), "", "renewed, and right for {called}");
        let told = self.written(name, broken);
        assert!(told.contains(&format!("Warning: {code}")), "{code}: {told}");
        assert!(told.contains(called) && told.contains(HOST), "{called}: {told}");

        let delete = ["delete", "secret", name, "-n", &self.certs, "--as=olga"];
        let gone = self.cluster.kubectl(&delete).run().expect_success();
        let gone = joined(&gone.stderr);
        assert!(gone.contains("Warning: LH215"), "{gone}");
        assert!(gone.contains(called) && gone.contains(HOST), "{called}: {gone}");
    }

    fn ingress(&self, class: &str, name: &str, annotations: &Value) -> String {
        let backend = json!({ "service": { "name": "web", "port": { "number": 443 } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "namespace": self.edge, "name": name, "annotations": annotations },
            "spec": {
                "ingressClassName": class, "rules": [{ "host": HOST, "http": { "paths": paths } }],
            },
        })
        .to_string()
    }

    fn annotated(&self, secret: &str) -> String {
        let secret = format!("{}/{secret}", self.certs);
        let annotations = json!({ "nginx.ingress.kubernetes.io/auth-tls-secret": secret });
        self.ingress("nginx", "web", &annotations)
    }

    fn gateway_of(&self, namespace: &str, secret: &str) -> String {
        let reference = json!({ "name": secret, "namespace": self.certs });
        let spec = json!({ "gatewayClassName": "example", "listeners": [{
            "name": "https", "hostname": HOST, "port": 443, "protocol": "HTTPS",
            "tls": { "certificateRefs": [reference] },
        }] });
        object(("gateway.networking.k8s.io/v1", "Gateway"), (namespace, "web"), spec)
    }

    fn gateway(&self, secret: &str) -> String {
        self.gateway_of(&self.edge, secret)
    }

    fn host(&self, secret: &str) -> String {
        let reference = json!({ "name": secret, "namespace": self.certs });
        let spec = json!({ "hostname": HOST, "tlsSecret": reference });
        object(("getambassador.io/v3alpha1", "Host"), (&self.edge, "web"), spec)
    }

    /// Lets the Gateways of the edge read all Secrets.
    fn grant(&self) {
        let from = json!([{
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": self.edge,
        }]);
        let spec = json!({ "from": from, "to": [{ "group": "", "kind": "Secret" }] });
        let kind = ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant");
        self.cluster.admitted(&object(kind, (&self.certs, "edge"), spec));
    }
}

/// The type of a Secret and its data.
type Written<'a> = (&'a str, &'a SecretData);

fn joined(told: &str) -> String {
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A client's certificate with the CAs that it believes, as `proxy-ssl-secret` has it.
fn client(pki: &Pki) -> SecretData {
    let mut data = pki.authority("clients").leaf().dns("edge").client_only().issue().secret();
    data.extend(ca(pki));
    data
}

#[test]
fn a_secret_that_annotations_elsewhere_name_is_warned_of_with_the_hosts() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let scene = Scene::new(cluster, "annotated");
    let pki = Pki::new();
    let (good, again) = (client(&pki), client(&pki));
    let mut mixed = client(&pki);
    mixed.insert("tls.key".to_owned(), good["tls.key"].clone());
    let named = |annotation: &str, secret: &str| {
        let annotation = format!("nginx.ingress.kubernetes.io/{annotation}");
        json!({
            annotation: format!("{}/{secret}", scene.certs),
            "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
        })
    };
    store(cluster, (&scene.certs, "client"), TLS, &good);
    cluster.admitted(&scene.ingress("nginx", "outward", &named("proxy-ssl-secret", "client")));
    // Nobody reads the annotations of this one.
    let other = named("proxy-ssl-secret", "client");
    cluster.admitted(&scene.ingress("haproxy", "left-over", &other));
    let outward = ("Ingress annotated-edge/outward", "LH115");
    scene.is_warned_for(outward, "client", [(TLS, &again), (TLS, &mixed)]);
    let told = scene.written("client", (TLS, &mixed));
    assert!(told.contains("outward") && !told.contains("left-over"), "{told}");

    let (good, again) = (ca(&pki), pki.authority("more-clients").ca_secret());
    let none = SecretData::from([("ca.crt".to_owned(), b"none yet".to_vec())]);
    store(cluster, (&scene.certs, "ca"), "Opaque", &good);
    cluster.admitted(&scene.ingress("nginx", "inward", &named("auth-tls-secret", "ca")));
    let inward = ("Ingress annotated-edge/inward", "LH129");
    let written = [("Opaque", &again), ("Opaque", &none)];
    scene.is_warned_for(inward, "ca", written);
    webhook.stop();
}

#[test]
fn a_secret_that_gateways_and_hosts_elsewhere_read_is_warned_of_with_the_hosts() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let scene = Scene::new(cluster, "served");
    let pki = Pki::new();
    let [good, again] = [(), ()].map(|()| leaf(&pki, HOST).secret());
    let broken = leaf(&pki, "other.example.com").secret();
    let written = [(TLS, &again), (TLS, &broken)];

    // Where the pods of an Istio Gateway are is where it looks.
    gateway_pod(cluster, "served-pods");
    let pods = Scene { cluster, edge: scene.edge.clone(), certs: "served-pods".to_owned() };
    pods.may("olga", &pods.certs, SECRETS);
    store(cluster, (&pods.certs, "istio"), TLS, &good);
    let gateway = istio("v1", (&scene.edge, &pods.certs), &[server(HOST, "SIMPLE", "istio")]);
    cluster.admitted(&gateway);
    pods.is_warned_for(("Gateway served-edge/served-pods", "LH204"), "istio", written);

    // Before anybody has opened it to them, it is nothing to a Gateway of Gateway API.
    store(cluster, (&scene.certs, "gate"), TLS, &good);
    cluster.admitted(&scene.gateway("gate"));
    assert_eq!(scene.written("gate", (TLS, &broken)), "");
    scene.grant();
    cluster.namespace("served-tenant", &[]);
    cluster.admitted(&scene.gateway_of("served-tenant", "gate"));
    scene.is_warned_for(("Gateway served-edge/web", "LH204"), "gate", written);
    let told = scene.written("gate", (TLS, &broken));
    assert!(told.contains("served-edge") && !told.contains("served-tenant"), "{told}");

    store(cluster, (&scene.certs, "host"), TLS, &good);
    cluster.admitted(&scene.host("host"));
    scene.is_warned_for(("Host served-edge/web", "LH204"), "host", written);
    webhook.stop();
}

#[test]
fn who_names_a_secret_elsewhere_learns_of_it_what_they_may_read() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let scene = Scene::new(cluster, "curious");
    scene.grant();
    for who in ["mallory", "trent"] {
        scene.may(who, &scene.edge, READERS);
    }
    let pki = Pki::new();
    store(cluster, (&scene.certs, "there"), TLS, &leaf(&pki, "other.example.com").secret());
    scene.may("trent", &scene.certs, SECRETS);
    for kind in [Scene::annotated, Scene::gateway, Scene::host] {
        // The same in an object of its own.
        let told = |who: &str, secret: &str| {
            let object = kind(&scene, secret).replace("\"web\"", &format!("\"{who}-{secret}\""));
            joined(&scene.apply(who, &object).stderr).replace(secret, "SECRET")
        };
        let there = told("mallory", "there");
        assert!(there.contains("Warning: LH901"), "nobody looked: {there}");
        assert!(!there.contains("other.example.com"), "{there}");
        assert_eq!(there, told("mallory", "gone"));

        let (there, gone) = (told("trent", "there"), told("trent", "gone"));
        assert!(gone.contains("Warning: LH201"), "{gone}");
        assert!(!there.contains("LH901") && !there.contains("LH201"), "{there}");
        assert!(there.contains("Warning: LH"), "{there}");
    }
    webhook.stop();
}

#[test]
fn who_connects_from_elsewhere_is_told_of_to_whoever_may_read_there() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let (front, back) = ("tier-front", "tier-back");
    for namespace in [front, back] {
        cluster.namespace(namespace, &["lasthop.dev/inject=enabled"]);
    }
    let pki = Pki::new();
    let (clients, servers) = (pki.authority("clients"), pki.authority("servers"));
    let served = servers.leaf().dns("web.tier-back.svc").issue();
    let client = clients.leaf().dns("front").client_only().issue();
    store(cluster, (back, "web-tls"), TLS, &served.secret());
    store(cluster, (back, "clients"), "Opaque", &clients.ca_secret());
    store(cluster, (front, "client"), TLS, &client.secret());
    store(cluster, (front, "servers"), "Opaque", &servers.ca_secret());
    let service = |port: u16| {
        let ports = json!([{ "port": port, "targetPort": 8443 }]);
        let spec = json!({ "selector": { "app": "web" }, "ports": ports });
        object(("v1", "Service"), (back, "web"), spec)
    };
    let server = |allowed: &str| {
        let annotations = json!({
            "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls",
            "lasthop.dev/client-ca-secret": "clients", "lasthop.dev/allowed-clients": allowed,
        });
        workloads::deployment(back, &annotations).to_string()
    };
    let connects = json!({
        "lasthop.dev/inject": "true",
        "lasthop.dev/upstreams": "9001=https://web.tier-back.svc:443",
        "lasthop.dev/upstream-client-secret": "client",
        "lasthop.dev/upstream-ca-secret": "servers",
    });
    cluster.admitted(&service(443));
    cluster.admitted(&server("dns:front"));
    let caller = cluster.admitted(&workloads::deployment(front, &connects).to_string());
    assert!(!caller.stderr.contains("LH6"), "the hop works: {caller}");

    let scene = Scene { cluster, edge: front.to_owned(), certs: back.to_owned() };
    for who in ["olga", "trent"] {
        scene.may(who, back, (&["apps", ""], &["deployments", "services"]));
    }
    scene.may("trent", front, SECRETS);
    for (changed, code) in [(service(8443), "LH606"), (server("dns:cart"), "LH604")] {
        let told = joined(&scene.apply("trent", &changed).stderr);
        assert!(told.contains(&format!("Warning: {code}")), "{code}: {told}");
        assert!(told.contains("Deployment tier-front/web"), "{told}");
        for before in [service(443), server("dns:front")] {
            let told = cluster.admitted(&before);
            assert!(!told.stderr.contains("LH6"), "as it was: {told}");
        }
        let told = joined(&scene.apply("olga", &changed).stderr);
        assert!(!told.contains("tier-front"), "{told}");
        cluster.admitted(&service(443));
    }
    webhook.stop();
}
