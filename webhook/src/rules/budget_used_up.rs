//! LH902: more Secrets than one review may look at.

use lasthop_contract::problem::Code;

use super::Rule;
use crate::check::Scene;
use crate::check::gather::BUDGET_USED_UP;
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(902),
    name: "budget-used-up",
    summary: "the object names more Secrets than one review may look at",
    why: "A review has to answer within seconds, so it makes 64 lookups at most. What is left is let through \
          without a look.",
    symptoms: &[At::Apply.shows("a warning, and the object is stored")],
    example: "\
# an Ingress with 100 items of spec.tls, each with a Secret of its own",
    cure: "Split the object, or run `lasthop check -f` over it: the command line has no such bound.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let is_left =
        |secret: &Sighting<_>| matches!(secret, Sighting::Unknown(why) if why == BUDGET_USED_UP);
    let left = scene.references.iter().filter(|sight| is_left(&sight.secret)).count();
    let users = matches!(&scene.users, Sighting::Unknown(why) if why == BUDGET_USED_UP);
    if left == 0 && !users {
        return Vec::new();
    }
    let message = match left {
        0 => "could not look who uses this Secret: the budget of the review is used up".to_owned(),
        left => {
            format!("{left} of the Secrets named here were not looked at, one review has a budget")
        }
    };
    let path = scene.references.iter().find(|sight| is_left(&sight.secret));
    let path =
        path.map_or_else(|| FieldPath::of(["metadata", "name"]), |it| it.reference.path.clone());
    vec![RULE.warning(scene, path, message).help("`lasthop check -f` looks at all of them")]
}
