//! The AVI Kubernetes Operator: one certificate a host by SNI, a missing Secret said at apply, the
//! document's script with a SAN, plain HTTP redirected, logs that show the TLS parameters.

use lasthop_tests::curl::Curl;
use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::openssl::{SClient, version_1};
use lasthop_tests::webhook::Webhook;

use super::support::{create_pod, create_secret, example, object, run, store};

const HOST: &str = "hackazon.avi.iberia.local";
const SHOP: &str = "shop.avi.iberia.local";

#[test]
fn a_missing_secret_is_said_at_apply_and_sni_chooses_the_certificate() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let _webhook = Webhook::on(cluster, &[]);
    cluster.admitted(&example("ako-hackazon/namespace.yaml"));

    let missing = cluster.refused(&example("ako-hackazon/ingress.yaml"));
    assert!(missing.contains("LH201"), "{missing}");
    assert!(
        missing.contains("hackazon-secret") && missing.contains("spec.tls[0].secretName"),
        "{missing}"
    );
    let old = example("ako-hackazon/ingress.yaml")
        .replace("networking.k8s.io/v1", "networking.k8s.io/v1beta1");
    assert!(cluster.refused(&old).contains("no matches for kind"), "the API server's own refusal");

    what_the_document_makes_is_named(cluster);

    let subject = format!("/C=ES/ST=Madrid/O=Iberia Lab/OU=Iberia/CN={HOST}");
    let home = tempfile::TempDir::new().expect("a temporary directory can be made");
    let out = home.path().display().to_string();
    let steps =
        create_secret(cluster, &["hackazon", &subject, "hackazon", "--ca", "lab", "--out", &out]);
    assert!(steps.contains("Step 1"), "{steps}");
    create_secret(
        cluster,
        &["shop", &format!("/CN={SHOP}"), "hackazon", "--ca", "lab", "--out", &out],
    );
    cluster.admitted(&example("ako-hackazon/ingress.yaml"));
    cluster.admitted(&object("ako-hackazon/workload.yaml", "Service").to_string());

    let pod = create_pod(cluster, object("ako-hackazon/workload.yaml", "Deployment"));
    let mut running = run(cluster, &pod);
    let root = home.path().join("ca/lab/ca.crt");
    for host in [HOST, SHOP] {
        let handshake =
            SClient::to(running.tls).sni(host).trust(&root).request(host, "/status/200").run();
        assert!(handshake.subject().is_some_and(|it| it.contains(host)), "{handshake:?}");
        assert_eq!(handshake.verify_code(), Some(0), "{handshake:?}");
        Curl::get(&format!("https://{host}/headers"))
            .at(running.tls)
            .trust(&root)
            .run()
            .expect(200);
        let log =
            running.sidecar.wait_for_line(|line| line.contains(host) && line.contains("/headers"));
        assert!(
            log.contains("TLS13") || log.contains("TLSv1.3") || log.contains("TLSv1_3"),
            "{log}"
        );
    }
    let without_sni = SClient::to(running.tls).request(HOST, "/status/200").run();
    assert!(
        without_sni.subject().is_some_and(|it| it.contains(HOST)),
        "the first serves: {without_sni:?}"
    );

    let redirect = running.redirect.expect("the pod redirects");
    let answer = Curl::get(&format!("http://{HOST}/cart?id=1")).at(redirect).run();
    assert_eq!(
        answer.header("location"),
        Some(format!("https://{HOST}/cart?id=1").as_str()),
        "{answer:?}"
    );
}

/// The document signs a request without extensions, which makes X.509 version 1 without any SAN.
fn what_the_document_makes_is_named(cluster: &Cluster) {
    let (certificate, key) = version_1(HOST);
    let data = [("tls.crt", certificate), ("tls.key", key)];
    let data = data.map(|(name, text)| (name.to_owned(), text.into_bytes())).into();
    store(cluster, ("hackazon", "hackazon-secret"), "kubernetes.io/tls", &data);
    let said = cluster.admitted(&example("ako-hackazon/ingress.yaml")).stderr;
    assert!(said.contains("LH119"), "a controller may serve it, with a warning: {said}");
    let deployment = object("ako-hackazon/workload.yaml", "Deployment").to_string();
    let refused = cluster.refused(&deployment);
    assert!(refused.contains("LH119"), "the sidecar cannot: {refused}");
    cluster.kubectl(&["delete", "ingress", "hackazon", "-n", "hackazon"]).run().expect_success();
}
