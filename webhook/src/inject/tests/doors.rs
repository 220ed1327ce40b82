//! The doors of a pod: sockets, next tiers, PROXY headers, and the plaintext door beside the sidecar.

use lasthop_contract::sidecar_config::{KeyLog, PlaintextDoor, Terminate};

use super::*;

fn terminates(pod: &Object) -> Vec<Terminate> {
    let terminate = |listener| match listener {
        Listener::Terminate(terminate) => Some(terminate),
        Listener::Redirect(_) | Listener::Originate(_) => None,
    };
    config(&injected(pod)).listeners.into_iter().filter_map(terminate).collect()
}

const CLIENTS: [(&str, &str); 2] =
    [("client-ca-secret", "ca"), ("allowed-clients", "dns:alb.example.com")];

/// With client authentication, and these annotations.
fn guarded(annotations: &Value) -> Object {
    let mut all = annotations.clone();
    for (key, value) in CLIENTS {
        all[key] = json!(value);
    }
    pod(&all)
}

#[test]
fn behind_client_authentication_the_app_is_to_be_on_loopback_alone_unless_somebody_says_otherwise()
{
    let door = |pod: &Object| config(&injected(pod)).plaintext_door;
    assert_eq!(door(&pod(&json!({}))), PlaintextDoor::Told);
    assert_eq!(door(&guarded(&json!({}))), PlaintextDoor::NotReady);
    assert_eq!(door(&guarded(&json!({ "require-loopback": "false" }))), PlaintextDoor::Told);
    assert_eq!(door(&pod(&json!({ "require-loopback": "true" }))), PlaintextDoor::NotReady);
    let one_of_two = json!({ "ports": "8443:8080,9443:9090", "client-auth.9443": "none" });
    assert_eq!(door(&guarded(&one_of_two)), PlaintextDoor::NotReady);
    assert_eq!(codes(&pod(&json!({ "require-loopback": "yes" }))), [code::VALUE]);
}

#[test]
fn a_port_of_the_node_is_a_door_beside_the_sidecar() {
    let mut open = pod(&json!({}));
    open.0["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    assert_eq!(told(&open), ["LH336 error spec.containers[0].ports[0].hostPort"]);
    let owner = json!([{"kind": "ReplicaSet", "controller": true}]);
    let owned = with(open, "/metadata/ownerReferences", owner);
    assert!(matches!(run(&owned), Outcome::Injected { .. }));
    let mut other = pod(&json!({ "ports": "8443:9090" }));
    other.0["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    assert_eq!(told(&other), Vec::<String>::new());
}

#[test]
fn exempt_paths_need_a_certificate_to_be_exempt_from() {
    let exempt = json!({ "client-auth-exempt-paths": "/healthz,/readyz" });
    assert_eq!(terminates(&guarded(&exempt))[0].clients.exempt_paths, ["/healthz", "/readyz"]);
    assert_eq!(codes(&pod(&exempt)), [code::CONFLICT]);
    let mut bytes = exempt.clone();
    bytes["protocol"] = json!("tcp");
    assert_eq!(codes(&guarded(&bytes)), [code::CONFLICT]);
    let mut optional = exempt;
    optional["client-auth"] = json!("optional");
    assert_eq!(
        told(&guarded(&optional)),
        ["LH306 warning metadata.annotations[lasthop.dev/client-auth-exempt-paths]"]
    );
    let wrong = json!({ "client-auth-exempt-paths": "healthz,/a%2f" });
    assert_eq!(codes(&guarded(&wrong)), [code::VALUE, code::VALUE]);
}

#[test]
fn the_namespace_alone_lets_keys_be_logged() {
    let key_log = |value: Option<&str>| {
        let labels = [(name::INJECT, Some("enabled")), (name::ALLOW_KEY_LOG, value)];
        let labels = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let pod = pod(&json!({}));
        let outcome = inject(&pod, "shop", Some(&labels), &Options::default());
        let Outcome::Injected { patch, .. } = outcome else { panic!("{outcome:?}") };
        let mut value = pod.0;
        json_patch::patch(&mut value, &patch).unwrap();
        config(&Object(value)).key_log
    };
    assert_eq!(key_log(Some("true")), KeyLog::OnDemand);
    assert_eq!(key_log(Some("yes")), KeyLog::Refused);
    assert_eq!(key_log(None), KeyLog::Refused);
    let annotated = json!({ "allow-key-log": "true" });
    assert_eq!(codes(&pod(&annotated)), [code::UNKNOWN]);
}
