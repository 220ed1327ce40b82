//! `lasthop check --cluster` and `lasthop rehearse --cluster` against a real API server, as a person
//! with a kubeconfig.

use std::path::PathBuf;

use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::{Cluster, exclusively, secret_manifest};
use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::process::{Finished, Program, built};
use lasthop_tests::skip;
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
    let _turn = exclusively();
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
    let _turn = exclusively();
    let pki = Pki::new();
    populate(cluster, &pki, "audit-blind", "audit-blind-too");
    let home = TempDir::with_prefix("lasthop-audit-").unwrap();
    let file: PathBuf = home.path().join("kubeconfig");
    cluster
        .kubectl(&["create", "serviceaccount", "viewer", "-n", "audit-blind"])
        .run()
        .expect_success();
    // Everything that the audit lists but Secrets.
    let all = "namespaces,configmaps,pods,services,limitranges,resourcequotas,\
               replicationcontrollers,deployments.apps,replicasets.apps,statefulsets.apps,\
               daemonsets.apps,jobs.batch,cronjobs.batch,ingresses.networking.k8s.io";
    let role = format!("create role viewer -n audit-blind --verb=get,list --resource={all}");
    let bind = "create rolebinding viewer -n audit-blind --role=viewer \
                --serviceaccount=audit-blind:viewer";
    for line in [role.as_str(), bind] {
        let words: Vec<&str> = line.split(' ').collect();
        cluster.kubectl(&words).run().expect_success();
    }
    cluster.kubeconfig_of("audit-blind", "viewer", &file);
    let ask = |arguments: &[&str]| {
        Program::ours("lasthop").args(arguments).env("KUBECONFIG", &file).run()
    };
    let told = ask(&["check", "--cluster", "-n", "audit-blind", "-o", "json"]);
    assert_eq!(told.code(), 2, "{}{}", told.stdout, told.stderr);
    let why = "error: secrets of namespace audit-blind: the API server does not let lasthop: ";
    assert!(told.stderr.contains(why), "{}", told.stderr);
    let all = ask(&["check", "--cluster"]);
    assert_eq!(all.code(), 2);
    assert!(all.stderr.contains("could not list the namespaces"), "{}", all.stderr);
    assert!(!told.stdout.contains("LH201"), "{}", told.stdout);
    let found = places(&told.stdout);
    assert_eq!(
        found,
        [
            "LH901 Ingress spec.tls[0].secretName",
            "LH603 Pod metadata.annotations[lasthop.dev/inject]"
        ]
    );
}

fn custom(kind: (&str, &str), place: (&str, &str), spec: &Value) -> Value {
    let ((api_version, kind), (namespace, name)) = (kind, place);
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// What of other projects names a Secret: in `team` objects, in `certs` Secrets, in `pods` the pods of an
/// Istio gateway with its Secrets.
fn kinds(team: &str, certs: &str, pods: &str) -> [Value; 7] {
    let server = |host: &str, secret: &str| {
        json!({
            "port": {"number": 443, "name": format!("https-{secret}"), "protocol": "HTTPS"},
            "tls": {"mode": "SIMPLE", "credentialName": secret}, "hosts": [host],
        })
    };
    let listener = |name: &str, reference: Value| {
        json!({
            "name": name, "hostname": "web.example.com", "port": 443, "protocol": "HTTPS",
            "tls": {"certificateRefs": [reference]},
        })
    };
    let rule = json!({"name": "no-such-tls", "type": "secret"});
    let route = json!({"termination": "edge", "externalCertificate": {"name": "other-tls"}});
    let servers = [server("a.example.com", "no-such-tls"), server("web.example.com", "other-tls")];
    let listeners = [
        listener("own", json!({"name": "no-such-tls"})),
        listener("granted", json!({"name": "other-tls", "namespace": certs})),
    ];
    let grant = json!({
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": team}],
        "to": [{"group": "", "kind": "Secret"}],
    });
    let of = |kind: (&str, &str), spec: Value| custom(kind, (team, "edge"), &spec);
    [
        of(
            ("networking.istio.io/v1", "Gateway"),
            json!({"selector": {"istio": pods}, "servers": servers}),
        ),
        of(
            ("gateway.networking.k8s.io/v1", "Gateway"),
            json!({"gatewayClassName": "example", "listeners": listeners}),
        ),
        custom(("gateway.networking.k8s.io/v1beta1", "ReferenceGrant"), (certs, "team"), &grant),
        of(
            ("getambassador.io/v3alpha1", "Host"),
            json!({"hostname": "web.example.com", "tlsSecret": {"name": "other-tls"}}),
        ),
        of(
            ("ako.vmware.com/v1beta1", "HostRule"),
            json!({"virtualhost": {"fqdn": "web.example.com", "tls": {"sslKeyCertificate": rule}}}),
        ),
        of(
            ("route.openshift.io/v1", "Route"),
            json!({"host": "web.example.com", "tls": route, "to": {"name": "web"}}),
        ),
        of(
            ("cert-manager.io/v1", "Certificate"),
            json!({
                "secretName": "other-tls", "dnsNames": ["other.example.com"],
                "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"},
            }),
        ),
    ]
}

#[test]
fn the_kinds_of_other_projects_are_audited_wherever_their_secrets_are() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let (team, certs, pods) = ("audit-team", "audit-certs", "audit-pods");
    let other = Pki::new().authority("web").leaf().dns("other.example.com").issue();
    for namespace in [team, certs, pods] {
        cluster.namespace(namespace, &[]);
        let secret = secret_manifest(namespace, "other-tls", "kubernetes.io/tls", &other.secret());
        cluster.admitted(&secret);
    }
    let mut gateway = pod(pods, "gateway");
    gateway["metadata"] = json!({"namespace": pods, "name": "gateway", "labels": {"istio": pods}});
    cluster.admitted(&gateway.to_string());
    // None of the kinds is installed: nothing of them is there, and nothing is amiss.
    let before = lasthop(cluster, &["check", "--cluster", "-n", team]);
    assert_eq!((before.code(), before.stderr.as_str()), (0, ""), "{before}");

    cluster.admitted(include_str!("cases/custom-resources.yaml"));
    let wait = ["wait", "crd", "--all", "--for=condition=established", "--timeout=60s"];
    cluster.kubectl(&wait).run().expect_success();
    for object in kinds(team, certs, pods) {
        cluster.admitted(&object.to_string());
    }
    let audit = ["check", "--cluster", "-n", team, "-o", "json"];
    let told = lasthop(cluster, &audit);
    assert_eq!((told.code(), told.stderr.as_str()), (1, ""), "{told}");
    let expected = [
        "LH201 Gateway spec.servers[0].tls.credentialName",
        "LH204 Gateway spec.servers[1].hosts[0]",
        "LH201 Gateway spec.listeners[0].tls.certificateRefs[0].name",
        "LH204 Gateway spec.listeners[1].hostname",
        "LH204 Host spec.hostname",
        "LH201 HostRule spec.virtualhost.tls.sslKeyCertificate.name",
        "LH204 Route spec.host",
    ];
    let found = places(&told.stdout);
    for place in expected {
        assert!(found.contains(&place.to_owned()), "{place}: {found:#?}");
    }
    assert!(!told.stdout.contains("LH901"), "everything can be looked at: {found:#?}");
    assert!(told.stdout.contains("does not exist in namespace `audit-pods`"), "{told}");

    // Who may look into one namespace is told what that leaves open, and nothing else.
    let home = TempDir::with_prefix("lasthop-audit-").unwrap();
    let file = home.path().join("kubeconfig");
    let account = ["create", "serviceaccount", "owner", "-n", team];
    cluster.kubectl(&account).run().expect_success();
    let account = format!("--serviceaccount={team}:owner");
    let role = "--clusterrole=cluster-admin";
    let bind = ["create", "rolebinding", "owner", "-n", team, role, &account];
    cluster.kubectl(&bind).run().expect_success();
    cluster.kubeconfig_of(team, "owner", &file);
    let told = Program::ours("lasthop").args(audit).env("KUBECONFIG", &file).run();
    let found = places(&told.stdout);
    assert!(found.contains(&expected[2].to_owned()), "of the own namespace: {found:#?}");
    let unseen = "LH901 Gateway spec.listeners[1].tls.certificateRefs[0].name".to_owned();
    assert!(found.contains(&unseen), "{found:#?}");
    assert!(!found.contains(&expected[0].to_owned()), "nobody could look there: {found:#?}");
}

/// Code, kind and path of the findings of a report.
fn places(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let place = |it: &Value| {
        let text = |pointer: &str| it.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        format!("{} {} {}", text("/code"), text("/object/kind"), text("/path"))
    };
    report["findings"].as_array().unwrap().iter().map(place).collect()
}

#[test]
fn who_watches_sees_how_far_the_audit_is() {
    let Some(cluster) = Cluster::shared() else { return };
    if skip::lacks(&["script"]) {
        return;
    }
    let _turn = exclusively();
    cluster.namespace("audit-watched", &[]);
    // A terminal, which `script` is to the program.
    let program = built("lasthop");
    let line = format!("{} check --cluster -n audit-watched", program.display());
    let shown = Program::at("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .run();
    assert_eq!(shown.code(), 0, "{shown}");
    assert!(shown.stdout.contains("namespace 1 of 1, 0 objects: audit-watched"), "{shown}");
}

#[test]
fn a_client_is_rehearsed_against_what_the_cluster_holds() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
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
    let why = "error: the kubeconfig `/nonexistent` cannot be read: ";
    assert!(told.stderr.starts_with(why), "{}", told.stderr);
}
