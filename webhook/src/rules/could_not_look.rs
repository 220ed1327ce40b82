//! LH901: nobody could say whether a Secret is there.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::gather::BUDGET_USED_UP;
use crate::check::{Scene, Setting, Sight};
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::reference::Role;
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(901),
    name: "could-not-look",
    summary: "something that the object refers to could not be looked at",
    why: "In a cluster, the API server did not answer in time or lasthop has no right to look; among files, the object is \
          simply not there. lasthop never refuses what it could not look at, so a mistake may have passed \
          unseen.",
    symptoms: &[
        At::Apply.shows("a warning, and the object is stored"),
        At::Kubernetes.shows(
            "where a right is missing: `secrets \"...\" is forbidden` in the log of lasthop",
        ),
    ],
    example: "\
$ lasthop check -f ingress.yaml # without the file that holds the Secret",
    cure: "Give `lasthop check` all files at once. In a cluster, the reason in the message says what is missing: a right (see the \
           role `lasthop` of the base manifests), or an API server that answers within 2 s.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings: Vec<_> =
        scene.references.iter().filter_map(|sight| judge_one(scene, sight)).collect();
    if let Sighting::Unknown(why) = &scene.users
        && why != BUDGET_USED_UP
    {
        let message = format!("could not look who uses this Secret: {why}");
        findings.push(RULE.warning(scene, FieldPath::of(["metadata", "name"]), message));
    }
    findings
}

fn judge_one(scene: &Scene, sight: &Sight) -> Option<Finding> {
    let Sighting::Unknown(why) = &sight.secret else { return None };
    let reference = &sight.reference;
    if why == BUDGET_USED_UP
        || reference.role == Role::GatewayClientCa
        || sight.maker.found().is_some()
        || super::placeholder::is_placeholder(&reference.secret)
        || super::secret_name::fault(sight).is_some()
    {
        return None;
    }
    let (called, namespace) = (reference.called(), escape(&reference.namespace));
    let message = if namespace.is_empty() {
        format!("could not look at {called}: {why}")
    } else {
        format!("could not look at {called} of namespace `{namespace}`: {why}")
    };
    let path = reference.path.clone();
    match scene.setting {
        Setting::Review => {
            Some(RULE.warning(scene, path, message).help("it was let through without a look"))
        }
        // The rule secret-missing has said more already.
        Setting::Files if sight.nearest.is_some() => None,
        Setting::Files => Some(
            RULE.info(scene, path, message).help("add the file that holds it, to have it checked"),
        ),
    }
}
