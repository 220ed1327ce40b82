//! Gateways, Hosts, HostRules and Certificates in front of a real API server: what cannot work is refused with the right
//! code, what can is admitted without a word, and a Secret is judged by all that read it.

use std::sync::OnceLock;

use lasthop_tests::kubernetes::{Cluster, exclusively, secret_manifest};
use lasthop_tests::pki::{Issued, Pki, SecretData};
use lasthop_tests::process::Finished;
use lasthop_tests::webhook::Webhook;
use serde_json::{Value, json};

mod admission_kinds {
    mod elsewhere;
}

const TLS: &str = "kubernetes.io/tls";

/// The cluster with the kinds of other projects installed.
fn cluster() -> Option<&'static Cluster> {
    /// Once: two that create the same object are a conflict for one of them.
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared()?;
    INSTALLED.get_or_init(|| {
        cluster.admitted(include_str!("cases/custom-resources.yaml"));
        let wait = ["wait", "crd", "--all", "--for=condition=established", "--timeout=60s"];
        cluster.kubectl(&wait).run().expect_success();
    });
    Some(cluster)
}

fn object(kind: (&str, &str), place: (&str, &str), spec: Value) -> String {
    let ((api_version, kind), (namespace, name)) = (kind, place);
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": { "namespace": namespace, "name": name }, "spec": spec,
    })
    .to_string()
}

fn store(cluster: &Cluster, place: (&str, &str), kind: &str, data: &SecretData) -> Finished {
    cluster.admitted(&secret_manifest(place.0, place.1, kind, data))
}

#[track_caller]
fn refused(cluster: &Cluster, object: &str, code: &str) -> String {
    let told = cluster.refused(object);
    assert!(told.contains(code), "{code}: {told}");
    told
}

#[track_caller]
fn warned(cluster: &Cluster, object: &str, code: &str) {
    let told = cluster.admitted(object);
    assert!(told.stderr.contains(&format!("Warning: {code}")), "{code}: {told}");
}

#[track_caller]
fn silent(cluster: &Cluster, object: &str) {
    let told = cluster.admitted(object);
    assert_eq!(told.stderr, "", "{told}");
}

fn ca(pki: &Pki) -> SecretData {
    pki.authority("clients").ca_secret()
}

fn leaf(pki: &Pki, host: &str) -> Issued {
    pki.authority("edge").leaf().dns(host).issue()
}

/// A pod that an Istio Gateway selects.
fn gateway_pod(cluster: &Cluster, namespace: &str) {
    cluster.namespace(namespace, &[]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": "gateway", "labels": { "istio": namespace } },
        "spec": { "containers": [{ "name": "istio-proxy", "image": "proxy:1" }] },
    });
    cluster.admitted(&pod.to_string());
}

fn server(host: &str, mode: &str, credential: &str) -> Value {
    json!({
        "port": { "number": 443, "name": format!("https-{credential}"), "protocol": "HTTPS" },
        "tls": { "mode": mode, "credentialName": credential },
        "hosts": [host],
    })
}

/// A Gateway of the namespace `team` whose pods have that label.
fn istio(version: &str, (team, pods): (&str, &str), servers: &[Value]) -> String {
    let spec = json!({ "selector": { "istio": pods }, "servers": servers });
    let kind = format!("networking.istio.io/{version}");
    object((&kind, "Gateway"), (team, pods), spec)
}

#[test]
fn two_teams_share_an_istio_gateway() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("foocorp", &[]);
    let pods = "foocorp-system";
    gateway_pod(cluster, pods);
    let pki = Pki::new();
    let (frontend, inventory) =
        (leaf(&pki, "frontend.foocorp.com"), leaf(&pki, "inventory.foocorp.com"));
    let clients = pki.authority("clients");
    let both = |version: &str| {
        let servers = [
            server("frontend.foocorp.com", "MUTUAL", "frontend-credential"),
            server("inventory.foocorp.com", "MUTUAL", "inventory-credential"),
        ];
        istio(version, ("foocorp", pods), &servers)
    };

    // Made beside the Gateway, where nobody reads it.
    let generic = frontend.generic_secret(&clients);
    store(cluster, ("foocorp", "frontend-credential"), "Opaque", &generic);
    let told = refused(cluster, &both("v1"), "LH201");
    assert!(told.contains("namespace `foocorp-system`"), "it says where was looked: {told}");
    store(cluster, (pods, "frontend-credential"), "Opaque", &generic);
    // Without the CA that verifies the clients.
    store(cluster, (pods, "inventory-credential"), TLS, &inventory.secret());
    refused(cluster, &both("v1alpha3"), "LH240");
    store(cluster, (pods, "inventory-credential-cacert"), "Opaque", &ca(&pki));
    for version in ["v1", "v1beta1", "v1alpha3"] {
        silent(cluster, &both(version));
    }

    // Each other's host.
    let crossed = [server("inventory.foocorp.com", "MUTUAL", "frontend-credential")];
    refused(cluster, &istio("v1", ("foocorp", pods), &crossed), "LH204");
    // The Gateway is of another namespace: it has no veto.
    let other = leaf(&pki, "other.foocorp.com").generic_secret(&clients);
    warned(cluster, &secret_manifest(pods, "frontend-credential", "Opaque", &other), "LH204");
    let gone = ["delete", "secret", "inventory-credential", "-n", pods];
    let gone = cluster.kubectl(&gone).run().expect_success().stderr;
    assert!(gone.contains("LH215") && gone.contains("inventory.foocorp.com"), "{gone}");

    // Nobody knows where the Secrets of pods are that are nowhere.
    warned(
        cluster,
        &istio("v1", ("foocorp", "nobody"), &[server("a.example", "SIMPLE", "none")]),
        "LH901",
    );
    webhook.stop();
}

#[test]
fn the_gateway_behind_an_ibm_alb_verifies_it_with_a_companion() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("httptools", &[]);
    let pods = "iks-istio-system";
    gateway_pod(cluster, pods);
    let pki = Pki::new();
    let host = "mycluster-a1b2c3-0001.us-south.containers.appdomain.cloud";
    store(cluster, (pods, "gateway-secret"), TLS, &leaf(&pki, host).secret());
    let gateway =
        istio("v1alpha3", ("httptools", pods), &[server(host, "MUTUAL", "gateway-secret")]);
    refused(cluster, &gateway, "LH240");
    // `--from-file=trusted.crt` keeps the file's name as the key.
    let public = pki.public_authority();
    let trusted = SecretData::from([("trusted.crt".to_owned(), public.root_pem().into_bytes())]);
    store(cluster, (pods, "gateway-secret-cacert"), "Opaque", &trusted);
    refused(cluster, &gateway, "LH101");
    store(cluster, (pods, "gateway-secret-cacert"), "Opaque", &public.ca_secret());
    silent(cluster, &gateway);
    webhook.stop();
}

#[test]
fn a_tenant_learns_nothing_of_the_secrets_of_the_gateways_pods() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("tenant", &[]);
    let pods = "hidden-system";
    gateway_pod(cluster, pods);
    let pki = Pki::new();
    store(cluster, (pods, "there"), TLS, &leaf(&pki, "other.example.com").secret());
    let role = [
        "create",
        "role",
        "gateways",
        "-n",
        "tenant",
        "--verb=get,create,patch",
        "--resource=gateways.networking.istio.io",
    ];
    cluster.kubectl(&role).run().expect_success();
    let binding =
        ["create", "rolebinding", "gateways", "-n", "tenant", "--role=gateways", "--user=alice"];
    cluster.kubectl(&binding).run().expect_success();
    let told = |secret: &str| {
        let gateway = istio("v1", ("tenant", pods), &[server("web.example.com", "SIMPLE", secret)]);
        let applied = cluster.kubectl(&["apply", "-f", "-", "--as=alice"]).input(gateway).run();
        applied.expect_success().stderr
    };
    let there = told("there");
    assert!(there.contains("LH901"), "{there}");
    assert_eq!(there.replace("`there`", "`gone`"), told("gone"));
    webhook.stop();
}

#[test]
fn a_gateway_of_gateway_api_names_secrets_of_its_own_or_with_a_grant() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("edge", &[]);
    cluster.namespace("edge-certs", &[]);
    let pki = Pki::new();
    let gateway = |reference: Value| {
        let spec = json!({ "gatewayClassName": "example", "listeners": [{
            "name": "https", "hostname": "web.example.com", "port": 443, "protocol": "HTTPS",
            "tls": { "certificateRefs": [reference] },
        }] });
        object(("gateway.networking.k8s.io/v1", "Gateway"), ("edge", "web"), spec)
    };
    let own = gateway(json!({ "name": "web-tls" }));
    refused(cluster, &own, "LH201");
    store(cluster, ("edge", "web-tls"), TLS, &leaf(&pki, "other.example.com").secret());
    refused(cluster, &own, "LH204");
    store(cluster, ("edge", "web-tls"), TLS, &leaf(&pki, "web.example.com").secret());
    silent(cluster, &own);
    let wrong = leaf(&pki, "other.example.com").secret();
    let told = refused(cluster, &secret_manifest("edge", "web-tls", TLS, &wrong), "LH204");
    let words: Vec<&str> = told.split_whitespace().collect();
    assert!(words.join(" ").contains("Gateway edge/web reads it"), "{told}");

    store(cluster, ("edge-certs", "web-tls"), TLS, &leaf(&pki, "web.example.com").secret());
    let other = gateway(json!({ "name": "web-tls", "namespace": "edge-certs" }));
    warned(cluster, &other, "LH242");
    let grant = json!({
        "from": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "edge" }],
        "to": [{ "group": "", "kind": "Secret", "name": "web-tls" }],
    });
    let kind = ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant");
    cluster.admitted(&object(kind, ("edge-certs", "edge"), grant));
    let again = other.replace("\"example\"", "\"example-2\"");
    silent(cluster, &again);
    webhook.stop();
}

#[test]
fn an_ambassador_host_waits_for_its_certificate() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "ambassador-kinds";
    cluster.namespace(namespace, &[]);
    let host = |tls: Value| {
        let spec = json!({
            "hostname": "hello.example.com", "tlsSecret": { "name": "hello-tls" }, "tls": tls,
            "requestPolicy": { "insecure": { "action": "Redirect" } },
        });
        object(("getambassador.io/v3alpha1", "Host"), (namespace, "hello"), spec)
    };
    let certificate = |name: &str| {
        let spec = json!({
            "secretName": "hello-tls", "dnsNames": [name],
            "issuerRef": { "name": "letsencrypt", "kind": "ClusterIssuer" },
        });
        object(("cert-manager.io/v1", "Certificate"), (namespace, "hello"), spec)
    };
    // Nothing makes it yet.
    refused(cluster, &host(json!({})), "LH201");
    silent(cluster, &certificate("hello.example.com"));
    warned(cluster, &host(json!({})), "LH202");
    warned(cluster, &certificate("helo.example.com"), "LH243");
    silent(cluster, &certificate("hello.example.com"));
    let pki = Pki::new();
    let hello = leaf(&pki, "hello.example.com").secret();
    store(cluster, (namespace, "hello-tls"), TLS, &hello);

    // Ambassador reads the CA under another key than everybody else.
    store(cluster, (namespace, "client-ca"), "Opaque", &ca(&pki));
    let verifying = host(json!({ "ca_secret": "client-ca" }));
    let told = refused(cluster, &verifying, "LH101");
    assert!(told.contains("--from-file=tls.crt"), "{told}");
    let authority = pki.authority("clients").root_pem().into_bytes();
    let under_its_name = SecretData::from([("tls.crt".to_owned(), authority)]);
    store(cluster, (namespace, "client-ca"), "Opaque", &under_its_name);
    silent(cluster, &verifying);
    webhook.stop();
}

#[test]
fn a_host_rule_of_ako_names_a_secret_or_the_controllers_own() {
    let Some(cluster) = cluster() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "ako-kinds";
    cluster.namespace(namespace, &[]);
    let rule = |kind: &str| {
        let certificate = json!({ "name": "hackazon-secret", "type": kind });
        let spec = json!({ "virtualhost": {
            "fqdn": "hackazon.avi.iberia.local", "tls": { "sslKeyCertificate": certificate },
        } });
        object(("ako.vmware.com/v1beta1", "HostRule"), (namespace, "hackazon"), spec)
    };
    silent(cluster, &rule("ref"));
    refused(cluster, &rule("secret"), "LH201");
    let pki = Pki::new();
    let secret = leaf(&pki, "hackazon.avi.iberia.local").secret();
    let mut mixed = leaf(&pki, "hackazon.avi.iberia.local").secret();
    mixed.insert("tls.key".to_owned(), secret["tls.key"].clone());
    store(cluster, (namespace, "hackazon-secret"), TLS, &mixed);
    refused(cluster, &rule("secret"), "LH115");
    store(cluster, (namespace, "hackazon-secret"), TLS, &secret);
    silent(cluster, &rule("secret"));
    refused(cluster, &secret_manifest(namespace, "hackazon-secret", TLS, &mixed), "LH115");
    webhook.stop();
}
