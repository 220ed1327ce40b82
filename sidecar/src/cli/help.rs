//! The texts of `--help`.

/// What the program is.
pub(super) const ABOUT: &str = "\
Ends TLS or mutual TLS beside an application and forwards over localhost; and, the other way round,
takes plaintext on localhost and speaks TLS or mutual TLS to the next tier.

It decides by certificate who may come in, tells the application who that is, takes out what a
client wrote about itself, reloads certificates without losing a request, and ends in order:
at SIGTERM unready first, gone last.";

/// The two ways of running it.
pub(super) const USAGE: &str = "\
lasthop-sidecar [--config FILE] [--secrets-root DIR] [--bind ADDRESS] [--check-config]
       lasthop-sidecar --listen ADDR:PORT --forward ADDR:PORT --tls-secret DIR… [OPTIONS]
       lasthop-sidecar --listen 127.0.0.1:PORT --upstream https://HOST:PORT [OPTIONS]
       lasthop-sidecar keylog --for TIME";

/// What `keylog` is.
pub(super) const KEYLOG: &str = "\
Streams the TLS secrets of new handshakes to standard output, as Wireshark reads them (RFC 9850).

Whoever has them reads the traffic. They come from the sidecar that runs in the same container, only
where it was allowed (the namespace's label `lasthop.dev/allow-key-log: true` when the pod was made,
or --allow-key-log), for the time that is asked for, to one reader. The sidecar writes to its log
that it is on, and has a metric while it is; the secrets go to no log and no disk of its own.
Connections that stood before stay closed to the reader.";

/// What stands at the end of `keylog --help`.
pub(super) const KEYLOG_AFTER: &str = "\
EXAMPLE
  kubectl exec POD -c lasthop -- lasthop-sidecar keylog --for 60s > keys.log
  wireshark -o tls.keylog_file:keys.log capture.pcap

EXIT STATUS
  0   the time is over
  64  wrong usage
  69  no sidecar answers, or it refuses: the reason is on standard error";

/// What stands at the end of `-h`.
pub(super) const AFTER_SHORT: &str = "`--help` tells more, with examples and exit status.";

/// What stands at the end of `--help`.
pub(super) const AFTER: &str = "\
EXAMPLES
  A certificate to try it with:
    mkdir -p web && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \\
      -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
      -addext basicConstraints=critical,CA:FALSE -keyout web/tls.key -out web/tls.crt

  TLS for an application on port 8080:
    lasthop-sidecar --listen 127.0.0.1:8443 --forward 127.0.0.1:8080 --tls-secret web \\
      --status-listen 127.0.0.1:15443
    curl --cacert web/tls.crt https://localhost:8443/

  Mutual TLS: only the balancer comes in, also with a certificate for server authentication:
    lasthop-sidecar --listen 0.0.0.0:8443 --forward 127.0.0.1:8080 --tls-secret web \\
      --client-ca-secret alb-ca --allowed-clients dns:alb.example.com \\
      --trusted-proxies allowed-clients

  The other way round: what the application sends to http://127.0.0.1:9001 goes to the next tier over
  mutual TLS, if that is who it should be:
    lasthop-sidecar --listen 127.0.0.1:9001 --upstream https://db.example.com:8443 \\
      --upstream-client-secret web-client --upstream-ca-secret db-ca
    curl -H 'Host: db.example.com' http://127.0.0.1:9001/

  The next tier by an address, asked for one name and known by another:
    lasthop-sidecar --listen 127.0.0.1:9002 --upstream tls://10.0.0.7:5432 \\
      --upstream-ca-secret db-ca --upstream-sni db.example.com \\
      --upstream-server-names uri:spiffe://example.com/db

  Is this configuration good, and are its Secrets?
    lasthop-sidecar --config sidecar.json --secrets-root ./secrets --check-config

SECRETS
  A directory as kubelet mounts it (`..data` is a symbolic link to the current generation), or a
  plain directory. All files are read from one generation. A broken change keeps the last good
  state serving; log, metrics and /readyz?verbose say so.

WHAT IS PASSED ON
  HTTP/1.1 and HTTP/2 from clients; HTTP/1.1, HTTP/2 (h2c) or bytes (tcp) to the application.
  Bodies are streamed. Of upgrades, WebSocket is passed on, over HTTP/2 too (RFC 8441); of interim
  answers, 100 Continue. Headers by which a client could pretend to be another are taken out, in any
  spelling; X-Forwarded-For, -Proto, -Host and -Port and the identity headers are written anew.

  To the next tier requests and answers go as they were written, but for what ends at every hop;
  HTTP/1.1 or HTTP/2, as the next tier chooses (ALPN). Where it does not answer, the application gets
  502, 503 or 504 with a code that `lasthop explain` knows; the log says which certificate it showed.

ENVIRONMENT
  LASTHOP_CONFIG   the configuration document itself, where neither --config nor --listen is given
  SSL_CERT_FILE    CAs of next tiers, where no Secret and no --ca-file names any; else Mozilla's

SIGNALS
  SIGTERM, SIGINT  unready; after --drain-delay no new connections; end when all are done, or
                   --drain-timeout after the signal. A second signal ends at once. Listeners to
                   the next tier stay open until the application has answered its clients.
  SIGHUP           looks at the Secrets now.

STATUS LISTENER
  /livez     200 while the process runs
  /readyz    200 while traffic should come, else 503 and why; ?verbose for listeners, addresses,
             Secrets, and whether the application can be reached past the sidecar
  /metrics   for Prometheus
  and the probes that the document lists, each at its path

SYSTEMD
  With Type=notify it says when it serves and when it ends. Of the sockets of a .socket unit, each is
  for the listener with its address; one that no listener takes is an error.

EXIT STATUS
  0   ended after a signal; with --check-config: everything is good
  64  the command line or the configuration is wrong or unsafe
  66  a Secret cannot be read or used
  69  an address cannot be listened on
  70  the sidecar itself failed";

/// Neither a document nor a listener.
pub(super) const NOTHING_TO_SERVE: &str = "\
there is nothing to serve; give a configuration with `--config FILE` or in LASTHOP_CONFIG,
       or one listener with `--listen ADDR:PORT --forward ADDR:PORT --tls-secret DIR`,
       or `--listen 127.0.0.1:PORT --upstream https://HOST:PORT`

For more, try `--help`.";
