//! `lasthop check --cluster` and `lasthop rehearse --cluster` against a real API server, as a person
//! with a kubeconfig.

use std::path::PathBuf;

use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::{Cluster, secret_manifest};
use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::process::{Finished, Program};
use serde_json::{Value, json};
use tempfile::TempDir;

fn lasthop(cluster: &Cluster, arguments: &[&str]) -> Finished {
    Program::ours("lasthop").args(arguments).env("KUBECONFIG", cluster.kubeconfig()).run()
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name, "labels": {"app": "web"},
            "annotations": {
                "lasthop.dev/inject": "true",
                "lasthop.dev/tls-secret": "web-tls",
                "lasthop.dev/client-ca-secret": "alb-ca",
                "lasthop.dev/allowed-clients": "dns:alb.example.com",
            },
        },
        "spec": {"containers": [
            {"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]},
        ]},
    })
}

fn ingress(namespace: &str, secret: &str) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 443}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": "web"},
        "spec": {
            "tls": [{"hosts": ["web.example.com"], "secretName": secret}],
            "rules": [{"host": "web.example.com", "http": {"paths": paths}}],
        },
    })
}

/// Two namespaces: one with everything right but a pod that has no sidecar, one whose Ingress names a
/// Secret that is not there.
fn populate(cluster: &Cluster, pki: &Pki, shop: &str, blog: &str) {
    let leaf = pki.authority("web").leaf().dns("web.example.com").issue();
    let authority = pki.authority("alb-ca");
    cluster.namespace(shop, &["lasthop.dev/inject=enabled"]);
    cluster.admitted(&secret_manifest(shop, "web-tls", "kubernetes.io/tls", &leaf.secret()));
    cluster.admitted(&secret_manifest(shop, "alb-ca", "Opaque", &authority.ca_secret()));
    cluster.admitted(&ingress(shop, "web-tls").to_string());
    cluster.admitted(&pod(shop, "web").to_string());
    cluster.namespace(blog, &[]);
    cluster.admitted(&ingress(blog, "web-tsl").to_string());
    cluster.admitted(&secret_manifest(blog, "web-tls", "kubernetes.io/tls", &leaf.secret()));
    // A megabyte that is none of ours.
    let release = SecretData::from([("release".to_owned(), vec![b'x'; 100_000])]);
    cluster.admitted(&secret_manifest(
        blog,
        "sh.helm.release.v1.web",
        "helm.sh/release.v1",
        &release,
    ));
}

#[test]
fn a_cluster_is_audited_namespace_by_namespace_in_one_order() {
    let Some(cluster) = Cluster::shared() else { return };
    let pki = Pki::new();
    populate(cluster, &pki, "audit-shop", "audit-blog");
    let one = lasthop(cluster, &["check", "--cluster", "-n", "audit-shop"]);
    assert_eq!(one.code(), 1, "{}{}", one.stdout, one.stderr);
    let varying = [Varying::Times];
    golden::check("cases/audit/shop.txt", &shown(&one.stdout), &varying);
    let all = lasthop(cluster, &["check", "--cluster", "-o", "json"]);
    assert_eq!(all.code(), 1, "{}", all.stderr);
    assert_eq!(all.stderr, "", "no progress where nobody watches");
    let report: Value = serde_json::from_str(&all.stdout).unwrap();
    let found: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["code"].as_str().unwrap(), it["object"]["namespace"].as_str().unwrap()))
        .collect();
    let first = found.iter().position(|it| *it == ("LH201", "audit-blog")).unwrap();
    let second = found.iter().position(|it| *it == ("LH603", "audit-shop")).unwrap();
    assert!(first < second, "{found:?}");
    assert_eq!(lasthop(cluster, &["check", "--cluster", "-o", "json"]).stdout, all.stdout);
}

/// The finding and its help; line numbers depend on what the API server fills in.
fn shown(text: &str) -> String {
    let is_number = |line: &str| line.trim_start().starts_with(|it: char| it.is_ascii_digit());
    let lines = text.lines().filter(|line| !line.contains(" --> ") && !is_number(line));
    lines.map(str::trim_start).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn who_may_not_read_secrets_is_told_so_and_nothing_is_called_missing() {
    let Some(cluster) = Cluster::shared() else { return };
    let pki = Pki::new();
    populate(cluster, &pki, "audit-blind", "audit-blind-too");
    let home = TempDir::with_prefix("lasthop-audit-").unwrap();
    let file: PathBuf = home.path().join("kubeconfig");
    cluster
        .kubectl(&["create", "serviceaccount", "viewer", "-n", "audit-blind"])
        .run()
        .expect_success();
    let bind = "create rolebinding viewer -n audit-blind --clusterrole=view --serviceaccount=audit-blind:viewer";
    let bind: Vec<&str> = bind.split(' ').collect();
    cluster.kubectl(&bind).run().expect_success();
    cluster.kubeconfig_of("audit-blind", "viewer", &file);
    let ask = |arguments: &[&str]| {
        Program::ours("lasthop").args(arguments).env("KUBECONFIG", &file).run()
    };
    let told = ask(&["check", "--cluster", "-n", "audit-blind", "-o", "json"]);
    assert_eq!(told.code(), 2, "{}{}", told.stdout, told.stderr);
    let all = ask(&["check", "--cluster"]);
    assert_eq!(all.code(), 2);
    assert!(all.stderr.contains("could not list the namespaces"), "{}", all.stderr);
    assert!(!told.stdout.contains("LH201"), "{}", told.stdout);
}

#[test]
fn a_client_is_rehearsed_against_what_the_cluster_holds() {
    let Some(cluster) = Cluster::shared() else { return };
    let pki = Pki::new();
    populate(cluster, &pki, "audit-rehearse", "audit-rehearse-too");
    let stranger = pki.authority("stranger").leaf().dns("alb.example.com").issue().files().chain;
    let stranger = stranger.display().to_string();
    let to = ["rehearse", "--cluster", "--to", "audit-rehearse/web", "--client", &stranger];
    let told = lasthop(cluster, &[&to[..], &["-o", "json"]].concat());
    assert_eq!(told.code(), 1, "{}{}", told.stdout, told.stderr);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["code"], "LH503");
    assert_eq!(told["path"], "metadata.annotations[lasthop.dev/client-ca-secret]");
}

#[test]
fn without_a_way_to_a_cluster_the_error_says_where_was_looked() {
    let home = TempDir::with_prefix("lasthop-audit-").unwrap();
    let told = Program::ours("lasthop")
        .args(["check", "--cluster", "--kubeconfig", "/nonexistent"])
        .env("HOME", home.path())
        .run();
    assert_eq!(told.code(), 2);
    assert!(told.stderr.contains("/nonexistent"), "{}", told.stderr);
}
