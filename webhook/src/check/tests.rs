//! The verdicts: what refuses, what warns, what passes, from either side of a reference.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};

use super::*;
use crate::surroundings::{Completeness, Files};

mod config_maps;
mod elsewhere;
mod hops;
mod hostile;
mod kinds;
mod placeholders;
mod ratchet;
mod secrets;
mod stated;

const NOW: i64 = 1_800_000_000;

/// Chain and key of a certificate that a CA issued for `names`.
fn pair(names: &[&str]) -> (String, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test CA");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    (leaf.pem(), key.serialize_pem())
}

fn secret(name: &str, names: &[&str]) -> Value {
    let (chain, key) = pair(names);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "shop"},
        "stringData": {"tls.crt": chain, "tls.key": key},
    })
}

fn ingress(tls: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {}},
        "spec": {"tls": tls, "rules": [{"host": "a.example"}]},
    })
}

fn one_item() -> Value {
    json!([{"hosts": ["a.example"], "secretName": "web-tls"}])
}

fn namespace(labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
}

/// The same with `value` under `pointer`, which leads to something that is there.
fn with(mut object: Value, pointer: &str, key: &str, value: Value) -> Value {
    object.pointer_mut(pointer).unwrap()[key] = value;
    object
}

fn annotated(object: Value, key: &str, value: &str) -> Value {
    with(object, "/metadata/annotations", key, json!(value))
}

/// A question in the making.
struct Asked {
    subject: Subject,
    around: Vec<Value>,
    mode: Mode,
    completeness: Completeness,
}

fn create(object: Value) -> Asked {
    Asked {
        subject: Subject::created(Object(object), "shop"),
        around: Vec::new(),
        mode: Mode { limits: Limits { deadline: None, ..Mode::review().limits }, ..Mode::review() },
        completeness: Completeness::Whole,
    }
}

fn update(old: Value, object: Value) -> Asked {
    let mut asked = create(object);
    asked.subject.old = Some(Object(old));
    asked.subject.operation = Operation::Update;
    asked
}

fn delete(object: Value) -> Asked {
    let mut asked = create(object);
    asked.subject.operation = Operation::Delete;
    asked
}

impl Asked {
    fn among<const N: usize>(mut self, around: [&Value; N]) -> Self {
        self.around.extend(around.map(Clone::clone));
        self
    }

    fn by(mut self, name: &str) -> Self {
        self.subject.requester = Requester { name: name.to_owned(), ..Requester::default() };
        self
    }

    fn judged(self) -> Judgement {
        let documents = self.around.into_iter().map(Object).collect();
        let surroundings = Surroundings::Files(Files::new(documents, self.completeness));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(&self.subject, &surroundings, &self.mode, NOW))
    }

    /// Every finding as `error LH201 spec.tls[0].secretName`.
    fn told(self) -> Vec<String> {
        let findings = self.judged().findings;
        let tell = |it: &Finding| format!("{} {} {}", it.severity.word(), it.code, it.path);
        findings.iter().map(tell).collect()
    }
}

const MISSING: &str = "error LH201 spec.tls[0].secretName";
const MISSING_WARNED: &str = "warning LH201 spec.tls[0].secretName";
const AWAITED: &str = "warning LH202 spec.tls[0].secretName";
const NOTHING: [&str; 0] = [];

#[test]
fn a_missing_secret_refuses_and_names_namespace_and_nearest() {
    let near = secret("web-tsl", &["a.example"]);
    let judgement = create(ingress(&one_item())).among([&near]).judged();
    assert!(judgement.refuses());
    let finding = &judgement.findings[0];
    assert_eq!(finding.message, "Secret `web-tls` does not exist in namespace `shop`");
    assert_eq!(finding.help, "did you mean `web-tsl`?");
    assert_eq!(finding.suggestion.as_deref(), Some("secretName: web-tsl"));
}

#[test]
fn a_dry_run_only_warns_of_a_missing_secret() {
    let mut asked = create(ingress(&one_item()));
    asked.subject.dry_run = DryRun::Yes;
    let judgement = asked.judged();
    assert!(!judgement.refuses() && judgement.findings.len() == 1);
    assert!(judgement.audit["not-refused"].starts_with("LH201: a dry-run"));
}

#[test]
fn object_and_namespace_say_what_a_missing_secret_does() {
    let key = "lasthop.dev/missing-secret";
    let ask = |object: Option<&str>, label: Option<&str>| {
        let web = ingress(&one_item());
        let web = match object {
            Some(wish) => annotated(web, key, wish),
            None => web,
        };
        let labels = label.map_or(json!({}), |wish| json!({ key: wish }));
        create(web).among([&namespace(&labels)]).told()
    };
    assert_eq!(ask(None, None), [MISSING]);
    assert_eq!(ask(Some("warn"), None), [MISSING_WARNED]);
    assert_eq!(ask(Some("off"), None), NOTHING);
    assert_eq!(ask(None, Some("off")), NOTHING);
    assert_eq!(ask(Some("enforce"), Some("off")), [MISSING]);
    let odd = ask(Some("maybe"), Some("off"));
    assert_eq!(odd, [MISSING, "warning LH216 metadata.annotations[lasthop.dev/missing-secret]"]);
}

#[test]
fn a_secret_that_something_makes_is_waited_for() {
    for (key, value) in [
        ("cert-manager.io/issuer", "le"),
        ("cert-manager.io/cluster-issuer", "le"),
        ("kubernetes.io/tls-acme", "true"),
        ("cert.gardener.cloud/purpose", "managed"),
        (
            "kubernetes.azure.com/tls-cert-keyvault-uri",
            "https://a.vault.azure.net/certificates/web",
        ),
    ] {
        assert_eq!(create(annotated(ingress(&one_item()), key, value)).told(), [AWAITED], "{key}");
    }
    let makers = [
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "spec": {"secretName": "web-tls"}}),
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "spec": {"target": {"name": "web-tls"}}}),
        json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": {}}),
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Host", "spec": {
            "acmeProvider": {"email": "a@example"}, "tlsSecret": {"name": "web-tls"}}}),
    ];
    for maker in makers {
        let maker = with(maker, "", "metadata", json!({"name": "web-tls", "namespace": "shop"}));
        assert_eq!(create(ingress(&one_item())).among([&maker]).told(), [AWAITED], "{maker}");
        let elsewhere = with(maker, "/metadata", "namespace", json!("other"));
        assert_eq!(create(ingress(&one_item())).among([&elsewhere]).told(), [MISSING]);
    }
    let mut own = create(annotated(ingress(&one_item()), "ca.example/make", "yes"));
    own.mode.maker_annotations = vec!["ca.example/make".to_owned()];
    assert_eq!(own.told(), [AWAITED]);
}

#[test]
fn cert_manager_makes_nothing_of_an_item_without_hosts() {
    let web = ingress(&json!([{"secretName": "web-tls"}]));
    assert_eq!(create(annotated(web, "cert-manager.io/issuer", "le")).told(), [MISSING]);
}

#[test]
fn a_certificate_that_the_cloud_keeps_needs_no_secret() {
    for (key, value) in [
        ("networking.gke.io/managed-certificates", "web"),
        ("ingress.gcp.kubernetes.io/pre-shared-cert", "web"),
        ("appgw.ingress.kubernetes.io/appgw-ssl-certificate", "web"),
        ("alb.ingress.kubernetes.io/certificate-arn", "arn:aws:acm:eu-west-1:1:certificate/2"),
    ] {
        let judgement = create(annotated(ingress(&one_item()), key, value)).judged();
        assert!(!judgement.refuses(), "{key}");
        let [finding] = judgement.findings.as_slice() else { panic!("{judgement:?}") };
        assert_eq!(finding.code.to_string(), "LH201");
        assert!(finding.message.contains(key), "{}", finding.message);
        assert_eq!(create(annotated(ingress(&one_item()), key, "")).told(), [MISSING], "{key}");
    }
}

#[test]
fn an_address_is_advised_as_an_address() {
    let web = ingress(&json!([{"hosts": ["10.0.0.1", "b.example"], "secretName": "web-tls"}]));
    let judgement = create(web).among([&secret("web-tls", &["a.example", "10.0.0.2"])]).judged();
    let help: Vec<_> = judgement.of(Severity::Error).map(|it| it.help.as_str()).collect();
    let advice = |host: &str| format!("`subjectAltName=DNS:a.example,IP:10.0.0.2,{host}`");
    assert!(help[0].contains(&advice("IP:10.0.0.1")), "{help:?}");
    assert!(help[1].contains(&advice("DNS:b.example")), "{help:?}");
    assert_eq!(help.len(), 2);
}

#[test]
fn what_a_program_keeps_up_to_date_is_only_warned_of() {
    let made = secret("web-tls", &["old.example"]);
    let marks = json!({"cert-manager.io/certificate-name": "web"});
    let made = with(made, "/metadata", "annotations", marks);
    let not_covered = "LH204 spec.tls[0].hosts[0]";
    let told = create(ingress(&one_item())).among([&made]).told();
    assert_eq!(told, [format!("warning {not_covered}")]);
    let by_hand = secret("web-tls", &["old.example"]);
    assert_eq!(
        create(ingress(&one_item())).among([&by_hand]).told(),
        [format!("error {not_covered}")]
    );
}

#[test]
fn an_empty_placeholder_is_right_only_where_something_fills_it() {
    let empty =
        with(secret("web-tls", &[]), "", "stringData", json!({"tls.crt": "", "tls.key": ""}));
    let error = "error LH102 spec.tls[0].secretName";
    assert_eq!(create(ingress(&one_item())).among([&empty]).told(), [error, error]);
    let web = annotated(ingress(&one_item()), "cert-manager.io/issuer", "le");
    let told = create(web.clone()).among([&empty]).told();
    assert_eq!(told, ["warning LH212 spec.tls[0].secretName"]);
    assert_eq!(create(empty).among([&web]).told(), ["warning LH212 stringData[tls.crt]"]);
}

#[test]
fn what_was_broken_before_may_stay_and_nothing_new_may_break() {
    let old = ingress(&one_item());
    let labelled = with(old.clone(), "/metadata", "labels", json!({"team": "shop"}));
    assert_eq!(update(old.clone(), labelled).told(), [MISSING_WARNED]);
    let more = ingress(&json!([
        {"hosts": ["a.example"], "secretName": "web-tls"}, {"hosts": ["a.example"], "secretName": "web-tls/"},
    ]));
    let told = update(old.clone(), more).told();
    assert!(told.contains(&"error LH213 spec.tls[1].secretName".to_owned()), "{told:?}");
    assert!(told.contains(&MISSING_WARNED.to_owned()), "{told:?}");
    let judgement = update(ingress(&json!([])), old).judged();
    assert!(judgement.refuses(), "an update can bring the first error");
}

#[test]
fn what_goes_and_what_answers_a_challenge_is_never_refused() {
    let gone = json!("2026-11-21T12:00:00Z");
    let going = with(ingress(&one_item()), "/metadata", "deletionTimestamp", gone);
    assert_eq!(update(ingress(&json!([])), going).told(), [MISSING_WARNED]);
    let labels = json!({"acme.cert-manager.io/http01-solver": "true"});
    let solver = with(ingress(&one_item()), "/metadata", "labels", labels);
    assert_eq!(create(solver).told(), [MISSING_WARNED]);
    assert_eq!(delete(ingress(&one_item())).told(), NOTHING);
}

#[test]
fn what_could_not_be_looked_at_passes_with_a_warning() {
    let mut asked = create(ingress(&one_item()));
    asked.completeness = Completeness::Part;
    assert_eq!(asked.told(), ["warning LH901 spec.tls[0].secretName"]);
}

#[test]
fn a_review_looks_so_often_and_no_more() {
    let item = |n: usize| json!({"hosts": ["a.example"], "secretName": format!("s{n}")});
    let many: Vec<Value> = (0..200).map(item).collect();
    let mut asked = create(ingress(&json!(many)));
    asked.mode.limits.lookups = 10;
    let told = asked.told();
    let count = |code: &str| told.iter().filter(|it| it.contains(code)).count();
    assert_eq!(count("error LH201"), 10, "the look at the namespace is not among them");
    assert_eq!((count("LH902"), count("LH901")), (1, 0));
}

#[test]
fn one_secret_is_looked_at_once() {
    let many: Vec<Value> = (0..50).map(|_| one_item()[0].clone()).collect();
    let mut asked = create(ingress(&json!(many))).among([&secret("web-tls", &["a.example"])]);
    asked.mode.limits.lookups = 1;
    assert_eq!(asked.told(), NOTHING, "nothing is told, so the namespace does not matter");
}

#[test]
fn a_label_is_heard_however_many_secrets_are_named() {
    let item = |n: usize| json!({"hosts": ["a.example"], "secretName": format!("s{n}")});
    let many: Vec<Value> = (0..20).map(item).collect();
    let labels = namespace(&json!({"lasthop.dev/validate": "warn"}));
    let mut asked = create(ingress(&json!(many))).among([&labels]);
    asked.mode.limits.lookups = 10;
    asked.mode.limits.deadline = Some(std::time::Duration::ZERO);
    assert!(!asked.judged().refuses());
}

#[test]
fn legal_shapes_are_nobodys_mistake() {
    let plain = secret("web-tls", &["a.example"]);
    let opaque = with(plain.clone(), "", "type", json!("Opaque"));
    let with_ca = {
        let mut with_ca = plain.clone();
        with_ca["stringData"]["ca.crt"] = json!("");
        with_ca
    };
    let shapes = [
        json!([{"hosts": ["a.example"]}]),
        json!([{"secretName": "web-tls"}]),
        json!([]),
        Value::Null,
        json!([{}]),
        json!([{"hosts": ["a.example"], "secretName": ""}]),
        one_item(),
    ];
    for shape in shapes {
        for secret in [&plain, &opaque, &with_ca] {
            assert_eq!(create(ingress(&shape)).among([secret]).told(), NOTHING, "{shape}");
        }
    }
    for secret in [plain, opaque, with_ca] {
        assert_eq!(create(secret.clone()).among([&ingress(&one_item())]).told(), NOTHING);
    }
}

#[test]
fn a_program_learns_nothing_of_other_namespaces() {
    let elsewhere = with(secret("web-tls", &[]), "/metadata", "namespace", json!("vault"));
    let asked = || create(ingress(&one_item())).among([&elsewhere]);
    let program = "system:serviceaccount:shop:deployer";
    let told = asked().by(program).judged();
    assert_eq!(told, create(ingress(&one_item())).by(program).judged());
    let help = |judgement: &Judgement| judgement.findings[0].help.clone();
    assert!(!help(&told).contains("vault"));
    assert!(help(&asked().by("jane").judged()).contains("`web-tls` in namespace `vault`"));
}

#[test]
fn the_namespace_says_what_findings_do_above_a_floor() {
    let ask = |label: &str, minimum| {
        let labels = json!({"lasthop.dev/validate": label});
        let mut asked = create(ingress(&one_item())).among([&namespace(&labels)]);
        asked.mode.minimum_validate = minimum;
        asked.told()
    };
    assert_eq!(ask("enforce", Validate::Off), [MISSING]);
    assert_eq!(ask("warn", Validate::Off), [MISSING_WARNED]);
    assert_eq!(ask("off", Validate::Off), NOTHING);
    assert_eq!(ask("off", Validate::Warn), [MISSING_WARNED]);
    assert_eq!(ask("warn", Validate::Enforce), [MISSING]);
    assert_eq!(ask("loud", Validate::Off), [MISSING, "warning LH216 "]);
    let mut observed = create(ingress(&one_item()));
    observed.mode.default_validate = Validate::Warn;
    let judgement = observed.judged();
    assert!(!judgement.refuses());
    assert_eq!(judgement.audit["not-refused"], "LH201: validate is warn");
}

#[test]
fn an_ignored_finding_is_noted_with_its_reason() {
    let web =
        annotated(ingress(&one_item()), "lasthop.dev/ignore", "LH201: made by a script, LH204");
    let judgement = create(web).judged();
    assert_eq!(judgement.audit["ignored"], "LH201: made by a script");
    let codes: Vec<_> = judgement.findings.iter().map(|it| it.code.to_string()).collect();
    assert_eq!(codes, ["LH216"], "a code without a reason is complained about");
}

#[test]
fn a_secret_that_contour_looks_for_elsewhere_is_not_looked_for_here() {
    let key = "projectcontour.io/tls-cert-namespace";
    assert_eq!(create(annotated(ingress(&one_item()), key, "certs")).told(), NOTHING);
    assert_eq!(create(annotated(ingress(&one_item()), key, "shop")).told(), [MISSING]);
}

fn workload(kind: &str, annotations: &Value) -> Value {
    let mut all = json!({"lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls"});
    let more = annotations.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    let containers = json!([{"name": "web", "ports": [{"containerPort": 8080}]}]);
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"metadata": {"annotations": all}, "spec": {"containers": containers}}},
    })
}

#[test]
fn a_template_is_judged_where_a_person_is_looking() {
    let home = namespace(&json!({"lasthop.dev/inject": "enabled"}));
    let at = "LH201 spec.template.metadata.annotations[lasthop.dev/tls-secret]";
    let deployment = workload("Deployment", &json!({}));
    assert_eq!(create(deployment).among([&home]).told(), [format!("error {at}")]);
    let owner = json!([{"kind": "Deployment", "name": "web", "controller": true}]);
    let set = with(workload("ReplicaSet", &json!({})), "/metadata", "ownerReferences", owner);
    assert_eq!(create(set).among([&home]).told(), [format!("warning {at}")]);
    let quiet = workload("Deployment", &json!({"lasthop.dev/missing-secret": "off"}));
    assert_eq!(create(quiet).among([&home]).told(), NOTHING);
    let ignored = workload("Deployment", &json!({"lasthop.dev/ignore": "LH201: made by a script"}));
    assert_eq!(create(ignored).among([&home]).told(), NOTHING);
}

#[test]
fn where_nothing_is_injected_nothing_is_refused_for_want_of_a_secret() {
    let at = "LH201 spec.template.metadata.annotations[lasthop.dev/tls-secret]";
    let asked = |labels| {
        let home = namespace(&labels);
        create(workload("Deployment", &json!({}))).among([&home]).told()
    };
    assert_eq!(asked(json!({"lasthop.dev/inject": "enabled"})), [format!("error {at}")]);
    let unlabelled = asked(json!({}));
    assert!(unlabelled.contains(&format!("warning {at}")), "{unlabelled:?}");
    assert!(unlabelled.iter().any(|it| it.starts_with("warning LH310")), "{unlabelled:?}");
}

#[test]
fn a_sidecar_takes_every_form_and_no_name_in_the_cn_alone() {
    let home = namespace(&json!({"lasthop.dev/inject": "enabled"}));
    let (chain, key) = pair(&["web.example"]);
    for (chain_key, private_key) in [("cert", "key"), ("client.crt", "client.key")] {
        let data = json!({chain_key: chain, private_key: key});
        let secret = with(secret("web-tls", &[]), "", "stringData", data);
        let asked = create(workload("Deployment", &json!({}))).among([&home, &secret]);
        assert_eq!(asked.told(), NOTHING, "{chain_key}");
    }
    let nameless = secret("web-tls", &[]);
    let told = create(workload("Deployment", &json!({}))).among([&home, &nameless]).told();
    assert_eq!(told, ["error LH120 spec.template.metadata.annotations[lasthop.dev/tls-secret]"]);
}
