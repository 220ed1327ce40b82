//! Ambassador with cert-manager: the Ingress comes minutes before its Secret, and certificates are
//! renewed often, without a dropped connection.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::kubernetes::{Cluster, exclusively, secret_manifest};
use lasthop_tests::pki::{Issued, Pki, Validity};
use lasthop_tests::process::wait_until;
use lasthop_tests::webhook::Webhook;
use serde_json::Value;

use super::support::{create_pod, example, object, request, run, sync};

const HOST: &str = "hello.example.com";
/// What the sidecar logs once a changed Secret serves.
const TAKEN: &str = "a changed Secret was taken into use";

#[test]
fn the_ingress_comes_first_and_renewals_drop_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let _webhook = Webhook::on(cluster, &[]);
    cluster.admitted(&example("ambassador-helloworld/namespace.yaml"));

    let early = cluster.admitted(&example("ambassador-helloworld/ingress.yaml")).stderr;
    assert!(early.contains("Warning:") && early.contains("hello-example-com-tls"), "{early}");

    // Before cert-manager has so much as seen the Ingress.
    let early = cluster.admitted(&example("ambassador-helloworld/workload.yaml")).stderr;
    assert!(early.contains("Ingress ambassador/helloworld asks for it"), "{early}");

    let pki = Pki::new();
    let authority = pki.authority("letsencrypt-staging-dns");
    let short = || {
        authority.leaf().dns(HOST).server_only().valid(Validity::for_seconds(6 * 86_400)).issue()
    };
    let first = short();
    cluster.admitted(&as_cert_manager_writes(&first));
    let pod = create_pod(cluster, object("ambassador-helloworld/workload.yaml", "Deployment"));
    let mut running = run(cluster, &pod);
    let told = request(&running, HOST, &first).run().expect(200).json().to_string();
    assert!(
        told.to_lowercase().contains("x-forwarded-proto"),
        "the original scheme is told: {told}"
    );

    let (done, failed, stop) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let tls = running.tls;
    let call_on = || {
        while !stop.load(Ordering::Relaxed) {
            let curl = lasthop_tests::curl::Curl::get(&format!("https://{HOST}/bytes/10"));
            let good = curl.at(tls).trust(first.files().root).run().status == 200;
            (if good { &done } else { &failed }).fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(call_on);
        let _stop = SetAtEnd(&stop);
        for round in 1..=3 {
            let renewed = short();
            cluster.admitted(&as_cert_manager_writes(&renewed));
            sync(cluster, &pod, &mut running);
            let reloads =
                |lines: &[String]| lines.iter().filter(|line| line.contains(TAKEN)).count();
            wait_until("the renewed certificate is taken", || {
                reloads(&running.sidecar.lines()) >= round
            });
            let enough = done.load(Ordering::Relaxed) + 5;
            wait_until("requests go on", || done.load(Ordering::Relaxed) >= enough);
        }
    });
    assert_eq!(failed.into_inner(), 0, "of {} requests", done.into_inner());
}

/// The Secret with the annotation by which cert-manager knows its own.
fn as_cert_manager_writes(issued: &Issued) -> String {
    let data = issued.secret();
    let manifest =
        secret_manifest("ambassador", "hello-example-com-tls", "kubernetes.io/tls", &data);
    let mut secret: Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
    secret["metadata"]["annotations"]["cert-manager.io/certificate-name"] =
        "hello-example-com".into();
    secret.to_string()
}
