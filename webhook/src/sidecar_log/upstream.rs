//! Why the next tier did not answer a sidecar that originates.

use lasthop_contract::problem::Code;

use super::Logged;
use crate::symptom::At;

/// Certificates of the next tier that are refused.
pub(super) static CERTIFICATES: &[Logged] = &[
    Logged {
        code: Code(540),
        reason: "unreadable",
        what: "the next tier's certificate cannot be read",
        why: "It is no X.509 version 3 certificate, or none was presented at all.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::NextTier.shows("logs an alert: OpenSSL \"sslv3 alert bad certificate\""),
        ],
        cure: "Issue it anew as version 3, with a subject alternative name.",
    },
    Logged {
        code: Code(541),
        reason: "unknown_issuer",
        what: "no trusted CA vouches for the next tier",
        why: "Its chain does not lead to a CA of `lasthop.dev/upstream-ca-secret`, or, without that, to one of the \
              compiled Mozilla roots (`SSL_CERT_FILE` replaces them). Another CA issued it, or the server leaves its \
              intermediate certificates out.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::NextTier.shows("logs \"tlsv1 alert unknown ca\""),
        ],
        cure: "Compare `issuer` of the log line with the CAs in the Secret. Add the CA that is missing there, or have the \
               next tier send its whole chain.",
    },
    Logged {
        code: Code(542),
        reason: "expired",
        what: "the next tier's certificate expired",
        why: "It, or a certificate of its chain, is past its time.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::NextTier.shows("logs \"sslv3 alert certificate expired\""),
        ],
        cure: "Renew it, and see that the server there reads the new one: many do so only when they are started again.",
    },
    Logged {
        code: Code(543),
        reason: "not_yet_valid",
        what: "the next tier's certificate is not valid yet",
        why: "Its time begins later than now: it was made in advance, or a clock is wrong.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::NextTier.shows("logs \"sslv3 alert certificate expired\""),
        ],
        cure: "Wait, or set the clocks of the node and of the machine that issues certificates.",
    },
    Logged {
        code: Code(544),
        reason: "wrong_purpose",
        what: "the next tier's certificate is not for servers",
        why: "Its extended key usage, or that of a certificate above it, leaves serverAuth out.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Issue one for server authentication.",
    },
    Logged {
        code: Code(545),
        reason: "ca_as_server",
        what: "the next tier presents a CA certificate",
        why: "A certificate that may issue others identifies no server. `openssl req -x509` makes such ones.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Issue a certificate of its own for the server, without `CA:TRUE`, and trust the CA that issued it.",
    },
    Logged {
        code: Code(546),
        reason: "bad_chain",
        what: "the next tier's chain is not valid",
        why: "A signature is wrong, a CA may not issue such a certificate (name constraints, path length), or the key is \
              of a kind that TLS has given up. `detail` of the log line says which.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Issue the certificate anew; `openssl verify -CAfile ca.crt server.crt` shows whether it is better.",
    },
    Logged {
        code: Code(547),
        reason: "wrong_name",
        what: "the next tier's certificate has none of the expected names",
        why: "Without `lasthop.dev/upstream-server-names` it must be for the host of the upstream, where a wildcard in it \
              stands for one label. With that annotation it must have one of the names listed there, letter by letter: a \
              certificate for `*.example.com` has the name `dns:*.example.com` and no other.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "If it is the right server, add one of the names in `sans` of the log line to \
               `lasthop.dev/upstream-server-names`. If it is not, `lasthop.dev/upstream-sni` may bring out another \
               certificate.",
    },
];

/// Handshakes with the next tier that come to nothing.
pub(super) static HANDSHAKES: &[Logged] = &[
    Logged {
        code: Code(550),
        reason: "upstream_alert",
        what: "the next tier gave up in the TLS handshake",
        why: "It sent an alert. `certificate_required`, `bad_certificate` and `handshake_failure` often mean that it wants \
              a client certificate; `unknown_ca`, `access_denied` and `unsupported_certificate` that it does not take the \
              one it got; `unrecognized_name` that it has no such server name.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::NextTier.shows(
                "logs why it refused: nginx 400 \"No required SSL certificate was sent\", \
                 OpenSSL \"certificate verify failed\"",
            ),
        ],
        cure: "Give a client certificate with `lasthop.dev/upstream-client-secret` that the next tier takes: its own log says \
               what it missed. `lasthop.dev/upstream-sni` asks for another name.",
    },
    Logged {
        code: Code(551),
        reason: "not_tls",
        what: "the next tier does not speak TLS",
        why: "Something else came back: the port is a plaintext one, or one where TLS begins later (STARTTLS).",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::Curl.shows("\"wrong version number\" from the same place"),
        ],
        cure: "Name the TLS port of the next tier in `lasthop.dev/upstreams`.",
    },
    Logged {
        code: Code(552),
        reason: "no_common_version",
        what: "the next tier speaks neither TLS 1.2 nor TLS 1.3",
        why: "Older versions are broken and not spoken.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Switch TLS 1.2 on there.",
    },
    Logged {
        code: Code(553),
        reason: "no_common_parameters",
        what: "the next tier has no cipher suite, group or signature in common with the sidecar",
        why: "Its list is too short or too old: without ECDHE and AES-GCM or ChaCha20.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Lengthen the list of the next tier.",
    },
    Logged {
        code: Code(554),
        reason: "unproven",
        what: "the next tier does not hold the key of its certificate",
        why: "The signature in its handshake is wrong.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Give it certificate and key that belong together; if it is not yours, somebody has a copy of its certificate.",
    },
    Logged {
        code: Code(555),
        reason: "closed",
        what: "the next tier closed the connection during the TLS handshake",
        why: "It went without a word: it was stopped, limits connections, or wants a client certificate and does not say so.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Look into its log at this time.",
    },
    Logged {
        code: Code(556),
        reason: "malformed",
        what: "the next tier's TLS handshake cannot be read",
        why: "It began as TLS and went on as something else: a broken server, or a box in between that changes what passes.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Call it with `openssl s_client -connect` from the same place.",
    },
    Logged {
        code: Code(557),
        reason: "handshake_timeout",
        what: "the next tier did not finish its TLS handshake within 5 s",
        why: "It took the connection and was silent: overloaded, or no TLS server and waiting for the client to speak.",
        symptoms: &[At::Application.shows("gets 504 from the sidecar")],
        cure: "Call it with `openssl s_client -connect` from the same place.",
    },
];

/// The way to the next tier, and what comes back.
pub(super) static CONNECTIONS: &[Logged] = &[
    Logged {
        code: Code(560),
        reason: "unresolved",
        what: "the name of the next tier leads to no address",
        why: "The resolver of the pod knows no such name, or did not answer.",
        symptoms: &[
            At::Application.shows("gets 503 from the sidecar"),
            At::Curl.shows("\"Could not resolve host\" from the same place"),
        ],
        cure: "Look at the name in `lasthop.dev/upstreams`: a Service of another namespace is `NAME.NAMESPACE`. \
               `getent hosts NAME` in the pod asks the same resolver.",
    },
    Logged {
        code: Code(561),
        reason: "connection_refused",
        what: "the next tier does not accept connections",
        why: "Nobody listens on that port of that address, or a firewall says so.",
        symptoms: &[
            At::Application.shows("gets 502 from the sidecar"),
            At::Curl.shows("\"Connection refused\" from the same place"),
        ],
        cure: "See that it is running and ready, that the port is the right one, and that a Service has endpoints.",
    },
    Logged {
        code: Code(562),
        reason: "connect_timeout",
        what: "the next tier does not take connections within 3 s",
        why: "Packets are lost on the way: a NetworkPolicy, a firewall, an address that is gone, or a server that is \
              overloaded.",
        symptoms: &[
            At::Application.shows("gets 504 from the sidecar"),
            At::Curl.shows("\"Connection timed out\" from the same place"),
        ],
        cure: "Allow the way in the NetworkPolicies of both namespaces.",
    },
    Logged {
        code: Code(563),
        reason: "connect_failed",
        what: "the next tier cannot be connected to",
        why: "`detail` of the log line has the words of the system, such as `Network is unreachable`.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "See that there is a way from the pod to that address. Ports that the configuration does not name are closed to \
               the sidecar by itself.",
    },
    Logged {
        code: Code(564),
        reason: "broken",
        what: "the next tier closed the connection before it answered",
        why: "It was stopped, or ran into an error or a limit of its own. A request that may be repeated safely was repeated \
              once.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "Look into its log at this time.",
    },
    Logged {
        code: Code(565),
        reason: "protocol",
        what: "the next tier did not answer in HTTP",
        why: "What came back cannot be read as HTTP/1.1 or HTTP/2, whichever it had chosen.",
        symptoms: &[At::Application.shows("gets 502 from the sidecar")],
        cure: "For other protocols than HTTP write `tls://` instead of `https://` in `lasthop.dev/upstreams`.",
    },
    Logged {
        code: Code(566),
        reason: "timeout",
        what: "the next tier did not answer within 10 minutes",
        why: "The request was there, and no head of an answer came.",
        symptoms: &[At::Application.shows("gets 504 from the sidecar")],
        cure: "Look into its log; applications should have a shorter limit of their own.",
    },
    Logged {
        code: Code(567),
        reason: "too_many_connections",
        what: "as many connections to next tiers are open as there may be",
        why: "They are as many as `--max-connections` of the sidecar, and for 3 s none of them ended: the next tier is slow, \
              or takes one request a connection (HTTP/1.1, WebSocket).",
        symptoms: &[At::Application.shows("gets 503 from the sidecar")],
        cure: "Look why the next tier is slow; one that offers HTTP/2 needs far fewer connections.",
    },
];
