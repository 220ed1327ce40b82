//! LH214: a field that is not of the type it should have.

use lasthop_contract::problem::Code;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::Ingress;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(214),
    name: "field-type",
    summary: "a field of the TLS part, or of the metadata, is not of the type it should have",
    why: "`hosts: shop.example.com` is a text where a list belongs, and `tls:` without a dash is a mapping where a \
          list belongs; `proxy-ssl-verify: on` is a boolean, which no annotation can be. The API server refuses it \
          without the line.",
    symptoms: &[At::Apply.shows(
        "\"json: cannot unmarshal string into Go struct field\", or \"strict decoding \
             error\"; no controller sees it",
    )],
    example: "\
spec:
  tls:
  - hosts: shop.example.com
    secretName: shop-tls",
    cure: "\
spec:
  tls:
  - hosts:
    - shop.example.com
    secretName: shop-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    ingress
        .mistyped
        .into_iter()
        .map(|it| {
            let message = format!("`{}` is {}, not {}", it.path, it.found, it.expected);
            let help = match it.found {
                "a boolean" | "a number" if it.expected == "a text" => {
                    "put the value in double quotes".to_owned()
                }
                _ => format!("write {} there", it.expected),
            };
            RULE.error(scene, it.path, message).help(help)
        })
        .collect()
}
