//! LH219: one key of a Secret in two places.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::object::texts;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(219),
    name: "string-data-over-data",
    summary: "a key of the Secret stands under `data` and, with another value, under `stringData`",
    why: "The API server lays `stringData` over `data`, without a word: what stands under `data` is never stored. After a \
          renewal that replaced one of the two, the Secret keeps the old certificate, or a key that is not the \
          certificate's.",
    symptoms: &[
        At::Apply.shows("nothing"),
        At::IngressNginx.shows(
            "serves the old certificate, or logs \"certificate and private key does not have a \
             matching public key\"",
        ),
    ],
    example: "\
kind: Secret
data:
  tls.crt: LS0t... # the new certificate
stringData:
  tls.crt: | # the old one, which wins
    -----BEGIN CERTIFICATE-----",
    cure: "Keep one of the two.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    if scene.own.is_none() {
        return Vec::new();
    }
    let object = &scene.object.0;
    let data: BTreeMap<&str, &str> = texts(object.get("data"));
    let over = texts(object.get("stringData"));
    let differs = |(key, text): &(&str, &str)| {
        data.get(key).is_some_and(|value| {
            let value = STANDARD.decode(value.replace(['\r', '\n'], ""));
            value.is_ok_and(|value| !value.is_empty() && value != text.as_bytes())
        })
    };
    over.into_iter()
        .filter(differs)
        .map(|(key, _)| {
            let name = escape(key);
            let message =
                format!("`stringData` replaces the `{name}` of `data` with another value");
            RULE.warning(scene, FieldPath::of(["stringData", key]), message)
                .help("keep the one that is meant")
        })
        .collect()
}
