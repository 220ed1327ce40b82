//! LH301 to LH311: annotations.

use crate::inject::code;
use crate::rules::Rule;
use crate::symptom::At;

pub(super) static PAGES: &[Rule] = &[
    Rule {
        code: code::UNKNOWN,
        name: "annotation-unknown",
        summary: "an annotation under `lasthop.dev/` is not known",
        why: "Kubernetes stores any annotation. One that is misspelt would be passed over, and the sidecar would run \
              without what it says: a `clientca-secret` that nobody reads lets everybody in.",
        symptoms: &[
            At::Kubernetes.shows("without lasthop nothing: it stores any annotation"),
            At::Sidecar.shows(
                "runs without what was asked for: \"a stranger gets 200\" is the usual discovery",
            ),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/inject: \"true\"
    lasthop.dev/tls-secret: web-tls
    lasthop.dev/clientca-secret: alb-ca",
        cure: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: alb-ca",
        judge: None,
    },
    Rule {
        code: code::VALUE,
        name: "annotation-value",
        summary: "the value of an annotation cannot be read",
        why: "A value that is not understood is not guessed at. Values are texts: a bare `true` or `8443` is none in \
              YAML, and the API server refuses it with \"cannot unmarshal bool into Go struct field\".",
        symptoms: &[At::Apply.shows(
            "\"cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of \
                 type string\" for a bare `true`; else lasthop refuses it",
        )],
        example: "\
metadata:
  annotations:
    lasthop.dev/client-auth: requierd
    lasthop.dev/ports: 8443",
        cure: "\
metadata:
  annotations:
    lasthop.dev/client-auth: required
    lasthop.dev/ports: \"8443:8080\"",
        judge: None,
    },
    Rule {
        code: code::UNSUPPORTED,
        name: "annotation-unsupported",
        summary: "an annotation is known, but this version does not serve it",
        why: "The sidecar would run without what the annotation asks for, and nobody would notice. So the pod is refused \
              until the annotation goes, or a version comes that serves it.",
        symptoms: &[At::Apply.shows("lasthop of this version refuses what a newer one takes")],
        example: "\
metadata:
  annotations:
    lasthop.dev/proxy-protocol: accept",
        cure: "Leave the annotation out.",
        judge: None,
    },
    Rule {
        code: code::REQUIRED,
        name: "annotation-required",
        summary: "`lasthop.dev/tls-secret` is missing",
        why: "Without a certificate there is no TLS to end.",
        symptoms: &[At::Apply.shows("lasthop refuses the workload")],
        example: "\
metadata:
  annotations:
    lasthop.dev/inject: \"true\"",
        cure: "\
metadata:
  annotations:
    lasthop.dev/inject: \"true\"
    lasthop.dev/tls-secret: web-tls",
        judge: None,
    },
    Rule {
        code: code::ALLOWED_CLIENTS,
        name: "allowed-clients-missing",
        summary: "client certificates are verified, but nobody says whose",
        why: "A CA says that a certificate is real, not that its holder may come in. With a public CA every holder of a \
              Let's Encrypt certificate would pass; with a company's CA, every machine and every colleague.",
        symptoms: &[
            At::Apply.shows("lasthop refuses the workload"),
            At::Sidecar.shows("started by hand it ends at once, with the same words"),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: alb-ca",
        cure: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: alb-ca
    lasthop.dev/allowed-clients: \"dns:*.alb.example.com\"
    # or, for every client of a CA of your own: \"*\"",
        judge: None,
    },
    Rule {
        code: code::CONFLICT,
        name: "annotation-conflict",
        summary: "annotations contradict each other, or one does nothing without another",
        why: "Whoever writes `allowed-clients` means to keep others out. Without a CA nobody is asked for a certificate, \
              so nobody is kept out. An annotation that does nothing is therefore an error, unless it is \
              meant for all listeners and one of them has been excepted with `lasthop.dev/client-auth.PORT: none`.",
        symptoms: &[At::Apply.shows("lasthop refuses the workload")],
        example: "\
metadata:
  annotations:
    lasthop.dev/client-auth: required
    lasthop.dev/allowed-clients: dns:alb.example.com",
        cure: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: alb-ca
    lasthop.dev/allowed-clients: dns:alb.example.com",
        judge: None,
    },
    Rule {
        code: code::LISTENER,
        name: "annotation-port",
        summary: "an annotation is about a port that no listener has",
        why: "`lasthop.dev/NAME.PORT` is about the listener with that port: the one that clients connect to, which is the \
              first of each pair in `lasthop.dev/ports`. Some annotations are about the pod and take no port.",
        symptoms: &[At::Apply
            .shows("lasthop refuses the workload; its message lists the ports that there are")],
        example: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8080\"
    lasthop.dev/protocol.8080: h2c",
        cure: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8080\"
    lasthop.dev/protocol.8443: h2c",
        judge: None,
    },
    Rule {
        code: code::MISPLACED,
        name: "annotation-misplaced",
        summary: "annotations of a sidecar stand on the workload instead of its template",
        why: "Kubernetes copies the annotations of the template to the pods, and those of the Deployment to no pod. The pods \
              would run without the sidecar, and the port that was to speak TLS would refuse connections.",
        symptoms: &[
            At::Kubernetes.shows("the pods run `1/1`, without the container `lasthop`"),
            At::Curl.shows("\"Connection refused\" at the port that was to speak TLS"),
        ],
        example: "\
kind: Deployment
metadata:
  annotations:
    lasthop.dev/inject: \"true\"",
        cure: "\
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/inject: \"true\"",
        judge: None,
    },
    Rule {
        code: code::NOT_ASKED,
        name: "sidecar-not-asked-for",
        summary: "a pod says how its sidecar is to be, but does not ask for one",
        why: "Only `lasthop.dev/inject: \"true\"` asks. Without it the other annotations do nothing: the pod runs \
              without a sidecar, and at its port nobody ends TLS. A balancer that re-encrypts answers 502.",
        symptoms: &[
            At::Kubernetes.shows("the pods run `1/1`, without the container `lasthop`"),
            At::IngressNginx.shows(
                "answers 502 and logs \"connect() failed (111: Connection refused) while \
                 connecting to upstream\"",
            ),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/tls-secret: web-tls",
        cure: "\
metadata:
  annotations:
    lasthop.dev/inject: \"true\"
    lasthop.dev/tls-secret: web-tls",
        judge: None,
    },
    Rule {
        code: code::UNLABELLED,
        name: "namespace-not-labelled",
        summary: "a pod asks for a sidecar where injection is not switched on",
        why: "The API server shows lasthop only the pods of namespaces with the label `lasthop.dev/inject`, so that an outage of \
              lasthop stops nobody else. In other namespaces the pods run without a sidecar: at its port nobody ends TLS, and \
              a balancer that re-encrypts answers 502.",
        symptoms: &[
            At::Kubernetes.shows("the pods run `1/1`, without the container `lasthop`"),
            At::IngressNginx.shows(
                "answers 502 and logs \"connect() failed (111: Connection refused) while \
                 connecting to upstream\"",
            ),
        ],
        example: "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop # no label, and a Deployment in it that asks",
        cure: "`kubectl label namespace shop lasthop.dev/inject=enabled`, then `kubectl rollout restart deployment -n shop`.",
        judge: None,
    },
    Rule {
        code: code::OPTED_OUT,
        name: "opted-out",
        summary: "a pod opts out of the sidecar in a namespace where injection is switched on",
        why: "Somebody switched injection on for the namespace, and somebody else took this pod out. What reaches it comes \
              as it comes, in plaintext perhaps. That is allowed, and said to whoever applies it.",
        symptoms: &[
            At::Kubernetes.shows("the pod runs `1/1`, without the container `lasthop`"),
            At::Apply.shows("a warning"),
        ],
        example: "\
apiVersion: v1
kind: Pod
metadata:
  namespace: shop # labelled lasthop.dev/inject: enabled
  annotations:
    lasthop.dev/inject: \"false\"",
        cure: "Leave it where that is meant; `lasthop.dev/inject: required` on the namespace forbids it.",
        judge: None,
    },
    Rule {
        code: code::DEMANDED,
        name: "sidecar-demanded",
        summary: "the namespace requires a sidecar of every pod, and this one has none",
        why: "With the label `lasthop.dev/inject: required` nothing runs in a namespace that is not behind TLS. The label is \
              the namespace owner's; an annotation cannot overrule it.",
        symptoms: &[At::Kubernetes.shows(
            "the Deployment has `0` ready; event `FailedCreate` at its ReplicaSet, with the \
                 words of lasthop",
        )],
        example: "\
apiVersion: v1
kind: Pod
metadata:
  namespace: shop # labelled lasthop.dev/inject: required
  annotations:
    lasthop.dev/inject: \"false\"",
        cure: "\
metadata:
  annotations:
    lasthop.dev/inject: \"true\"
    lasthop.dev/tls-secret: web-tls",
        judge: None,
    },
];
