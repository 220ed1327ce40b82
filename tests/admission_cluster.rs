//! `lasthop serve` in front of a real API server, asked with real kubectl: what people see of it,
//! and what must never be held up.

use std::time::Instant;

use lasthop_tests::kubernetes::{Cluster, exclusively, root, secret_manifest};
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Finished, PATIENCE, Program};
use lasthop_tests::webhook::{Webhook, configurations};
use serde_json::{Value, json};
use tempfile::TempDir;

const HOST: &str = "web.example.com";

fn ingress(namespace: &str, secret: &str) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "tls": [{ "hosts": [HOST], "secretName": secret }],
            "rules": [{ "host": HOST, "http": { "paths": paths } }],
        },
    })
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": { "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" },
        },
        "spec": {
            "containers": [{
                "name": "web",
                "image": "web:1",
                "ports": [{ "containerPort": 8080 }],
            }],
        },
    })
}

fn deployment(namespace: &str, annotations: Value) -> Value {
    let mut template = pod(namespace, "web");
    template["metadata"] = json!({ "labels": { "app": "web" }, "annotations": annotations });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": template["metadata"], "spec": template["spec"] },
        },
    })
}

/// The Secret that the Ingress above needs.
fn good_secret(namespace: &str, name: &str) -> String {
    let leaf = Pki::new().authority("web").leaf().dns(HOST).issue();
    secret_manifest(namespace, name, "kubernetes.io/tls", &leaf.secret())
}

/// kubectl with these arguments and an object on standard input.
fn kubectl(cluster: &Cluster, arguments: &[&str], object: &Value) -> Finished {
    cluster.kubectl(arguments).input(object.to_string()).run()
}

#[test]
fn an_ingress_that_cannot_work_is_refused_in_words_and_admitted_once_it_can() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "refused";
    cluster.namespace(namespace, &[]);
    cluster.admitted(&good_secret(namespace, "app-router-tls"));

    let wrong = ingress(namespace, "router-tls");
    let told = cluster.refused(&wrong.to_string());
    for words in ["denied the request", "LH201", "spec.tls[0].secretName", "app-router-tls"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Every other way in says the same.
    for arguments in [
        ["create", "-f", "-", "--validate=strict"],
        ["apply", "-f", "-", "--server-side"],
        ["replace", "-f", "-", "--force"],
    ] {
        let refused = kubectl(cluster, &arguments, &wrong);
        assert!(refused.stderr.contains("LH201"), "{arguments:?}: {refused}");
    }
    let right = ingress(namespace, "app-router-tls");
    let admitted = cluster.admitted(&right.to_string());
    assert_eq!(admitted.stderr, "", "{admitted}");

    // A dry-run of both: the same apply might have brought the Secret.
    let dry = kubectl(cluster, &["apply", "-f", "-", "--dry-run=server"], &wrong).expect_success();
    assert!(dry.stderr.contains("Warning: LH"), "{dry}");
    let stored = cluster.get(&["ingress", "web", "-n", namespace]);
    assert_eq!(stored["spec"]["tls"], right["spec"]["tls"]);

    // Two who apply one field: of the conflict the API server tells, of what is wrong lasthop.
    let apply = |manager: &str, object: &Value| {
        let arguments = ["apply", "-f", "-", "--server-side", manager];
        kubectl(cluster, &arguments, object)
    };
    let take = ["apply", "-f", "-", "--server-side", "--field-manager=team", "--force-conflicts"];
    kubectl(cluster, &take, &right).expect_success();
    let conflict = apply("--field-manager=platform", &wrong);
    assert!(!conflict.status.success(), "{conflict}");
    assert!(conflict.stderr.contains("conflict with \"team\""), "{conflict}");
    assert!(!conflict.stderr.contains("LH"), "{conflict}");
    let force =
        ["apply", "-f", "-", "--server-side", "--field-manager=platform", "--force-conflicts"];
    let refused = kubectl(cluster, &force, &wrong);
    assert!(refused.stderr.contains("LH201"), "{refused}");
    apply("--field-manager=team", &right).expect_success();
    webhook.stop();
}

#[test]
fn what_was_broken_before_can_be_worked_on_and_what_goes_away_goes() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let namespace = "before";
    cluster.namespace(namespace, &[]);
    // All this was there before lasthop was.
    cluster.admitted(&ingress(namespace, "gone").to_string());
    cluster
        .admitted(&deployment(namespace, json!({ "lasthop.dev/inject": "perhaps" })).to_string());
    let webhook = Webhook::on(cluster, &[]);

    let label = ["label", "ingress/web", "deployment/web", "-n", namespace, "team=shop"];
    cluster.kubectl(&label).run().expect_success();
    let scale = ["scale", "deployment/web", "-n", namespace, "--replicas=3"];
    cluster.kubectl(&scale).run().expect_success();
    let image = ["set", "image", "deployment/web", "-n", namespace, "web=web:2"];
    cluster.kubectl(&image).run().expect_success();
    // One more error is one too many.
    let worse = deployment(
        namespace,
        json!({ "lasthop.dev/inject": "perhaps", "lasthop.dev/tls-sceret": "web-tls" }),
    );
    let told = cluster.refused(&worse.to_string());
    assert!(told.contains("tls-sceret"), "{told}");

    // A finalizer keeps the Ingress, on its way out, for whoever has to let go of it.
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    let patch = ["patch", "ingress", "web", "-n", namespace, "--type=merge", "-p"];
    cluster.kubectl(&[&patch[..], &[hold]].concat()).run().expect_success();
    let delete = ["delete", "ingress/web", "deployment/web", "-n", namespace, "--wait=false"];
    cluster.kubectl(&delete).run().expect_success();
    let release = r#"{"metadata":{"finalizers":null},"spec":{"tls":[{"secretName":"other"}]}}"#;
    cluster.kubectl(&[&patch[..], &[release]].concat()).run().expect_success();
    let left = cluster.kubectl(&["get", "ingress,deployment", "-n", namespace, "-o", "name"]).run();
    assert_eq!(left.expect_success().stdout, "");
    webhook.stop();
}

#[test]
fn what_is_legal_or_about_to_be_passes() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "legal";
    cluster.namespace(namespace, &[]);
    cluster.admitted(&good_secret(namespace, "web-tls"));
    let leaf = Pki::new().authority("web").leaf().dns(HOST).issue();
    let opaque = secret_manifest(namespace, "opaque-tls", "Opaque", &leaf.secret());
    cluster.admitted(&opaque);
    let shapes = [
        json!([{ "hosts": [HOST] }]),
        json!([{ "secretName": "web-tls" }]),
        json!([{ "hosts": [HOST], "secretName": "opaque-tls" }]),
        json!([]),
        Value::Null,
    ];
    let mut legal = ingress(namespace, "");
    for shape in shapes {
        legal["spec"]["tls"] = shape;
        let admitted = cluster.admitted(&legal.to_string());
        assert_eq!(admitted.stderr, "", "{legal}: {admitted}");
    }

    // cert-manager answers a challenge with an Ingress of its own, beside one that waits for the Secret.
    let mut solver = ingress(namespace, "not-yet");
    solver["metadata"]["name"] = json!("cm-acme-http-solver-x7k2p");
    solver["metadata"]["labels"] = json!({ "acme.cert-manager.io/http01-solver": "true" });
    cluster.admitted(&solver.to_string());
    let mut waits = ingress(namespace, "not-yet");
    waits["metadata"]["name"] = json!("waits");
    waits["metadata"]["annotations"] = json!({ "cert-manager.io/cluster-issuer": "letsencrypt" });
    let told = cluster.admitted(&waits.to_string()).stderr;
    assert!(told.contains("Warning: LH202"), "{told}");
    // Minutes later.
    cluster.admitted(&good_secret(namespace, "not-yet"));
    waits["metadata"]["annotations"]["team"] = json!("shop");
    assert_eq!(cluster.admitted(&waits.to_string()).stderr, "");
    webhook.stop();
}

#[test]
fn the_deletion_of_a_namespace_is_never_held_up() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let mut webhook = Webhook::on(cluster, &[]);
    let namespace = "leaving";
    cluster.namespace(namespace, &["lasthop.dev/inject=enabled", "lasthop.dev/validate=enforce"]);
    cluster.admitted(&good_secret(namespace, "web-tls"));
    cluster.admitted(&ingress(namespace, "web-tls").to_string());
    cluster.admitted(&pod(namespace, "web").to_string());

    // A person who deletes a Secret that is in use is told, and may.
    let secret = cluster.kubectl(&["delete", "secret", "web-tls", "-n", namespace]).run();
    assert!(secret.clone().expect_success().stderr.contains("Warning: LH"), "{secret}");
    cluster.admitted(&good_secret(namespace, "web-tls"));

    // There is no controller here to empty the namespace: kubectl takes its part, and its name.
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]).run().expect_success();
    let controller = "--as=system:serviceaccount:kube-system:namespace-controller";
    for kind in ["secrets", "ingresses", "pods"] {
        let group = "--as-group=system:masters";
        let gone = ["delete", kind, "--all", "-n", namespace, "--wait=false", controller, group];
        let gone = cluster.kubectl(&gone).run().expect_success();
        assert!(!gone.stderr.contains("Warning"), "{gone}");
    }
    assert!(webhook.process().is_running());
    webhook.stop();
}

#[test]
fn a_pod_that_asks_gets_the_sidecar_and_no_other_is_touched() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("asking", &["lasthop.dev/inject=enabled"]);
    cluster.namespace("silent", &[]);
    cluster.namespace("strict", &["lasthop.dev/inject=required"]);
    for namespace in ["asking", "silent"] {
        cluster.admitted(&good_secret(namespace, "web-tls"));
    }

    cluster.admitted(&pod("asking", "web").to_string());
    let stored = cluster.get(&["pod", "web", "-n", "asking"]);
    let sidecar = &stored["spec"]["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always", "{stored:#}");
    assert!(sidecar.to_string().contains("LASTHOP_CONFIG"), "{sidecar:#}");
    let dry = ["apply", "-f", "-", "--dry-run=server", "-o", "json"];
    let dry = kubectl(cluster, &dry, &pod("asking", "dry")).expect_success();
    assert!(dry.stdout.contains("LASTHOP_CONFIG"), "{dry}");
    let sent = kubectl(cluster, &["apply", "-f", "-", "--server-side"], &pod("asking", "sent"));
    sent.expect_success();
    let sent = cluster.get(&["pod", "sent", "-n", "asking"]);
    assert_eq!(sent["spec"]["initContainers"].as_array().map(Vec::len), Some(1), "{sent:#}");

    let mut plain = pod("asking", "plain");
    plain["metadata"]["annotations"] = json!({});
    cluster.admitted(&plain.to_string());
    let plain = cluster.get(&["pod", "plain", "-n", "asking"]);
    assert!(plain["spec"].get("initContainers").is_none(), "{plain:#}");

    let told = cluster.admitted(&pod("silent", "web").to_string()).stderr;
    assert!(told.contains("Warning") && told.contains("not labelled"), "{told}");
    let silent = cluster.get(&["pod", "web", "-n", "silent"]);
    assert!(silent["spec"].get("initContainers").is_none(), "{silent:#}");

    let mut without = pod("strict", "without");
    without["metadata"]["annotations"] = json!({});
    let told = cluster.refused(&without.to_string());
    assert!(told.contains("requires the sidecar"), "{told}");
    // Whoever applies a workload is told, and not only its controller, later.
    let told = cluster.refused(&deployment("strict", json!({})).to_string());
    assert!(told.contains("LH311") && told.contains("spec.template.metadata"), "{told}");
    webhook.stop();
}

#[test]
fn a_workload_with_a_wrong_annotation_is_refused_where_a_person_types_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("typing", &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&good_secret("typing", "web-tls"));
    let wrong = json!({
        "lasthop.dev/inject": "true",
        "lasthop.dev/tls-secret": "web-tls",
        "lasthop.dev/client-aut": "required",
    });
    let told = cluster.refused(&deployment("typing", wrong).to_string());
    assert!(told.contains("client-aut") && told.contains("`lasthop.dev/client-auth`"), "{told}");
    let missing = json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tsl" });
    let told = cluster.refused(&deployment("typing", missing).to_string());
    assert!(told.contains("web-tsl") && told.contains("web-tls"), "{told}");
    let right = json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" });
    let admitted = cluster.admitted(&deployment("typing", right).to_string());
    assert_eq!(admitted.stderr, "", "{admitted}");
    webhook.stop();
}

#[test]
fn a_secret_is_judged_by_those_who_read_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "readers";
    cluster.namespace(namespace, &[]);
    cluster.admitted(&good_secret(namespace, "web-tls"));
    cluster.admitted(&ingress(namespace, "web-tls").to_string());
    let pki = Pki::new();
    let elsewhere = pki.authority("web").leaf().dns("elsewhere.example.com").issue();
    let elsewhere = elsewhere.secret();
    let told =
        cluster.refused(&secret_manifest(namespace, "web-tls", "kubernetes.io/tls", &elsewhere));
    assert!(told.contains(HOST) && told.contains("Ingress"), "{told}");
    // Nobody reads this one.
    cluster.admitted(&secret_manifest(namespace, "other", "kubernetes.io/tls", &elsewhere));
    webhook.stop();
}

#[test]
fn a_second_ingress_with_another_secret_for_a_host_is_warned_of_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "rivals";
    cluster.namespace(namespace, &[]);
    for secret in ["web-tls", "api-tls"] {
        cluster.admitted(&good_secret(namespace, secret));
    }
    let told = |name: &str, secret: &str, class: &str| {
        let mut object = ingress(namespace, secret);
        object["metadata"]["name"] = name.into();
        object["spec"]["ingressClassName"] = class.into();
        cluster.admitted(&object.to_string()).stderr
    };
    assert_eq!(told("web", "web-tls", "nginx"), "");
    assert_eq!(told("shares", "web-tls", "nginx"), "");
    assert_eq!(told("internal", "api-tls", "nginx-internal"), "");
    let warned = told("api", "api-tls", "nginx");
    assert!(warned.contains("Warning: LH236 spec.tls[0].hosts[0]"), "{warned}");
    assert!(warned.contains("Secret `web-tls` in Ingress `shares`"), "{warned}");
    // Whoever goes on to work on it has heard it.
    let label = ["label", "ingress", "api", "-n", namespace, "team=api"];
    assert_eq!(cluster.kubectl(&label).run().expect_success().stderr, "");
    webhook.stop();
}

#[test]
fn a_namespace_says_what_findings_do_and_a_floor_stands_below_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    cluster.namespace("warned", &["lasthop.dev/validate=warn"]);
    cluster.namespace("left-alone", &["lasthop.dev/validate=off"]);
    let webhook = Webhook::on(cluster, &[]);
    let told = cluster.admitted(&ingress("warned", "none").to_string()).stderr;
    assert!(told.contains("Warning: LH201"), "{told}");
    let told = cluster.admitted(&ingress("left-alone", "none").to_string()).stderr;
    assert_eq!(told, "");
    webhook.stop();
    for namespace in ["warned", "left-alone"] {
        cluster.kubectl(&["delete", "ingress", "web", "-n", namespace]).run().expect_success();
    }
    let webhook = Webhook::on(cluster, &["--minimum-validate", "enforce"]);
    for namespace in ["warned", "left-alone"] {
        let told = cluster.refused(&ingress(namespace, "none").to_string());
        assert!(told.contains("LH201"), "{told}");
    }
    webhook.stop();
}

#[test]
fn what_lasthop_cannot_look_at_is_let_through_with_a_word() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let rendered = cluster.kubectl(&["kustomize"]).arg(root().join("manifests/base")).run();
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&rendered.expect_success().stdout).unwrap();
    let kinds = ["Namespace", "ServiceAccount", "ClusterRole", "Role"];
    objects.retain(|object| {
        kinds.iter().any(|kind| object["kind"].as_str().is_some_and(|it| it.starts_with(kind)))
    });
    for object in &mut objects {
        if object["kind"] == "ClusterRole" {
            let rules = object["rules"].as_array_mut().unwrap();
            rules.retain(|rule| !rule["resources"].to_string().contains("\"secrets\""));
        }
        cluster.admitted(&object.to_string());
    }
    let home = TempDir::new().unwrap();
    let kubeconfig = home.path().join("kubeconfig");
    cluster.kubeconfig_of("lasthop-system", "lasthop", &kubeconfig);
    cluster.namespace("unseen", &[]);
    let mut process = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--kubeconfig"])
        .arg(&kubeconfig)
        .start();
    let address = process.address("webhook");
    let kubectl = |arguments: &[&str]| cluster.kubectl(arguments);
    for configuration in configurations(&kubectl, address, b"").unwrap() {
        cluster.admitted(&configuration.to_string());
    }
    let wanted = ingress("unseen", "nobody-can-say");
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        // Until the API server has seen the configuration, it is admitted without a word.
        let told = cluster.admitted(&wanted.to_string()).stderr;
        if told.contains("Warning") {
            break told;
        }
        assert!(Instant::now() < deadline, "no warning came");
        cluster.kubectl(&["delete", "ingress", "web", "-n", "unseen"]).run().expect_success();
    };
    assert!(told.contains("nobody-can-say") && told.contains("no right"), "{told}");
    let log = process.wait_for_log(|it| it["message"] == "a look at the cluster failed");
    assert!(log["error"].as_str().unwrap().contains("cannot get resource"), "{log}");
}

#[test]
fn nobody_learns_of_another_namespace_what_they_may_not_read() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("mine", &[]);
    cluster.namespace("theirs", &[]);
    let grant = |namespace: &str, resource: &str| {
        let resource = format!("--resource={resource}");
        let role =
            ["create", "role", "alice", "-n", namespace, "--verb=get,create,patch", &resource];
        cluster.kubectl(&role).run().expect_success();
        let binding =
            ["create", "rolebinding", "alice", "-n", namespace, "--role=alice", "--user=alice"];
        cluster.kubectl(&binding).run().expect_success();
    };
    grant("mine", "ingresses.networking.k8s.io");
    // The webhook has seen it, as it sees every Secret that is made.
    cluster.admitted(&good_secret("theirs", "their-tls"));
    let wanted = ingress("mine", "their-tls");
    let told = cluster.refused(&wanted.to_string());
    assert!(told.contains("`theirs`"), "an administrator may read everything: {told}");
    let alice = ["apply", "-f", "-", "--as=alice"];
    let refused = kubectl(cluster, &alice, &wanted).stderr;
    assert!(refused.contains("LH201") && !refused.contains("theirs"), "{refused}");
    // The same words as for one that is nowhere.
    let nowhere = kubectl(cluster, &alice, &ingress("mine", "nowh-ere")).stderr;
    assert_eq!(refused.replace("their-tls", "nowh-ere"), nowhere.replace("their-tls", "nowh-ere"));
    grant("theirs", "secrets");
    let refused = kubectl(cluster, &alice, &wanted).stderr;
    assert!(refused.contains("`theirs`"), "{refused}");
    webhook.stop();
}

#[test]
fn an_outage_stops_only_the_pods_that_ask_for_the_sidecar() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("outage", &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&good_secret("outage", "web-tls"));
    drop(webhook); // killed, with the webhook configurations left behind

    let mut plain = pod("outage", "plain");
    plain["metadata"]["annotations"] = json!({});
    cluster.admitted(&plain.to_string());
    cluster.admitted(&deployment("outage", json!({})).to_string());
    cluster.admitted(&ingress("outage", "web-tls").to_string());
    cluster.admitted(&good_secret("outage", "web-tls"));
    let refused = cluster.refused(&pod("outage", "asks").to_string());
    assert!(refused.contains("failed calling webhook \"pods.inject.lasthop.dev\""), "{refused}");
}

#[test]
fn the_names_of_secrets_are_known_from_reviews_or_from_a_list_where_that_is_wished() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    cluster.kubectl(&["delete", "validatingwebhookconfiguration", "--all"]).run().expect_success();
    cluster.namespace("names", &[]);
    cluster.admitted(&good_secret("names", "there-before-lasthop"));
    let wanted = ingress("names", "there-before-lastop").to_string();

    let webhook = Webhook::on(cluster, &[]);
    let told = cluster.refused(&wanted);
    assert!(!told.contains("there-before-lasthop"), "nobody has shown it: {told}");
    let label = ["label", "secret", "there-before-lasthop", "-n", "names", "shown=now"];
    cluster.kubectl(&label).run().expect_success();
    let told = cluster.refused(&wanted);
    assert!(told.contains("there-before-lasthop"), "a review has shown it: {told}");
    let hide = ["delete", "secret", "there-before-lasthop", "-n", "names"];
    cluster.kubectl(&hide).run().expect_success();
    let told = cluster.refused(&wanted);
    assert!(!told.contains("there-before-lasthop"), "it is gone: {told}");
    webhook.stop();

    cluster.kubectl(&["delete", "validatingwebhookconfiguration", "--all"]).run().expect_success();
    cluster.admitted(&good_secret("names", "there-before-lasthop"));
    let webhook = Webhook::on(cluster, &["--nearest-name-list"]);
    let told = cluster.refused(&wanted);
    assert!(told.contains("there-before-lasthop"), "it is listed: {told}");
    webhook.stop();
}

#[test]
fn where_a_kubelet_is_older_than_native_sidecars_the_sidecar_is_an_ordinary_container() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    cluster.namespace("old-node", &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&good_secret("old-node", "web-tls"));
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "old" } });
    cluster.admitted(&node.to_string());
    let version = r#"{"status":{"nodeInfo":{"kubeletVersion":"v1.28.15-distro.1"}}}"#;
    let patch = ["patch", "node", "old", "--subresource=status", "--type=merge", "-p", version];
    cluster.kubectl(&patch).run().expect_success();

    let placed = |arguments: &[&str], name: &str| {
        let webhook = Webhook::on(cluster, arguments);
        cluster.admitted(&pod("old-node", name).to_string());
        webhook.stop();
        let stored = cluster.get(&["pod", name, "-n", "old-node"]);
        let count = |list: &str| stored["spec"][list].as_array().map_or(0, Vec::len);
        (count("initContainers"), count("containers"))
    };
    assert_eq!(placed(&[], "asked"), (0, 2));
    assert_eq!(placed(&["--cluster-version", "1.33"], "told"), (1, 1));
    cluster.kubectl(&["delete", "node", "old"]).run().expect_success();
    assert_eq!(placed(&[], "gone"), (1, 1));
}

#[test]
fn a_service_is_told_the_name_of_the_sidecars_port_where_services_see_it_and_else_its_number() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let namespace = "named-ports";
    cluster.namespace(namespace, &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&good_secret(namespace, "web-tls"));
    let asks = json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" });
    cluster.admitted(&deployment(namespace, asks).to_string());
    let told = |arguments: &[&str], target: Value| {
        let webhook = Webhook::on(cluster, arguments);
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": namespace, "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 443, "targetPort": target }] },
        });
        let told = cluster.admitted(&service.to_string()).stderr;
        webhook.stop();
        cluster.kubectl(&["delete", "service", "web", "-n", namespace]).run().expect_success();
        told
    };
    let old = ["--cluster-version", "1.32"];
    assert!(told(&[], json!(8080)).contains("`targetPort: lasthop-8443`"));
    assert!(told(&old, json!(8080)).contains("`targetPort: 8443`"));
    assert_eq!(told(&[], json!("lasthop-8443")), "");
    let unseen = told(&old, json!("lasthop-8443"));
    assert!(unseen.contains("LH335") && unseen.contains("`targetPort: 8443`"), "{unseen}");
    assert_eq!(told(&old, json!(8443)), "");
}

#[test]
fn what_a_service_is_to_be_changed_to_is_told_to_who_applies_the_workload_and_is_enough() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let namespace = "moved-ports";
    cluster.namespace(namespace, &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&good_secret(namespace, "web-tls"));
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 443, "targetPort": 8080 }] },
    });
    cluster.admitted(&service.to_string());
    let webhook = Webhook::on(cluster, &[]);
    let applied = |revision: &str| {
        let asks = json!({
            "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls", "example.com/revision": revision,
        });
        cluster.admitted(&deployment(namespace, asks).to_string()).stderr
    };
    let told = applied("1");
    let (_, cure) = told.split_once("`targetPort: ").expect(&told);
    let (target, _) = cure.split_once('`').expect(&told);
    let patch = json!({ "spec": { "ports": [{ "port": 443, "targetPort": target }] } }).to_string();
    let patched =
        cluster.kubectl(&["patch", "service", "web", "-n", namespace, "-p", &patch]).run();
    assert_eq!(patched.expect_success().stderr, "");
    assert_eq!(applied("2"), "");
    webhook.stop();
}
