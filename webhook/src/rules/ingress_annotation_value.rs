//! LH228: a value that its reader does not know.

use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::is_ingress;
use crate::reference::ingress_annotations::{ALB_PROTOCOL, Annotated, Reader, annotated, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(228),
    name: "ingress-annotation-value",
    summary: "an annotation about TLS has a value that its controller does not know",
    why: "Controllers do not refuse a value that they do not know, they take their default: ingress-nginx speaks \
          plaintext to the application for an unknown `backend-protocol`, and demands a certificate of every \
          client for an unknown `auth-tls-verify-client`. AWS's controller makes no load balancer at all.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"validation error ...: annotation ... contains invalid value\" and takes its \
             default; with `backend-protocol` a TLS port answers 400, a sidecar cuts off (LH521)",
        ),
        At::AwsAlb
            .shows("event `FailedBuildModel`, \"backend protocol must be within [HTTP, HTTPS]\""),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: TLS",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS",
    judge: Some(judge),
};

/// An annotation with a fixed set of values.
struct Choice {
    name: &'static str,
    values: &'static [&'static str],
    otherwise: &'static str,
}

static OF_NGINX: [Choice; 4] = [
    Choice {
        name: "backend-protocol",
        values: &["HTTP", "HTTPS", "AUTO_HTTP", "GRPC", "GRPCS", "FCGI"],
        otherwise: "HTTP is spoken",
    },
    Choice {
        name: "auth-tls-verify-client",
        values: &["on", "off", "optional", "optional_no_ca"],
        otherwise: "it counts as `on`",
    },
    Choice {
        name: "proxy-ssl-server-name",
        values: &["on", "off"],
        otherwise: "it counts as `off`, no server name is sent",
    },
    Choice {
        name: "ssl-passthrough",
        values: &["true", "false", "t", "f", "1", "0"],
        otherwise: "it counts as `false`",
    },
];

static OF_AWS: Choice = Choice {
    name: ALB_PROTOCOL,
    values: &["HTTP", "HTTPS"],
    otherwise: "no load balancer is made",
};

fn judge(scene: &Scene) -> Vec<Finding> {
    if !is_ingress(&scene.object) {
        return Vec::new();
    }
    let reader = Reader::of(&scene.object);
    // A name has its place there with Traefik, and ingress-nginx may not be the reader.
    let is_read = |choice: &&Choice| match choice.name {
        "proxy-ssl-server-name" => reader == Some(Reader::IngressNginx),
        _ => reader.is_some(),
    };
    let of_nginx = OF_NGINX.iter().filter(is_read);
    let of_nginx = of_nginx.filter_map(|it| Some((it, nginx(&scene.object, it.name)?)));
    let of_aws = annotated(&scene.object, ALB_PROTOCOL).map(|at| (&OF_AWS, at));
    of_nginx.chain(of_aws).filter_map(|(choice, at)| judge_one(scene, choice, &at)).collect()
}

fn judge_one(scene: &Scene, choice: &Choice, at: &Annotated) -> Option<Finding> {
    let value = at.value.trim();
    let is_known = choice.values.iter().any(|known| known.eq_ignore_ascii_case(value));
    if is_known || value.is_empty() || super::placeholder::is_placeholder(value) {
        return None;
    }
    let message =
        format!("`{}` does not know `{}`: {}", choice.name, escape(value), choice.otherwise);
    let upper = value.to_ascii_uppercase();
    let near = nearest(&upper, choice.values.iter().copied());
    let help = match near.or_else(|| nearest(value, choice.values.iter().copied())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", list(choice.values, 6)),
    };
    Some(RULE.warning(scene, at.path.clone(), message).help(help))
}
