//! LH241: TLS settings of a server that speaks none.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::istio_gateway::servers;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(241),
    name: "tls-on-plaintext-port",
    summary: "a server of a Gateway names a certificate and speaks plaintext",
    why: "Istio reads `tls.credentialName` for the protocols HTTPS and TLS. With HTTP the port speaks plaintext.",
    symptoms: &[
        At::Istio.shows("the port speaks plaintext"),
        At::Curl.shows("\"wrong version number\""),
        At::Browsers.shows("`ERR_SSL_PROTOCOL_ERROR`"),
    ],
    example: "\
kind: Gateway
spec:
  servers:
  - port:
      number: 443
      protocol: HTTP
    tls:
      mode: SIMPLE
      credentialName: shop-tls",
    cure: "\
kind: Gateway
spec:
  servers:
  - port:
      number: 443
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: shop-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let plain = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "MONGO", "REDIS", "MYSQL"];
    let is_plain = |protocol: &str| plain.contains(&protocol);
    let servers = servers(&scene.object).into_iter();
    let servers = servers.filter(|it| is_plain(&it.protocol) && !it.credentials.is_empty());
    servers
        .map(|server| {
            let protocol = escape(&server.protocol);
            let path = server.path.key("port").key("protocol");
            let message = format!("the port speaks {protocol}: its certificate is not served");
            RULE.warning(scene, path, message).help("write `protocol: HTTPS`, or `TLS` for TCP")
        })
        .collect()
}
