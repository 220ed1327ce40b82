//! The codes of the sidecar's own log: why a connection was refused, and why the next tier did not
//! answer. They are found at run time, by the sidecar; here are their pages in `docs/rules.md`.

use lasthop_contract::problem::Code;

use crate::symptom::{At, Symptom};

mod upstream;

/// What the sidecar logs under a code.
#[derive(Debug)]
pub struct Logged {
    /// The stable code.
    pub code: Code,
    /// The word under `reason`, in the log and in the metrics `lasthop_refused_connections_total` and
    /// `lasthop_upstream_failures_total`.
    pub reason: &'static str,
    /// What happened, in a phrase.
    pub what: &'static str,
    /// Why.
    pub why: &'static str,
    /// What is seen of it elsewhere.
    pub symptoms: &'static [Symptom],
    /// What to do.
    pub cure: &'static str,
}

/// Everything that the sidecar logs under a code of its own, by code.
pub fn all() -> impl Iterator<Item = &'static Logged> {
    let upstream = upstream::CERTIFICATES.iter().chain(upstream::HANDSHAKES);
    CLIENTS.iter().chain(HANDSHAKES).chain(upstream).chain(upstream::CONNECTIONS)
}

/// What is logged under a code.
pub fn find(code: Code) -> Option<&'static Logged> {
    all().find(|logged| logged.code == code)
}

/// Clients that the policy refuses.
static CLIENTS: &[Logged] = &[
    Logged {
        code: Code(501),
        reason: "no_certificate",
        what: "the client presented no certificate",
        why: "`lasthop.dev/client-auth` is `required`, as it is by default where a client CA is named. A balancer \
              without client certificate, a probe or a browser is refused in the handshake.",
        symptoms: &[
            At::Curl.shows("\"tlsv13 alert certificate required\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"tlsv13 alert \
                 certificate required\"",
            ),
            At::Browsers.shows("`ERR_BAD_SSL_CLIENT_AUTH_CERT`"),
        ],
        cure: "Give the client a certificate (for ingress-nginx `proxy-ssl-secret`, for curl `--cert` and `--key`); for \
               health checks without one, name their paths in `lasthop.dev/client-auth-exempt-paths`.",
    },
    Logged {
        code: Code(502),
        reason: "unreadable",
        what: "the client's certificate cannot be read",
        why: "It is no X.509 version 3 certificate. Old scripts make version 1 with `openssl x509 -req` without \
              extensions.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert bad certificate\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 bad certificate\"",
            ),
        ],
        cure: "Issue it anew as version 3, with a subject alternative name.",
    },
    Logged {
        code: Code(503),
        reason: "unknown_issuer",
        what: "no trusted CA vouches for the client",
        why: "Its chain does not lead to a CA in `lasthop.dev/client-ca-secret`: another CA issued it, the CA was \
              renewed, or the client leaves its intermediate certificates out.",
        symptoms: &[
            At::Curl.shows("\"tlsv1 alert unknown ca\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"tlsv1 alert \
                 unknown ca\"",
            ),
        ],
        cure: "Compare `issuer` of the log line with the CAs in the Secret. Add the CA that is missing there, or have the \
               client send its whole chain.",
    },
    Logged {
        code: Code(504),
        reason: "expired",
        what: "the client's certificate expired",
        why: "It, or a certificate of its chain, is past its time.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert certificate expired\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 certificate expired\"",
            ),
        ],
        cure: "Renew it, and see that the client reads the new one: many do so only when they are started again.",
    },
    Logged {
        code: Code(505),
        reason: "not_yet_valid",
        what: "the client's certificate is not valid yet",
        why: "Its time begins later than now: it was made in advance, or a clock is wrong.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert certificate expired\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 certificate expired\"",
            ),
        ],
        cure: "Wait, or set the clocks of the node and of the machine that issues certificates.",
    },
    Logged {
        code: Code(506),
        reason: "wrong_purpose",
        what: "the client's certificate is for another purpose",
        why: "Its extended key usage is not what `lasthop.dev/client-eku` takes. Certificates of public CAs are for \
              servers only.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert unsupported certificate\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 unsupported certificate\"",
            ),
        ],
        cure: "Issue one for client authentication, or name the clients in `lasthop.dev/allowed-clients`, whereupon \
               `lasthop.dev/client-eku: either` takes both.",
    },
    Logged {
        code: Code(507),
        reason: "ca_as_client",
        what: "the client presented a CA certificate",
        why: "A certificate that may issue others identifies no client.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert unsupported certificate\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 unsupported certificate\"",
            ),
        ],
        cure: "Issue a certificate of its own for the client, without `CA:TRUE`.",
    },
    Logged {
        code: Code(508),
        reason: "revoked",
        what: "the client's certificate was revoked",
        why: "A list in `lasthop.dev/client-crl-secret` names it.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert certificate revoked\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 certificate revoked\"",
            ),
        ],
        cure: "Issue another one to the client, if it is still to come in.",
    },
    Logged {
        code: Code(509),
        reason: "revocation_unknown",
        what: "no current revocation list covers the client's certificate",
        why: "The lists in `lasthop.dev/client-crl-secret` are past their time while `lasthop.dev/client-crl-expired` is \
              `refuse`, or none is of the client's CA, or of an intermediate's, while \
              `lasthop.dev/client-crl-unknown` is `refuse`.",
        symptoms: &[
            At::Curl.shows("\"tlsv1 alert unknown ca\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"tlsv1 alert \
                 unknown ca\"",
            ),
        ],
        cure: "Put a current list of every CA on the client's path into the Secret; with `lasthop.dev/client-crl-depth: \
               leaf` that of the CA that issued the client's certificate is enough.",
    },
    Logged {
        code: Code(510),
        reason: "bad_chain",
        what: "the client's chain is not valid",
        why: "A signature is wrong, a CA may not issue such a certificate (name constraints, path length), or the key is \
              of a kind that TLS has given up. `detail` of the log line says which.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert bad certificate\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 bad certificate\"",
            ),
        ],
        cure: "Issue the certificate anew; `openssl verify -CAfile ca.crt client.crt` shows whether it is better.",
    },
    Logged {
        code: Code(511),
        reason: "not_allowed",
        what: "the client's chain is good, but nobody allowed this client",
        why: "None of its names matches `lasthop.dev/allowed-clients`. This is what keeps out the other holders of \
              certificates of the same CA.",
        symptoms: &[
            At::Curl.shows("\"tlsv1 alert access denied\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"tlsv1 alert \
                 access denied\"",
            ),
        ],
        cure: "If it is to come in, add one of the names in `sans` of the log line: `dns:client.example.com`.",
    },
    Logged {
        code: Code(512),
        reason: "wrong_key_usage",
        what: "the key of the client's certificate is not for signing",
        why: "The certificate has the extension key usage, and digitalSignature is not in it (RFC 5280, 4.2.1.3). A client proves \
              by a signature that the certificate is its own.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert unsupported certificate\""),
            At::IngressNginx.shows(
                "502, \"SSL_do_handshake() failed\" or \"SSL_read() failed\" with \"sslv3 alert \
                 unsupported certificate\"",
            ),
        ],
        cure: "Issue it with `keyUsage = digitalSignature`, or without the extension.",
    },
    Logged {
        code: Code(513),
        reason: "not_exempt",
        what: "a client without a certificate asked for something that needs one",
        why: "With `lasthop.dev/client-auth-exempt-paths` the handshake does not insist on a certificate, so this client got \
              as far as a request. It is not a plain GET or HEAD of one of these paths, and was answered 403.",
        symptoms: &[
            At::Clients.shows("the status 403"),
            At::AwsAlb
                .shows("a target is unhealthy, \"Health checks failed with these codes: [403]\""),
        ],
        cure: "If a health checker asks so, write its path exactly as in `path` of the log line. Any other client needs a \
               certificate.",
    },
];

/// Handshakes that come to nothing, and connections that there is no room for.
static HANDSHAKES: &[Logged] = &[
    Logged {
        code: Code(520),
        reason: "handshake_timeout",
        what: "the client did not finish its handshake in time",
        why: "It connected and then was too slow or silent: a port scanner, a TCP client that waits for the server to \
              speak first, or a network that loses packets.",
        symptoms: &[At::Clients.shows("the connection is closed after 10 s without an answer")],
        cure: "Speak TLS to this port, at once.",
    },
    Logged {
        code: Code(521),
        reason: "not_tls",
        what: "the client spoke something else on the TLS port",
        why: "A balancer or a probe without TLS calls it. `detail` of the log line says what it looks like.",
        symptoms: &[
            At::Curl.shows("\"Empty reply from server\""),
            At::IngressNginx.shows(
                "502, \"upstream prematurely closed connection while reading response header \
                 from upstream\"",
            ),
            At::Kubernetes
                .shows("event `Unhealthy` with \"EOF\", where a probe has `scheme: HTTP`"),
        ],
        cure: "Switch TLS on where it calls: `nginx.ingress.kubernetes.io/backend-protocol: HTTPS`, or `scheme: HTTPS` of \
               a probe. For browsers there is `lasthop.dev/redirect-port`.",
    },
    Logged {
        code: Code(522),
        reason: "no_common_version",
        what: "the client speaks neither TLS 1.2 nor TLS 1.3",
        why: "Older versions are broken and not served.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert handshake failure\" or \"tlsv1 alert protocol version\"")
        ],
        cure: "Update the client, or switch TLS 1.2 on in it.",
    },
    Logged {
        code: Code(523),
        reason: "no_common_parameters",
        what: "client and sidecar have no cipher suite, group or signature in common",
        why: "The client's list is too short or too old: without ECDHE and AES-GCM or ChaCha20, or RSA only where the \
              certificate is for an ECDSA key.",
        symptoms: &[
            At::Curl.shows("\"sslv3 alert handshake failure\""),
            At::Browsers.shows("`ERR_SSL_VERSION_OR_CIPHER_MISMATCH`"),
        ],
        cure: "Lengthen the client's list (`proxy-ssl-ciphers` of ingress-nginx), or serve a certificate of the other kind \
               of key.",
    },
    Logged {
        code: Code(524),
        reason: "no_common_protocol",
        what: "the client offers by ALPN no protocol of the listener",
        why: "It asks for another application protocol (ALPN), so it is no HTTP client.",
        symptoms: &[At::OpenSsl.shows("\"tlsv1 alert no application protocol\"")],
        cure: "For other protocols than HTTP write `lasthop.dev/protocol: tcp`.",
    },
    Logged {
        code: Code(525),
        reason: "client_alert",
        what: "the client gave up",
        why: "It sent an alert. `unknown_ca` and `bad_certificate` mean that it does not trust the certificate in \
              `lasthop.dev/tls-secret`; `certificate_expired` that it is too old.",
        symptoms: &[
            At::Curl.shows(
                "\"unable to get local issuer certificate\", \"no alternative certificate \
                 subject name matches target host name\" or \"certificate has expired\"",
            ),
            At::IngressNginx.shows(
                "502, \"upstream SSL certificate verify error\" or \"upstream SSL certificate \
                 does not match\"",
            ),
            At::Traefik.shows("500, \"x509: certificate signed by unknown authority\""),
        ],
        cure: "Give the client the CA that issued the certificate (`proxy-ssl-secret` with `ca.crt`), and let it ask for a \
               name that the certificate has (`proxy-ssl-name`).",
    },
    Logged {
        code: Code(526),
        reason: "unproven",
        what: "the client did not prove that it holds the key of its certificate",
        why: "The signature in its handshake is wrong: it has the key of another certificate, or only a copy of \
              the certificate.",
        symptoms: &[
            At::Clients.shows("an alert in the handshake, curl \"tlsv1 alert decrypt error\"")
        ],
        cure: "Give it certificate and key that belong together.",
    },
    Logged {
        code: Code(527),
        reason: "aborted",
        what: "the client closed the connection during the handshake",
        why: "It went without a word: it was stopped, ran into a timeout of its own, or is a client that refuses \
              certificates without an alert.",
        symptoms: &[At::Clients.shows("nothing but their own timeout or refusal")],
        cure: "Look into the client's log at this time.",
    },
    Logged {
        code: Code(528),
        reason: "malformed",
        what: "the client's handshake cannot be read",
        why: "It began as TLS and went on as something else: a broken client, a scanner, or a box in between that changes \
              what passes.",
        symptoms: &[At::Clients.shows("an alert in the handshake, or a connection that is closed")],
        cure: "Call with `openssl s_client -connect` from the same place: if that works, it is the client.",
    },
    Logged {
        code: Code(529),
        reason: "too_many_connections",
        what: "as many connections are open as there may be",
        why: "The limit of `--max-connections` keeps the sidecar within its memory.",
        symptoms: &[At::Curl.shows(
            "\"SSL_ERROR_SYSCALL\" or \"Connection reset by peer\", before anything was said",
        )],
        cure: "Find out who keeps so many connections open, or run more replicas.",
    },
    Logged {
        code: Code(530),
        reason: "untrusted_proxy",
        what: "somebody connected past the proxy that sends PROXY headers",
        why: "With `lasthop.dev/proxy-protocol: accept` every connection begins with such a header, and only the address \
              ranges in `lasthop.dev/trusted-proxies` are believed one. This peer is in none of them.",
        symptoms: &[At::Curl.shows("\"Connection reset by peer\", before anything was said")],
        cure: "If it is the proxy, add its address or range: `10.0.0.0/16`. A certificate cannot stand for it, since the \
               header comes before TLS.",
    },
    Logged {
        code: Code(531),
        reason: "no_proxy_header",
        what: "a trusted proxy sent no PROXY header, or a wrong one",
        why: "With `lasthop.dev/proxy-protocol: accept` a trusted proxy must send one, of version 1 or 2, before TLS. \
              `detail` of the log line says what came instead.",
        symptoms: &[
            At::Curl.shows("\"Recv failure: Connection reset by peer\""),
            At::IngressNginx.shows("502, \"Connection reset by peer\""),
        ],
        cure: "Switch it on at the proxy (`proxy_protocol` of nginx, target group attribute `proxy_protocol_v2` of AWS), or \
               leave the annotation out.",
    },
    Logged {
        code: Code(532),
        reason: "too_many_of_client",
        what: "a client has as many connections as it may",
        why: "The limit of `--max-connections-per-client` keeps one address from taking the room of all. Behind a balancer all \
              clients have its address.",
        symptoms: &[At::Clients.shows(
            "the connection is closed before the handshake, or 503 for a request over HTTP/2",
        )],
        cure: "Raise the limit if it is a balancer's address, or have the balancer send the clients' with PROXY headers.",
    },
    Logged {
        code: Code(533),
        reason: "too_large",
        what: "a client's handshake is large, and others like it take all the room for such",
        why: "A handshake takes a few KiB; 16 KiB are kept for each, and 8 MiB for what is more of all of them together. Who \
              has no certificate could otherwise fill the memory with beginnings of handshakes.",
        symptoms: &[At::Clients.shows("the connection is closed during the handshake")],
        cure: "Look for who sends so many and does not go on; a client with so large a chain of certificates should \
               present fewer of them.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The Rust files below `folder`.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let below = entries.flat_map(|it| if it.is_dir() { sources(&it) } else { vec![it] });
        below.filter(|it| it.extension().is_some_and(|it| it == "rs")).collect()
    }

    /// Where the codes of the policies are.
    fn refusals(root: &Path) -> [PathBuf; 2] {
        ["client", "server"].map(|it| root.join(format!("contract/src/{it}_policy/refusal.rs")))
    }

    /// The numbers behind each `mark` of a text that a `)` or `,` ends.
    fn numbers<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = u16> + 'a {
        text.split(mark).skip(1).filter_map(|rest| rest.split([')', ',']).next()?.parse().ok())
    }

    #[test]
    fn every_code_that_the_sidecar_can_log_is_explained() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut logged = BTreeSet::new();
        for refusal in refusals(&root) {
            let text = fs::read_to_string(refusal).unwrap();
            let before = logged.len();
            logged.extend(numbers(&text, "=> "));
            assert!(logged.len() > before + 5, "{logged:?}");
        }
        for file in sources(&root.join("sidecar/src")) {
            logged.extend(numbers(&fs::read_to_string(file).unwrap(), "Code("));
        }
        assert!(logged.len() > 20, "{logged:?}");
        let explained: BTreeSet<u16> = all().map(|it| it.code.0).collect();
        assert_eq!(explained, logged);
    }

    #[test]
    fn every_reason_is_the_word_of_the_log() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = sources(&root.join("sidecar/src")).into_iter();
        let files = files.chain(refusals(&root));
        let text: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
        for Logged { code, reason, what, why, symptoms: _, cure } in all() {
            assert!(text.contains(&format!("\"{reason}\"")), "{code}: {reason}");
            assert!(!what.ends_with('.'), "{code}: {what}");
            assert!(why.ends_with('.') && cure.ends_with('.'), "{code}");
            assert_eq!(find(*code).map(|it| it.reason), Some(*reason));
            assert!(crate::rules::find(*code).is_none(), "{code} is a finding too");
        }
    }
}
