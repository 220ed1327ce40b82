//! The ALB presents its own public server certificate as client certificate, Secrets come in three
//! forms, and the Host that it asks for is not in the sidecar's certificate.

use lasthop_tests::curl::Curl;
use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::openssl::SClient;
use lasthop_tests::pki::{Authority, Issued, Pki};
use lasthop_tests::pod::PodOnHost;
use lasthop_tests::webhook::Webhook;
use serde_json::Value;

use super::support::{create_pod, example, object, request, run, store};

const NAMESPACE: &str = "httptools";
const GATEWAY: &str = "mycluster-a1b2c3-0001.us-south.containers.appdomain.cloud";
const ALB: &str = "*.mycluster-a1b2c3-0000.us-south.containers.appdomain.cloud";
const HOST: &str = "httpbin.mycluster-a1b2c3-0000.us-south.containers.appdomain.cloud";

#[test]
fn the_alb_comes_in_with_its_server_certificate_and_nobody_else_does() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let _webhook = Webhook::on(cluster, &[]);
    cluster.admitted(&example("iks-alb-httpbin/namespace.yaml"));
    let pki = Pki::new();
    let public = pki.public_authority();
    let gateway = public.leaf().dns(GATEWAY).server_only().issue();
    let alb = public.leaf().dns(ALB).server_only().issue();
    let tls = "kubernetes.io/tls";
    store(cluster, (NAMESPACE, "gateway-secret"), tls, &gateway.secret());
    store(cluster, (NAMESPACE, "alb-secret"), tls, &alb.secret());
    store(cluster, (NAMESPACE, "alb-certs"), "Opaque", &alb.alb_secret(&public));
    store(cluster, (NAMESPACE, "gateway-secret-cacert"), "Opaque", &public.ca_secret());

    let mut presented = alb.secret();
    presented.extend(public.ca_secret());
    store(cluster, (NAMESPACE, "alb-client"), "Opaque", &presented);

    mistakes_are_refused(cluster);
    cluster.admitted(&example("iks-alb-httpbin/ingress.yaml"));
    cluster.admitted(&object("iks-alb-httpbin/workload.yaml", "Service").to_string());

    let deployment = || object("iks-alb-httpbin/workload.yaml", "Deployment");
    let with = |annotation: &str, secret: &str| {
        let mut deployment = deployment();
        deployment["spec"]["template"]["metadata"]["annotations"][annotation] = secret.into();
        deployment
    };
    let forms = [
        ("tls and companion", deployment()),
        ("alb-certs to serve", with("lasthop.dev/tls-secret", "alb-certs")),
        ("alb-certs to trust", with("lasthop.dev/client-ca-secret", "alb-certs")),
    ];
    for (form, deployment) in forms {
        let serves_alb = form == "alb-certs to serve";
        let pod = create_pod(cluster, deployment);
        let mut running = run(cluster, &pod);
        let (name, server) = if serves_alb { (HOST, &alb) } else { (GATEWAY, &gateway) };
        the_alb_is_let_in(&running, name, server, &alb);
        strangers_are_not(&mut running, name, server, &public, &pki);
    }
    plain_pods_stay_plain(cluster);
}

/// The forms of the ALB of old and of that of today are not the same, nor is how they name a Secret.
fn mistakes_are_refused(cluster: &Cluster) {
    let with = |name: &str, value: &str| {
        let mut ingress = object("iks-alb-httpbin/ingress.yaml", "Ingress");
        ingress["metadata"]["annotations"][name] = value.into();
        ingress.to_string()
    };
    let secret = "nginx.ingress.kubernetes.io/proxy-ssl-secret";
    let old = "ingress.bluemix.net/ssl-services";
    let one = |secret: &str| format!("ssl-service=httpbin ssl-secret={secret}");
    let told = [
        ("LH221", cluster.refused(&with(secret, "alb-client"))),
        ("LH203", cluster.refused(&with(secret, "httptools/alb-certs"))),
        ("LH201", cluster.refused(&with(secret, "httptools/alb-cilent"))),
    ];
    for (code, told) in told {
        assert!(told.contains(code), "{code}: {told}");
    }
    let off = cluster.admitted(&with("nginx.ingress.kubernetes.io/proxy-ssl-verify", "true"));
    assert!(off.stderr.contains("Warning: LH220"), "{off}");
    // No ALB of today reads the old annotation, so what is wrong in it refuses nothing.
    for (code, secret) in [("LH201", "alb-cerst"), ("LH203", "gateway-secret")] {
        let told = cluster.admitted(&with(old, &one(secret)));
        assert!(told.stderr.contains(&format!("Warning: {code}")), "{told}");
    }
    let several = format!("{};ssl-service=other", one("alb-certs"));
    let unverified = cluster.admitted(&with(old, &several));
    assert!(unverified.stderr.contains("Warning: LH231"), "{unverified}");
    cluster.kubectl(&["delete", "ingress", "alb-ingress", "-n", NAMESPACE]).run().expect_success();
}

fn the_alb_is_let_in(pod: &PodOnHost, name: &str, server: &Issued, alb: &Issued) {
    let call = |curl: Curl| curl.client(&alb.files()).header(&format!("Host: {HOST}")).run();
    let answer = call(request(pod, name, server)).expect(200).json();
    let told = answer.to_string();
    assert!(told.contains(&alb.fingerprint()), "the application knows the client: {told}");
    assert!(told.contains(HOST), "the edge's host passes unchanged: {told}");
    for version in ["-tls1_2", "-tls1_3"] {
        let client = SClient::to(pod.tls).sni(name).client(&alb.files()).option(version, None);
        let handshake = client.request(HOST, "/status/418").run();
        assert!(handshake.output.contains("418"), "{version}: {handshake:?}");
    }
}

fn strangers_are_not(
    pod: &mut PodOnHost,
    name: &str,
    server: &Issued,
    public: &Authority,
    pki: &Pki,
) {
    let neighbour = public.leaf().dns("alb.other-cluster.example").server_only().issue();
    let private = pki.authority("somebody").leaf().dns(ALB).issue();
    for (client, code) in [(&neighbour, "LH511"), (&private, "LH503")] {
        request(pod, name, server).client(&client.files()).run().expect_refused();
        pod.sidecar.wait_for_line(|line| line.contains(code));
    }
    request(pod, name, server).run().expect_refused();
    pod.sidecar.wait_for_line(|line| line.contains("LH501"));
}

/// Services with and without a sidecar live side by side.
fn plain_pods_stay_plain(cluster: &Cluster) {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&example("iks-alb-httpbin/workload.yaml"))
            .expect("an example is YAML");
    let plain =
        objects.into_iter().find(|it| it["metadata"]["name"] == "plain").expect("it is there");
    cluster.admitted(&plain.to_string());
    let pod = lasthop_tests::pod::pod_of(&plain).to_string();
    let created = cluster.kubectl(&["create", "-o", "json", "-f", "-"]).input(pod).run();
    let created = created.expect_success().stdout;
    assert!(!created.contains("lasthop"), "{created}");
}
