//! The one table of annotations: parsing, `docs/annotations.md` and "did you mean" all read it.

use std::fmt::Write as _;

use lasthop_contract::annotation as name;

/// An annotation of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// The full name.
    pub name: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// A value that works.
    pub example: &'static str,
    /// What it is about.
    pub level: Level,
    /// Whether this version serves it.
    pub support: Support,
}

/// What an annotation is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// One terminating listener; `NAME.PORT` says it of that listener alone.
    Listener,
    /// One originating listener; `NAME.PORT` says it of the one with that port on localhost.
    Upstream,
    /// The pod.
    Pod,
}

/// Whether this version serves an annotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// With every value.
    Served,
    /// With this value alone, which says to leave it.
    Only(&'static str),
    /// Not at all.
    Later,
}

/// `docs/annotations.md`.
pub fn document() -> String {
    let mut document = PREAMBLE.to_owned();
    for annotation in TABLE {
        let Annotation { name, default, meaning, example, level, support } = annotation;
        let name = match level {
            Level::Listener => format!("`{name}` ¹"),
            Level::Upstream => format!("`{name}` ²"),
            Level::Pod => format!("`{name}`"),
        };
        let meaning = match support {
            Support::Served => (*meaning).to_owned(),
            Support::Only(word) => format!("{meaning}. This version takes `{word}` alone"),
            Support::Later => format!("{meaning}. Not supported by this version, and refused"),
        };
        let example = match (example, support) {
            (_, Support::Later) | (&"", _) => String::new(),
            (example, _) => format!("`\"{example}\"`"),
        };
        let _infallible = writeln!(
            document,
            "| {name} | {default} | {} | {example} |",
            meaning.replace('|', "\\|")
        );
    }
    document
}

const PREAMBLE: &str = "\
# Annotations of pods and pod templates

<!-- Made from webhook/src/inject/table.rs; `UPDATE_GOLDEN=1 cargo test -p lasthop` writes it. -->

They belong to the pod: on a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job under
`spec.template.metadata.annotations`, on a CronJob under
`spec.jobTemplate.spec.template.metadata.annotations`. On the workload's own metadata they are an
error. A name or value that is not known is an error, too; nothing is passed over in silence.

The pod's namespace needs the label `lasthop.dev/inject: enabled` (or `true`); with `required`, pods
that do not ask for a sidecar are refused there.

Values are texts: `\"true\"`, not `true`.

¹ With the listener's port behind it, such an annotation is about that listener alone:
`lasthop.dev/client-auth.9443: none`.

² With the port on localhost behind it, it is about that next tier alone:
`lasthop.dev/upstream-ca-secret.9001: db-ca`.

| annotation | default | meaning | example |
| --- | --- | --- | --- |
";

/// The annotation of that full name, without a port behind it.
pub fn find(name: &str) -> Option<&'static Annotation> {
    TABLE.iter().find(|annotation| annotation.name == name)
}

/// All annotations, in the order of the documentation.
pub const TABLE: &[Annotation] = &[
    Annotation {
        name: name::INJECT,
        default: "no sidecar",
        meaning: "`true` (or `enabled`) injects the sidecar, `false` (or `disabled`) never does",
        example: "true",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::TLS_SECRET,
        default: "required to terminate",
        meaning: "the Secret with chain and key, or several with commas between them, chosen by SNI; the first also \
                  serves clients without or with unknown SNI. Its `ca.crt` never becomes a client CA by itself",
        example: "web-tls",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::PORTS,
        default: "`8443:` and the app's only port",
        meaning: "pairs of a port that the sidecar listens on and the app's port, with commas between them. The app's \
                  only port is the one TCP port of the container that `kubectl.kubernetes.io/default-container` \
                  names, else of all containers",
        example: "8443:8080,9443:9090",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::PROTOCOL,
        default: "`http`",
        meaning: "what the app speaks on localhost: `http`, `h2c` (HTTP/2 without TLS) or `tcp` (bytes)",
        example: "h2c",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_AUTH,
        default: "`required` with a CA, else `none`",
        meaning: "whether a client must (`required`), may (`optional`) or need not (`none`) present a certificate; one \
                  that is presented must be good",
        example: "required",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_CA_SECRET,
        default: "–",
        meaning: "the Secret, or `configmap/NAME`, with the CAs that client certificates must chain to, under `ca.crt`, \
                  `cacert` or `trusted.crt`",
        example: "alb-ca",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::ALLOWED_CLIENTS,
        default: "required with a CA",
        meaning: "who may come in, with commas or line breaks between them: `dns:`, `uri:`, `ip:`, `email:`, `cn:` \
                  (only where the certificate has no SAN), `sha256:` of the certificate, `spki:` of the key; `*` is any \
                  client of this CA",
        example: "dns:*.alb.example.com",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_EKU,
        default: "`either` where all allowed clients are named, `client` with `*`",
        meaning: "the extended key usages that a client certificate may carry: `client`, `server` (a balancer that \
                  presents its server certificate) or `either`",
        example: "either",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_CRL_SECRET,
        default: "–",
        meaning: "the Secret with revocation lists, under `ca.crl`, `crl` or `crl.pem`",
        example: "alb-crl",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_CRL_EXPIRED,
        default: "`accept`",
        meaning: "what a revocation list past its time does: `accept` goes on with it, `refuse` lets nobody in",
        example: "refuse",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_CRL_UNKNOWN,
        default: "`accept`",
        meaning: "what a certificate does whose CA has no list among them: `accept` lets it pass, `refuse` refuses its \
                  client; with `client-crl-depth: chain` that asks for a list of every CA of the path",
        example: "refuse",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_CRL_DEPTH,
        default: "`chain`",
        meaning: "which certificates are looked for in the lists: `chain`, the client's and every intermediate, or \
                  `leaf`, the client's alone",
        example: "leaf",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::CLIENT_AUTH_EXEMPT_PATHS,
        default: "–",
        meaning: "raw paths that health checkers without a certificate may GET, compared exactly and without the \
                  query, with commas between them; for them the handshake does not insist on a certificate",
        example: "/healthz,/readyz",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::TRUSTED_PROXIES,
        default: "none",
        meaning: "whose `X-Forwarded-*` (the way, not users) and `Forwarded` are believed and extended: client \
                  patterns, CIDRs, or the word `allowed-clients`; from all others they are stripped",
        example: "allowed-clients",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::IDENTITY_HEADERS,
        default: "`xfcc`; nothing with `tcp`",
        meaning: "what the app is told of the client: `none`, or some of `xfcc` (X-Forwarded-Client-Cert), `rfc9440` \
                  (Client-Cert), `aws` (X-Amzn-Mtls-*) and `forwarded` (Forwarded, RFC 7239)",
        example: "xfcc,rfc9440",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::PROXY_PROTOCOL,
        default: "`off`",
        meaning: "`accept` takes a PROXY header of either version from the networks of `trusted-proxies`, which then have \
                  to send one; `send` (with `tcp`) sends the app one of version 2; both with a comma between them, or `off`",
        example: "accept",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::ALPN,
        default: "–",
        meaning: "with protocol `tcp`: what is agreed on with clients by ALPN, the preferred first; `proxy-protocol: send` \
                  tells the app. HTTP listeners speak `h2` and `http/1.1`",
        example: "h2,http/1.1",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::REDIRECT_PORT,
        default: "–",
        meaning: "a plain HTTP port that redirects to https on the same host",
        example: "8081",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::REDIRECT_STATUS,
        default: "308",
        meaning: "the status of that redirect: `301`, `302`, `307` or `308`",
        example: "302",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::REDIRECT_HTTPS_PORT,
        default: "443",
        meaning: "the port that the redirect leads to, on which browsers reach https",
        example: "8443",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::HSTS,
        default: "–",
        meaning: "the `Strict-Transport-Security` of answers in which the app writes none: `max-age=SECONDS`, \
                  `includeSubDomains`, `preload`",
        example: "max-age=31536000; includeSubDomains",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::UPSTREAMS,
        default: "–",
        meaning: "originate: `local-port=https://host:port` (HTTP) or `local-port=tls://host:port` (bytes), with commas \
                  between them; the app connects to `127.0.0.1:local-port`",
        example: "9001=https://db.example.com:443",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::UPSTREAM_CLIENT_SECRET,
        default: "–",
        meaning: "the Secret that the sidecar presents to the next tier",
        example: "web-client",
        level: Level::Upstream,
        support: Support::Served,
    },
    Annotation {
        name: name::UPSTREAM_CA_SECRET,
        default: "the built-in Mozilla roots",
        meaning: "the Secret, or `configmap/NAME`, with the CAs that the next tier's certificate must chain to",
        example: "db-ca",
        level: Level::Upstream,
        support: Support::Served,
    },
    Annotation {
        name: name::UPSTREAM_SERVER_NAMES,
        default: "the host",
        meaning: "the names of which the next tier's certificate must bear one: bare names and addresses, or patterns as in \
                  `allowed-clients` (no `*`, `cn:` or `email:`)",
        example: "db.internal.example.com",
        level: Level::Upstream,
        support: Support::Served,
    },
    Annotation {
        name: name::UPSTREAM_SNI,
        default: "the host",
        meaning: "the server name that the sidecar asks the next tier for",
        example: "db.internal.example.com",
        level: Level::Upstream,
        support: Support::Served,
    },
    Annotation {
        name: name::REQUIRE_LOOPBACK,
        default: "`true` with client authentication, else `false`",
        meaning: "whether the pod is unready while the app's port answers on the pod's own address. With `true` the sidecar \
                  performs kubelet's probes of that port",
        example: "true",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::STATUS_PORT,
        default: "`15443`",
        meaning: "the port of the sidecar's `/livez`, `/readyz` and `/metrics`, in plain HTTP",
        example: "15444",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::APP_SOCKET,
        default: "–",
        meaning: "a Unix socket of the app instead of a port, in a volume that the app's container mounts; `ports` then names \
                  the listener alone, `8443`",
        example: "/run/app/app.sock",
        level: Level::Listener,
        support: Support::Served,
    },
    Annotation {
        name: name::IGNORE,
        default: "–",
        meaning: "codes of findings that are not wanted here, each with a reason; what is about lasthop's own safety \
                  stays",
        example: "LH121: a trial",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::MISSING_SECRET,
        default: "the namespace's label, else `enforce`",
        meaning: "what a Secret that is not there does: `enforce`, `warn` or `off`",
        example: "warn",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_IMAGE,
        default: "`--sidecar-image`",
        meaning: "the sidecar's image, one of `--allowed-sidecar-images`",
        example: "registry.example.com/lasthop-sidecar:0.1.0",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_IMAGE_PULL_POLICY,
        default: "`--sidecar-image-pull-policy`",
        meaning: "`Always`, `IfNotPresent` or `Never`",
        example: "IfNotPresent",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_CPU_REQUEST,
        default: "`--sidecar-cpu-request`",
        meaning: "the sidecar's CPU request; in a Guaranteed pod the limit",
        example: "50m",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_CPU_LIMIT,
        default: "`--sidecar-cpu-limit`",
        meaning: "the sidecar's CPU limit",
        example: "1",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_MEMORY_REQUEST,
        default: "`--sidecar-memory-request`",
        meaning: "the sidecar's memory request; in a Guaranteed pod the limit",
        example: "48Mi",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_MEMORY_LIMIT,
        default: "`--sidecar-memory-limit`",
        meaning: "the sidecar's memory limit",
        example: "256Mi",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_LOG_LEVEL,
        default: "`--sidecar-log-level`",
        meaning: "`error`, `warn`, `info` (every request) or `debug`",
        example: "warn",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_DRAIN_DELAY,
        default: "`--sidecar-drain-delay`",
        meaning: "how long after SIGTERM new connections are still taken, as `5s` or `1m30s`",
        example: "10s",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_DRAIN_TIMEOUT,
        default: "`--sidecar-drain-timeout`",
        meaning: "how long after SIGTERM what is still open is cut",
        example: "60s",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::SIDECAR_NATIVE,
        default: "`--sidecar-native`",
        meaning: "`true` makes the sidecar an init container that restarts (Kubernetes 1.29 and newer), `false` an \
                  ordinary container",
        example: "true",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::STATUS,
        default: "written by lasthop",
        meaning: "what was injected: the version and a digest of the input; never trusted when read back",
        example: "",
        level: Level::Pod,
        support: Support::Served,
    },
    Annotation {
        name: name::ORIGINAL_PROBES,
        default: "written by lasthop",
        meaning: "the probes and hooks that the sidecar performs, as they were; worked out anew at each injection",
        example: "",
        level: Level::Pod,
        support: Support::Served,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/annotations.md");
        if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
            std::fs::write(path, document()).unwrap();
        }
        let file = std::fs::read_to_string(path).unwrap_or_default();
        assert!(file == document(), "docs/annotations.md: UPDATE_GOLDEN=1 writes it anew");
    }

    #[test]
    fn every_example_is_taken() {
        for annotation in TABLE.iter().filter(|it| it.support == Support::Served) {
            let wrongs =
                crate::inject::annotations::check_value(annotation.name, annotation.example);
            assert!(wrongs.is_empty(), "{}: {wrongs:?}", annotation.name);
        }
    }

    #[test]
    fn no_name_is_twice_in_the_table() {
        let names: std::collections::BTreeSet<&str> = TABLE.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }
}
