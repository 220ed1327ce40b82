//! What is asked of an API server: what its answers mean, and that `manifests/base/rbac.yaml` gives
//! the right to it and no other.

use std::path::Path;
use std::sync::Mutex;

use http::{Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::check::{self, Judgement, Mode, Subject};
use crate::documents::Documents;
use crate::surroundings::{Completeness, Files, Surroundings};

/// Group, resource, verb, and the one name that it is for.
type Right = (String, String, String, String);

/// The paths that were asked for, with the methods.
type Asked = Arc<Mutex<Vec<(Method, String)>>>;

/// An API server that has `answer` at a path: an object, or a status.
fn api(answer: fn(&str) -> Result<Value, StatusCode>) -> (ApiServer, Asked) {
    let asked = Asked::default();
    let record = Arc::clone(&asked);
    let api = ApiServer::scripted(move |method, path| {
        record.lock().unwrap().push((method.clone(), path.to_owned()));
        answer(path)
    });
    (api, asked)
}

fn cluster(answer: fn(&str) -> Result<Value, StatusCode>) -> (Cluster, Asked) {
    let (api, asked) = api(answer);
    (Cluster::new(api, NameSource::Seen, None), asked)
}

/// The right that a request takes; none for what everybody may ask.
fn right((method, path): &(Method, String)) -> Option<Right> {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _version => return None,
    };
    let rest: Vec<&str> = parts.skip(1).collect();
    let (resource, name) = match rest.as_slice() {
        ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => (resource, rest.first()),
        [] => return None,
    };
    let verb = match (method, name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (other, _) => panic!("nobody writes to what is judged: {other} {path}"),
    };
    Some(on(group, resource, verb, ""))
}

/// The rights that the roles of a kind in `manifests/base/rbac.yaml` give.
fn granted(kind: &str) -> Vec<Right> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/rbac.yaml");
    let read = Documents::read(&[file]);
    assert_eq!(read.failures, []);
    let roles = read.documents.iter().filter(|it| it.object.kind() == kind);
    roles.flat_map(|it| it.object.list("/rules")).flat_map(rights_of).collect()
}

fn rights_of(rule: &Value) -> Vec<Right> {
    let words = |field: &str| -> Vec<&str> {
        let words = rule.get(field).and_then(Value::as_array).into_iter().flatten();
        words.map(|word| word.as_str().unwrap()).collect()
    };
    let names = words("resourceNames");
    let names = if names.is_empty() { vec![""] } else { names };
    let mut rights: Vec<(&str, &str)> = Vec::new();
    for group in words("apiGroups") {
        rights.extend(words("resources").into_iter().map(|resource| (group, resource)));
    }
    let verbs: Vec<(&str, &str)> = words("verbs")
        .into_iter()
        .flat_map(|verb| names.iter().map(move |name| (verb, *name)))
        .collect();
    rights
        .into_iter()
        .flat_map(|(group, resource)| {
            verbs.iter().map(move |(verb, name)| on(group, resource, verb, name))
        })
        .collect()
}

fn on(group: &str, resource: &str, verb: &str, name: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned(), name.to_owned())
}

fn assert_granted(kind: &str, needed: &BTreeSet<Right>) {
    let granted = granted(kind);
    let distinct: BTreeSet<Right> = granted.iter().cloned().collect();
    assert_eq!(granted.len(), distinct.len(), "a right is granted twice: {granted:?}");
    let idle: Vec<_> = distinct.difference(needed).collect();
    let lacking: Vec<_> = needed.difference(&distinct).collect();
    assert!(idle.is_empty(), "{kind} of rbac.yaml grants what nothing asks for: {idle:?}");
    assert!(lacking.is_empty(), "{kind} of rbac.yaml lacks: {lacking:?}");
}

#[tokio::test]
async fn the_rights_are_those_of_the_requests() {
    let (api, asked) = api(|path| match path {
        "/version" => Ok(json!({"gitVersion": "v1.33.1"})),
        _ => Err(StatusCode::NOT_FOUND),
    });
    let cluster = Cluster::new(api.clone(), NameSource::Seen, None);
    let person = Requester { name: "jane".to_owned(), ..Requester::default() };
    cluster.secret("shop", "web-tls").await;
    cluster.config_map("shop", "alb-ca").await;
    cluster.namespace("shop").await;
    for kind in
        [Listed::Ingresses, Listed::Grants, Listed::Limits, Listed::Services, Listed::Workloads]
    {
        cluster.list(kind, "shop").await;
    }
    cluster.secret_names("shop").await;
    cluster.readers("shop", "web-tls").await;
    cluster.namespaces_of_pods(&BTreeMap::from([("istio", "ingressgateway")])).await;
    cluster.makers("shop", &BTreeSet::from(["web-tls"])).await;
    cluster.may_get(&person, Holder::Secret, ("shop", "web-tls")).await;
    Versions::of(&api).await.unwrap();
    let mut needed: BTreeSet<Right> = asked.lock().unwrap().iter().filter_map(right).collect();
    // What `certificate/bundle.rs` asks for beside: the configurations called `lasthop` alone.
    for resource in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        for verb in ["get", "patch"] {
            needed.insert(on("admissionregistration.k8s.io", resource, verb, "lasthop"));
        }
    }
    // And `serve/event.rs`.
    needed.insert(on("", "events", "create", ""));
    assert_granted("ClusterRole", &needed);
    // And `certificate/managed.rs`.
    let own = [("create", ""), ("get", "lasthop-ca"), ("update", "lasthop-ca")];
    let own = own.iter().map(|(verb, name)| on("", "secrets", verb, name)).collect();
    assert_granted("Role", &own);
}

/// An object of each kind of [`MAKERS`] that makes `web-tls`, however the kind says so.
fn maker_of(collection: &Collection, version: &str) -> Object {
    let api_version = match collection.group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let name = if collection.kind == "OnePasswordItem" { "web-tls" } else { "maker" };
    let annotations = json!({
        "service.beta.openshift.io/serving-cert-secret-name": "web-tls",
        "cert-manager.io/cluster-issuer": "letsencrypt",
    });
    Object(json!({
        "apiVersion": api_version, "kind": collection.kind,
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {
            "secretTemplates": [{"name": "web-tls"}], "secretObjects": [{"secretName": "web-tls"}],
            "secretName": "web-tls", "target": {"name": "web-tls"},
            "template": {"metadata": {"name": "web-tls"}}, "destination": {"name": "web-tls"},
            "acmeProvider": {"authority": "https://acme.example"}, "tlsSecret": {"name": "web-tls"},
            "tls": [{"hosts": ["shop.example.com"], "secretName": "web-tls"}],
            "listeners": [
                {
                    "protocol": "HTTPS", "hostname": "shop.example.com",
                    "tls": {"certificateRefs": [{"name": "web-tls"}]},
                },
            ],
        },
    }))
}

/// Has one object in every list that some kind of [`MAKERS`] has in its newest version.
fn has_makers(path: &str) -> Result<Value, StatusCode> {
    let of_path = MAKERS.iter().map(|maker| &maker.collection).find_map(|it| {
        let version = it.versions.first()?;
        let Collection { group, resource, .. } = it;
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        (path == format!("{root}/{version}/namespaces/shop/{resource}"))
            .then(|| maker_of(it, version))
    });
    of_path.map(|it| json!({"items": [it.0]})).ok_or(StatusCode::NOT_FOUND)
}

#[tokio::test]
async fn every_maker_is_known_live_and_among_files() {
    for maker in &MAKERS {
        let collection = &maker.collection;
        for version in collection.versions {
            let object = maker_of(collection, version);
            assert_eq!(makers::makes(&object), ["web-tls"], "{}", collection.kind);
            let names = BTreeSet::from(["web-tls"]);
            let files = Files::new(vec![object.clone()], Completeness::Whole);
            let made = files.makers("shop", &names).into_found().unwrap();
            assert_eq!(made.get("web-tls"), Some(&object.reference("shop")));
        }
    }
    let (cluster, asked) = cluster(has_makers);
    let names = BTreeSet::from(["web-tls"]);
    assert!(cluster.makers("shop", &names).await.found().unwrap().contains_key("web-tls"));
    assert_eq!(asked.lock().unwrap().len(), MAKERS.len());
}

async fn judge(answer: fn(&str) -> Result<Value, StatusCode>) -> Judgement {
    let (cluster, _asked) = cluster(answer);
    let ingress = Object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "tls": [{"hosts": ["a.example"], "secretName": "web-tls"}],
            "rules": [{"host": "a.example"}],
        },
    }));
    let subject = Subject::created(ingress, "shop");
    check::check(&subject, &Surroundings::Cluster(cluster), &Mode::review(), 0).await
}

fn codes(judgement: &Judgement) -> Vec<String> {
    judgement.findings.iter().map(|it| it.code.to_string()).collect()
}

#[tokio::test]
async fn a_missing_secret_is_refused_only_where_every_maker_was_asked() {
    let nobody = judge(|_path| Err(StatusCode::NOT_FOUND)).await;
    assert!(nobody.refuses());
    assert_eq!(codes(&nobody), ["LH201"]);

    let vault = judge(|path| match path {
        "/apis/secrets.hashicorp.com/v1beta1/namespaces/shop/vaultstaticsecrets" => {
            has_makers(path)
        }
        _ => Err(StatusCode::NOT_FOUND),
    });
    let vault = vault.await;
    assert!(!vault.refuses(), "{:?}", vault.findings);
    assert_eq!(codes(&vault), ["LH202"]);

    let forbidden = judge(|path| match path {
        "/apis/secrets.hashicorp.com/v1beta1/namespaces/shop/vaultstaticsecrets" => {
            Err(StatusCode::FORBIDDEN)
        }
        _ => Err(StatusCode::NOT_FOUND),
    });
    let forbidden = forbidden.await;
    assert!(!forbidden.refuses(), "{:?}", forbidden.findings);
    assert!(codes(&forbidden).contains(&"LH201".to_owned()));
    assert!(forbidden.findings[0].message.contains("lasthop has no right to look at it"));
}

/// Holds what names Secret `shop/ca` from namespace `edge`, and lets its Gateways read it.
fn has_readers_elsewhere(path: &str) -> Result<Value, StatusCode> {
    let ingress = |class: &str, name: &str| {
        let annotation = json!({"nginx.ingress.kubernetes.io/auth-tls-secret": "shop/ca"});
        json!({
            "metadata": {"name": name, "namespace": "edge", "annotations": annotation},
            "spec": {"ingressClassName": class, "rules": [{"host": "a.example"}]},
        })
    };
    let gateway = |namespace: &str| {
        let of = json!([{"name": "ca", "namespace": "shop"}]);
        json!({
            "metadata": {"name": "gate", "namespace": namespace},
            "spec": {"listeners": [{
                "name": "web", "protocol": "HTTPS", "hostname": "b.example",
                "tls": {"certificateRefs": of},
            }]},
        })
    };
    let items = match path {
        "/apis/networking.k8s.io/v1/ingresses"
        | "/apis/networking.k8s.io/v1/namespaces/edge/ingresses" => {
            vec![ingress("nginx", "web"), ingress("haproxy", "left-over")]
        }
        "/apis/gateway.networking.k8s.io/v1/gateways" => vec![gateway("edge"), gateway("tenant")],
        "/apis/gateway.networking.k8s.io/v1/namespaces/shop/referencegrants" => vec![json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "edge"}],
                "to": [{"group": "", "kind": "Secret"}],
            },
        })],
        "/apis/getambassador.io/v3alpha1/hosts" => vec![json!({
            "metadata": {"name": "host", "namespace": "edge"},
            "spec": {"hostname": "c.example", "tlsSecret": {"name": "ca", "namespace": "shop"}},
        })],
        _ => return Err(StatusCode::NOT_FOUND),
    };
    Ok(json!({"items": items}))
}

#[tokio::test]
async fn readers_of_other_namespaces_are_warned_for_and_only_those_that_may_read() {
    let (cluster, _asked) = cluster(has_readers_elsewhere);
    let secret = Object(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "ca", "namespace": "shop"}, "data": {"ca.crt": ""},
    }));
    let surroundings = Surroundings::Cluster(cluster);
    let mut subject = Subject::created(secret, "shop");
    let broken = check::check(&subject, &surroundings, &Mode::review(), 0).await;
    assert!(!broken.refuses(), "{:?}", broken.findings);
    let told: Vec<&str> = broken.findings.iter().map(|it| it.message.as_str()).collect();
    let names = |name: &str| told.iter().any(|message| message.contains(name));
    assert!(names("Ingress edge/web (`a.example`) reads it"), "{told:?}");
    assert!(names("Gateway edge/gate (`b.example`)"), "{told:?}");
    assert!(names("Host edge/host (`c.example`)"), "{told:?}");
    assert!(!names("left-over") && !names("tenant"), "{told:?}");

    subject.operation = check::Operation::Delete;
    let gone = check::check(&subject, &surroundings, &Mode::review(), 0).await;
    assert!(!gone.refuses());
    assert_eq!(codes(&gone), ["LH215", "LH215", "LH215"]);
    let hosts = ["a.example", "b.example", "c.example"];
    let all: String = gone.findings.iter().map(|it| it.message.as_str()).collect();
    assert!(hosts.iter().all(|host| all.contains(host)), "{all}");
}
