//! Two teams, two namespaces, two hosts with generic Secrets and CAs of their own: the client of one
//! is refused at the other, and a new key pair is picked up without a restart.

use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::pki::Pki;
use lasthop_tests::pod::PodOnHost;
use lasthop_tests::webhook::Webhook;

use super::support::{create_pod, example, object, request, run, store, sync};

const FRONTEND: &str = "frontend.foocorp.com";
const INVENTORY: &str = "inventory.foocorp.com";

#[test]
fn each_team_lets_its_own_clients_in_and_nobody_elses() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let _webhook = Webhook::on(cluster, &[]);
    cluster.admitted(&example("istio-foocorp/namespaces.yaml"));

    let pki = Pki::new();
    let [ux, corp] = ["ux-ca", "corp-services-ca"].map(|name| pki.authority(name));
    let frontend = ux.leaf().dns(FRONTEND).server_only().issue();
    let inventory = corp.leaf().dns(INVENTORY).server_only().issue();
    let frontend_client = ux.leaf().dns(FRONTEND).client_only().issue();
    let inventory_client = corp.leaf().dns(INVENTORY).client_only().issue();

    let missing = cluster.refused(&object("istio-foocorp/frontend.yaml", "Deployment").to_string());
    assert!(missing.contains("LH201") && missing.contains("frontend-credential"), "{missing}");

    store(cluster, ("ux", "frontend-credential"), "Opaque", &frontend.generic_secret(&ux));
    let place = ("corp-services", "inventory-credential");
    store(cluster, place, "Opaque", &inventory.generic_secret(&corp));
    let pod = |file: &str| {
        cluster.admitted(&object(file, "Service").to_string());
        create_pod(cluster, object(file, "Deployment"))
    };
    let frontend_pod = pod("istio-foocorp/frontend.yaml");
    let inventory_pod = pod("istio-foocorp/inventory.yaml");
    let mut frontend_running = run(cluster, &frontend_pod);
    let mut inventory_running = run(cluster, &inventory_pod);

    let own =
        request(&frontend_running, FRONTEND, &frontend).client(&frontend_client.files()).run();
    let told = own.expect(200).text();
    assert!(told.contains("DNS=frontend.foocorp.com"), "{told}");
    let own = request(&inventory_running, INVENTORY, &inventory).client(&inventory_client.files());
    own.run().expect(200);

    let strange =
        request(&inventory_running, INVENTORY, &inventory).client(&frontend_client.files());
    strange.run().expect_refused();
    reason(&mut inventory_running, "LH503");
    let strange = request(&frontend_running, FRONTEND, &frontend).client(&inventory_client.files());
    strange.run().expect_refused();
    reason(&mut frontend_running, "LH503");

    let renewed = ux.leaf().dns(FRONTEND).server_only().issue();
    store(cluster, ("ux", "frontend-credential"), "Opaque", &renewed.generic_secret(&ux));
    sync(cluster, &frontend_pod, &mut frontend_running);
    frontend_running.sidecar.wait_for_line(|line| line.contains("taken into use"));
    let again = request(&frontend_running, FRONTEND, &renewed).client(&frontend_client.files());
    again.run().expect(200);
}

fn reason(pod: &mut PodOnHost, code: &str) {
    pod.sidecar.wait_for_line(|line| line.contains(code));
}
