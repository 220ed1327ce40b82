//! From the side of the Secret: what its change does to who reads it.

use super::*;

#[test]
fn an_update_of_a_secret_is_judged_against_its_readers() {
    let (old, new) = (secret("web-tls", &["a.example"]), secret("web-tls", &["b.example"]));
    let web = ingress(&one_item());
    let judgement = update(old.clone(), new.clone()).among([&web]).judged();
    assert!(judgement.refuses());
    let finding = &judgement.findings[0];
    assert_eq!(finding.path.to_string(), "stringData[tls.crt]");
    assert_eq!(
        finding.message,
        "the certificate in Secret `web-tls` does not cover `a.example`; Ingress shop/web reads it"
    );
    assert_eq!(update(old.clone(), new).told(), NOTHING, "nobody reads it");

    let mut mixed = old.clone();
    mixed["stringData"]["tls.key"] = json!(pair(&["a.example"]).1);
    let told = update(old, mixed.clone()).among([&web]).told();
    assert_eq!(told, ["error LH115 stringData[tls.key]"]);
    assert_eq!(create(mixed).told(), ["warning LH115 stringData[tls.key]"], "nobody reads it");
}

#[test]
fn a_secret_that_breaks_a_second_reader_is_refused_though_the_first_was_broken() {
    let (old, new) = (secret("web-tls", &["b.example"]), secret("web-tls", &["c.example"]));
    let first = ingress(&one_item());
    let other = ingress(&json!([{"hosts": ["b.example"], "secretName": "web-tls"}]));
    let second = with(other, "/metadata", "name", json!("other"));
    let judgement = update(old, new).among([&first, &second]).judged();
    let errors: Vec<_> = judgement.of(Severity::Error).map(|it| it.message.as_str()).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("Ingress shop/other"), "{errors:?}");
}

#[test]
fn a_makers_own_write_is_only_warned_of() {
    let (old, new) = (secret("web-tls", &["a.example"]), secret("web-tls", &["b.example"]));
    let web = ingress(&one_item());
    let owner = json!([{"apiVersion": "x/v1", "kind": "Certificate", "name": "web"}]);
    let made = with(new, "/metadata", "ownerReferences", owner);
    let told = update(old, made).among([&web]).told();
    assert_eq!(told, ["warning LH204 stringData[tls.crt]"]);
}

#[test]
fn a_ca_kept_under_the_tls_type_is_nobodys_mistake() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let chain = params.self_signed(&key).unwrap().pem();
    let mut authority = secret("ca", &[]);
    authority["stringData"] = json!({"tls.crt": chain, "tls.key": key.serialize_pem()});
    assert_eq!(create(authority).told(), NOTHING);
}

#[test]
fn a_client_certificate_that_waits_for_its_reader_is_nobodys_mistake() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "alb");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let chain = params.self_signed(&key).unwrap().pem();
    let mut client = secret("alb-client", &[]);
    client["stringData"] = json!({"tls.crt": chain, "tls.key": key.serialize_pem()});
    assert_eq!(create(client.clone()).told(), NOTHING);
    let reader = ingress(&json!([{"hosts": ["a.example"], "secretName": "alb-client"}]));
    let told = create(client).among([&reader]).told();
    assert!(told.iter().any(|it| it.starts_with("error LH128")), "{told:?}");
}

#[test]
fn a_deletion_warns_and_is_refused_only_where_the_namespace_asks() {
    let (used, web) = (secret("web-tls", &["a.example"]), ingress(&one_item()));
    assert_eq!(delete(used.clone()).told(), NOTHING);
    assert_eq!(delete(used.clone()).among([&web]).told(), ["warning LH215 metadata.name"]);
    let strict = namespace(&json!({"lasthop.dev/missing-secret": "enforce"}));
    let asked = || delete(used.clone()).among([&web, &strict]);
    assert_eq!(asked().told(), ["error LH215 metadata.name"]);
    let cleaner = "system:serviceaccount:kube-system:namespace-controller";
    assert_eq!(asked().by(cleaner).told(), ["warning LH215 metadata.name"]);
    let going = with(strict.clone(), "", "status", json!({"phase": "Terminating"}));
    let told = delete(used.clone()).among([&web, &going]).told();
    assert_eq!(told, ["warning LH215 metadata.name"]);
}

#[test]
fn every_reader_that_a_secret_breaks_is_named_in_one_finding() {
    let mut broken = secret("web-tls", &["a.example"]);
    broken["stringData"]["tls.key"] = json!(pair(&["a.example"]).1);
    let named = |name: &str| with(ingress(&one_item()), "/metadata", "name", json!(name));
    let readers = ["a", "b", "c", "d"].map(named);
    let told = |readers: &[Value]| {
        let mut asked = create(broken.clone());
        asked.around.extend(readers.iter().cloned());
        let findings = asked.judged().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().unwrap().message
    };
    let fact = "`tls.key` is not the private key of the certificate";
    assert_eq!(told(&readers[..1]), format!("{fact}; Ingress shop/a reads it"));
    assert_eq!(told(&readers[..2]), format!("{fact}; Ingress shop/a and Ingress shop/b read it"));
    let many = "Ingress shop/a, Ingress shop/b, Ingress shop/c and 1 more read it";
    assert_eq!(told(&readers), format!("{fact}; {many}"));
}

#[test]
fn a_problem_weighs_what_it_does_to_the_reader_that_is_worst_off() {
    // A name in the CN alone: a controller goes on to serve it, the sidecar's clients do not take it.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a.example");
    let chain = params.self_signed(&key).unwrap().pem();
    let mut nameless = secret("web-tls", &[]);
    nameless["stringData"] = json!({"tls.crt": chain, "tls.key": key.serialize_pem()});
    let home = namespace(&json!({"lasthop.dev/inject": "enabled"}));
    let web = ingress(&one_item());
    let deployment = workload("Deployment", &json!({}));
    let told = |readers: [&Value; 2]| {
        let told = create(nameless.clone()).among(readers).among([&home]).told();
        told.into_iter().filter(|line| line.contains("LH120")).collect::<Vec<_>>()
    };
    assert_eq!(told([&web, &home]), ["warning LH120 stringData[tls.crt]"]);
    assert_eq!(told([&web, &deployment]), ["error LH120 stringData[tls.crt]"]);
}
