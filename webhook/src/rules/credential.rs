//! LH101 to LH136: what is wrong with a credential's bytes, as findings at a field.
//!
//! The contract finds the problems; here it is decided where they are told and how much they hurt
//! the reader at hand.

use std::collections::BTreeMap;

use lasthop_contract::credential::{self, Form, Purpose, SecretData};
use lasthop_contract::problem::{self, Fault, Gravity, Problem};
use lasthop_contract::text::{escape, list};
use serde_json::Value;

use super::Rule;
use super::host_not_covered::{Coverage, coverage};
use crate::check::{Own, Pair, Scene, SeenSecret, Setting, Sight, User};
use crate::finding::{Finding, Severity};
use crate::reference::{Holder, Role};

mod bytes;
mod chain;
mod seen;

/// The pages of the documentation, by code.
pub(super) fn pages() -> impl Iterator<Item = &'static Rule> {
    bytes::PAGES.iter().chain(chain::PAGES)
}

/// The findings about the bytes of every Secret in the scene.
pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    if let Some(own) = &scene.own {
        return judge_own(scene, own);
    }
    // Among files the Secret itself is judged, once for all its readers. A ConfigMap is not.
    let here = |pair: &Pair<'_>| {
        scene.setting == Setting::Review || pair.reference.holder == Holder::ConfigMap
    };
    scene.pairs().filter(here).flat_map(|pair| judge_pair(scene, &pair)).collect()
}

/// From the side of an object that names the Secret.
fn judge_pair(scene: &Scene, pair: &Pair<'_>) -> Vec<Finding> {
    let reference = pair.reference;
    let called = reference.called();
    let unread = is_beside_a_companion(scene, pair);
    let tell = |problem: Problem| {
        let is_ca = credential::CA_KEYS.contains(&problem.key.as_str());
        let severity = severity(&problem, pair, scene).filter(|_| !(unread && is_ca))?;
        let message = match reference.holder {
            Holder::Secret => problem.message(),
            Holder::ConfigMap => problem.message().replace("the Secret holds", "it holds"),
        };
        let message = format!("{called}: {message}");
        let path = reference.path.clone();
        let finding = Finding::new(problem.code(), severity, scene.name(), path, message);
        let help = help(&problem, reference.role, (&reference.secret, &reference.namespace));
        Some(
            finding.help(match reference.holder {
                Holder::Secret => help,
                // The same commands are there for both.
                Holder::ConfigMap => help
                    .replace("kubectl create secret generic", "kubectl create configmap")
                    .replace("kubectl patch secret", "kubectl patch configmap"),
            }),
        )
    };
    problems(pair.seen, reference.role, scene.now)
        .into_iter()
        .filter(|problem| !is_told_elsewhere(problem, pair))
        .filter_map(tell)
        .collect()
}

/// Where the Secret itself is in question: once for all its readers, as bad as for the worst off.
fn judge_own(scene: &Scene, own: &Own) -> Vec<Finding> {
    let mut worst: BTreeMap<(u16, String), (Problem, Vec<Hurt<'_>>)> = BTreeMap::new();
    for pair in scene.pairs() {
        let Some(user) = pair.user else { continue };
        for problem in problems(&own.secret, pair.reference.role, scene.now) {
            let Some(mut severity) = severity(&problem, &pair, scene) else { continue };
            // From here it is not to be seen whether a companion stands in for it.
            if pair.reference.role == Role::MutualGatewayServer
                && credential::CA_KEYS.contains(&problem.key.as_str())
            {
                severity = Severity::Warning;
            }
            if is_told_elsewhere(&problem, &pair) {
                continue;
            }
            let key = (problem.code().0, problem.message());
            let (_, hurt) = worst.entry(key).or_insert((problem, Vec::new()));
            hurt.push(Hurt { severity, user });
        }
    }
    let of_readers = worst.into_values().map(|(problem, mut hurt)| {
        hurt.sort_by_key(|it| (it.severity, &it.user.object));
        let severity = hurt.first().map_or(Severity::Warning, |it| it.severity);
        let users: Vec<&User> = hurt.iter().map(|it| it.user).collect();
        tell_own(scene, own, (severity, &problem), &users)
    });
    let of_readers: Vec<Finding> = of_readers.collect();
    if scene.pairs().next().is_some() || own.secret.secret.kind != "kubernetes.io/tls" {
        return of_readers;
    }
    let mut unused: BTreeMap<(u16, String), (Severity, Problem)> = BTreeMap::new();
    for problem in problems(&own.secret, Role::IngressServer, scene.now) {
        if let Some(severity) = severity_unused(&problem, own) {
            unused.insert((problem.code().0, problem.message()), (severity, problem));
        }
    }
    let unused = unused.into_values();
    unused.map(|(severity, problem)| tell_own(scene, own, (severity, &problem), &[])).collect()
}

/// A reader that a problem hurts.
struct Hurt<'a> {
    severity: Severity,
    user: &'a User,
}

/// A problem at its key, with the `users` that it hurts, the worst off first.
fn tell_own(
    scene: &Scene,
    own: &Own,
    (severity, problem): (Severity, &Problem),
    users: &[&User],
) -> Finding {
    let message = format!("{}{}", problem.message(), used_by(users, &scene.namespace));
    let path = own.secret.secret.path(&problem.key);
    let role = users.first().map_or(Role::IngressServer, |user| user.reference.role);
    let help = help(problem, role, (scene.object.name(), &scene.namespace));
    Finding::new(problem.code(), severity, scene.name(), path, message).help(help)
}

/// Everything that is wrong with a Secret for a reader of this role.
fn problems(seen: &SeenSecret, role: Role, now: i64) -> Vec<Problem> {
    let secret = &seen.secret;
    let mut problems: Vec<Problem> = secret
        .undecodable
        .iter()
        .map(|key| {
            let text = secret.path(key).find(&secret.object.0).and_then(Value::as_str);
            Problem::new(key, credential::undecodable(text.unwrap_or_default()))
        })
        .collect();
    match role {
        Role::IngressServer
        | Role::SidecarServer
        | Role::GatewayServer
        | Role::MutualGatewayServer
        | Role::ListenerServer
        | Role::ControllerServer => {
            let reading = seen.reading();
            problems.extend(reading.problems.iter().cloned());
            problems.extend(reading.problems_at(now));
            let key = reading.form.unwrap_or(Form::Tls).chain_key();
            problems.extend(reading.leaf().and_then(|leaf| leaf.wrong_for_server(key)));
            if role == Role::MutualGatewayServer && super::mutual_without_ca::holds_ca(seen) {
                problems.extend(authority_problems(&secret.data, role, now));
            }
        }
        Role::BackendClient | Role::VerifyingBackendClient | Role::AlbClient => {
            problems.extend(client_problems(seen, role, now));
        }
        Role::IngressClientCa => {
            problems.extend(authority_problems(&secret.data, role, now));
            // ingress-nginx takes the list along, if there is one.
            if secret.data.contains_key("ca.crl") {
                // OpenSSL, and so nginx, takes lists that the sidecar does not.
                let takes = |problem: &Problem| matches!(problem.fault, Fault::UnusableCrl { .. });
                let lists = revocation_problems(&secret.data, now);
                problems.extend(lists.into_iter().filter(|problem| !takes(problem)));
            }
        }
        Role::SidecarUpstreamClient | Role::GatewayBackendClient => {
            problems.extend(client_chain_problems(seen, now));
        }
        Role::GatewayBackendCa
        | Role::GatewayClientCa
        | Role::HostClientCa
        | Role::ListenerClientCa
        | Role::SidecarClientCa
        | Role::SidecarUpstreamCa => {
            problems.extend(authority_problems(&secret.data, role, now));
        }
        Role::SidecarClientCrl => problems.extend(revocation_problems(&secret.data, now)),
    }
    // A value that could not be decoded is not missing.
    problems.retain(|problem| {
        !matches!(problem.fault, Fault::KeyMissing { .. })
            || !secret.undecodable.contains(&problem.key)
    });
    problems
}

/// Where the contract looks for CAs first.
const READ_UNDER: &str = "ca.crt";

/// Whether the CAs in the Secret of a mutual server are not read, because its companion is there.
fn is_beside_a_companion(scene: &Scene, pair: &Pair<'_>) -> bool {
    let is_this = |sight: &&Sight| sight.reference == *pair.reference;
    pair.reference.role == Role::MutualGatewayServer
        && scene.references.iter().find(is_this).is_some_and(|sight| {
            let companion = super::mutual_without_ca::companion(scene, sight);
            companion.is_some_and(|it| it.secret.found().is_some())
        })
}

/// What is wrong with the CAs, of which this reader sees those under the keys that it knows.
fn authority_problems(data: &SecretData, role: Role, now: i64) -> Vec<Problem> {
    let seen: SecretData;
    let mut under = READ_UNDER;
    let trust = match role.ca_keys() {
        None => credential::read_authorities(data),
        Some(keys) => {
            // Of several the reader takes the first of its own; one without a value is none.
            let key = keys.iter().find(|key| data.get(**key).is_some_and(|it| !it.is_empty()));
            let key = key.or_else(|| keys.iter().find(|key| data.contains_key(**key)));
            let others =
                data.iter().filter(|(key, _)| !credential::CA_KEYS.contains(&key.as_str()));
            let mut known: SecretData = others.map(|it| (it.0.clone(), it.1.clone())).collect();
            if let Some((key, value)) = key.and_then(|key| Some((*key, data.get(*key)?))) {
                under = key;
                known.insert(READ_UNDER.to_owned(), value.clone());
            } else {
                under = keys.first().copied().unwrap_or(READ_UNDER);
            }
            seen = known;
            credential::read_authorities(&seen)
        }
    };
    let mut problems = trust.problems_at(now);
    problems.extend(trust.problems);
    for problem in problems.iter_mut().filter(|it| it.key == READ_UNDER) {
        under.clone_into(&mut problem.key);
        if let Fault::KeyMissing { found, .. } = &mut problem.fault {
            *found = data.keys().cloned().collect();
        }
    }
    problems
}

fn revocation_problems(data: &SecretData, now: i64) -> Vec<Problem> {
    let trust = credential::read_revocation_lists(data);
    let mut problems = trust.problems_at(now);
    problems.extend(trust.problems);
    problems
}

/// What is wrong with a chain that is presented as a client's: it is told by whoever lets it in, not by
/// a host.
fn client_chain_problems(seen: &SeenSecret, now: i64) -> Vec<Problem> {
    let reading = seen.reading();
    let of_chain = reading.problems.iter().cloned().chain(reading.problems_at(now));
    let matters = |problem: &Problem| {
        !matches!(
            problem.fault,
            Fault::CommonNameOnly { .. }
                | Fault::SelfSigned { .. }
                | Fault::CaAsLeaf { .. }
                | Fault::X509Version1 { .. }
        )
    };
    of_chain.filter(matters).collect()
}

/// The same for a reader that presents the chain as a client, if there is one, and trusts the CAs, if
/// there are any.
fn client_problems(seen: &SeenSecret, role: Role, now: i64) -> Vec<Problem> {
    let data = &seen.secret.data;
    let form = role.forms().first().copied().unwrap_or(Form::Tls);
    let holds = |key: &str| data.contains_key(key);
    let mut problems = Vec::new();
    let has_chain = holds(form.chain_key()) || holds(form.private_key());
    let has_ca = data.get(form.ca_key()).is_some_and(|value| !value.is_empty());
    if has_chain || !has_ca {
        problems.extend(client_chain_problems(seen, now));
    }
    if has_ca {
        problems.extend(authority_problems(data, role, now));
    } else if role == Role::VerifyingBackendClient {
        let fault = Fault::KeyMissing { form, found: data.keys().cloned().collect() };
        problems.push(Problem::new(form.ca_key(), fault));
    }
    problems
}

/// Whether another rule says it better: the wrong form, or a placeholder that will be filled.
fn is_told_elsewhere(problem: &Problem, pair: &Pair<'_>) -> bool {
    match problem.fault {
        Fault::KeyMissing { .. } => {
            pair.is_awaited()
                || super::secret_form::wrong_form(pair).is_some()
                || is_of_an_implementation(pair)
        }
        Fault::KeyEmpty => pair.is_awaited(),
        _ => false,
    }
}

/// Whether the Secret is one that an implementation of Gateway API defines for its own Gateways, such as Envoy Gateway's
/// `gateway.envoyproxy.io/sds`, which says where the certificate is to be had. What belongs into it is not ours to say: Gateway
/// API leaves Secrets that are not `kubernetes.io/tls` to them (`Gateway.spec.listeners.tls.certificateRefs`).
fn is_of_an_implementation(pair: &Pair<'_>) -> bool {
    let kind = pair.seen.secret.object.0.get("type").and_then(Value::as_str);
    let domain = kind.and_then(|kind| kind.split_once('/')).map(|(domain, _)| domain);
    let of_gateway_api =
        matches!(pair.reference.role, Role::ListenerServer | Role::GatewayBackendClient);
    of_gateway_api && domain.is_some_and(|domain| domain != "kubernetes.io")
}

/// What a problem does to this reader; nothing where it is a notice only.
fn severity(problem: &Problem, pair: &Pair<'_>, scene: &Scene) -> Option<Severity> {
    let severity = match (problem.gravity(), &problem.fault) {
        (Gravity::Notice, _) => return None,
        (Gravity::Weakness, _) => Severity::Warning,
        // A controller serves it, and clients that still read the CN go on.
        (Gravity::Fatal, Fault::CommonNameOnly { .. } | Fault::X509Version1 { .. })
            if is_covered_by_common_name(pair) =>
        {
            Severity::Warning
        }
        // Clocks differ: what is valid within the hour is meant for now.
        (Gravity::Fatal, Fault::NotYetValid { not_before, .. })
            if not_before - scene.now < 3600 =>
        {
            Severity::Warning
        }
        (Gravity::Fatal, Fault::NoCaInBundle)
            if pair.reference.role.trusts_leaves() && holds_certificate(problem, pair) =>
        {
            Severity::Warning
        }
        // ingress-nginx goes on without verification then, Traefik with the roots of its system.
        (Gravity::Fatal, Fault::KeyMissing { .. })
            if pair.reference.role == Role::VerifyingBackendClient && problem.key == "ca.crt" =>
        {
            Severity::Warning
        }
        (Gravity::Fatal, Fault::Placeholder { text })
            if scene.substitutes.is_some() && super::placeholder::is_variable(text) =>
        {
            Severity::Warning
        }
        (Gravity::Fatal, _) if pair.only_warns() => Severity::Warning,
        (Gravity::Fatal, _) => Severity::Error,
    };
    Some(severity)
}

/// Whether there is a certificate where the problem is, of whatever kind.
fn holds_certificate(problem: &Problem, pair: &Pair<'_>) -> bool {
    let value = pair.seen.secret.data.get(&problem.key).map(|it| String::from_utf8_lossy(it));
    value.is_some_and(|text| text.contains(" CERTIFICATE-----"))
}

/// Nobody reads the Secret, so nothing breaks; but whoever keeps a chain and a key under this type
/// means to serve them. A CA's own Secret has the type too.
fn severity_unused(problem: &Problem, own: &Own) -> Option<Severity> {
    let leaf = own.secret.reading().leaf();
    let is_ca = leaf.is_some_and(|leaf| leaf.is_ca);
    // A client certificate is kept in this type, too, and often before its reader is there.
    let is_client = leaf.is_some_and(|leaf| {
        leaf.purposes.as_ref().is_some_and(|purposes| purposes.contains(&Purpose::Client))
    });
    if is_client
        && matches!(problem.fault, Fault::WrongPurpose { .. } | Fault::CommonNameOnly { .. })
    {
        return None;
    }
    let awaited = own.maker.found().is_some() && own.secret.is_placeholder();
    if is_ca || awaited || own.secret.secret.written_by().is_some() {
        return None;
    }
    (problem.gravity() == Gravity::Fatal).then_some(Severity::Warning)
}

/// Whether the reader is a controller and the CN is right for all hosts; a sidecar's clients verify
/// with libraries that have no notion of a CN.
fn is_covered_by_common_name(pair: &Pair<'_>) -> bool {
    let Some(leaf) = pair.seen.reading().leaf() else { return false };
    pair.reference.role.is_controller_server()
        && pair.reference.hosts.iter().all(|at| {
            matches!(coverage(leaf, &at.host), Coverage::Covered | Coverage::ByCommonName)
        })
}

/// The contract's words, with the Secret's name and namespace in its commands.
fn help(problem: &Problem, role: Role, (name, namespace): (&str, &str)) -> String {
    let (name, namespace) = (escape(name), escape(namespace));
    let is_missing = matches!(problem.fault, Fault::KeyMissing { .. });
    let help = if is_missing && role == Role::HostClientCa {
        format!("Ambassador reads the CA under `tls.crt`; {}", problem::add_key("tls.crt"))
    } else {
        problem.help()
    };
    ["create secret tls", "create secret generic", "patch secret"].into_iter().fold(
        help,
        |help, verb| {
            let named = format!("kubectl {verb} {name} -n {namespace}");
            help.replace(&format!("kubectl {verb} NAME"), &named)
        },
    )
}

/// No more readers are named.
const MOST_NAMED: usize = 3;

/// Who is hurt, in a phrase; of another namespace with the hosts that are lost.
fn used_by(users: &[&User], namespace: &str) -> String {
    let mut named: Vec<String> = Vec::new();
    for user in users {
        let hosts = user.hosts();
        let name = if user.object.namespace == namespace || hosts.is_empty() {
            user.object.to_string()
        } else {
            format!("{} ({})", user.object, list(&hosts, 3))
        };
        if !named.contains(&name) {
            named.push(name);
        }
    }
    let more = named.len().saturating_sub(MOST_NAMED);
    named.truncate(MOST_NAMED);
    match (named.as_slice(), more) {
        ([], _) => String::new(),
        ([one], _) => format!("; {one} reads it"),
        ([before @ .., last], 0) => format!("; {} and {last} read it", before.join(", ")),
        (all, more) => format!("; {} and {more} more read it", all.join(", ")),
    }
}
