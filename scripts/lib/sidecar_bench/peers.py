"""The programs that are compared, each set up to do the same as well as it can.

One worker, TLS 1.3, session tickets, connections to the application kept where the program knows HTTP. Access logs of the peers are off, as are
their limits where they would get in the way; lasthop runs as it comes, with access log, metrics, confinement and limits.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

NGINX = """daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
error_log stderr crit; pid {home}/nginx.pid;
events {{ worker_connections 19000; }}
http {{
  access_log off; keepalive_timeout 900s; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  upstream application {{ server 127.0.0.1:{application}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096; http2_max_requests 1000000000;
    ssl_certificate {pki}/server.crt; ssl_certificate_key {pki}/server.key; ssl_protocols TLSv1.3; ssl_session_cache off; {mutual}
    location / {{
      proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
      proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""
NGINX_MUTUAL = "ssl_client_certificate {pki}/ca.crt; ssl_verify_client on;"

HAPROXY = """global
  nbthread 1
  maxconn 9000
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 900s
  timeout server 900s
frontend tls
  bind 127.0.0.1:{port} backlog 4096 ssl crt {pki}/server.both alpn h2,http/1.1 {mutual}
  default_backend application
backend application
  server one 127.0.0.1:{application} pool-max-conn 256
"""
HAPROXY_MUTUAL = "ca-file {pki}/ca.crt verify required"

HITCH = """frontend = {{ host = "127.0.0.1" port = "{port}" }}
backend = "[127.0.0.1]:{application}"
pem-file = "{pki}/server.both"
tls-protos = TLSv1.3
alpn-protos = "http/1.1"
workers = 1
backlog = 4096
ocsp-dir = ""
log-level = 0
user = "nobody"
{mutual}
"""
HITCH_MUTUAL = 'client-verify = required\nclient-verify-ca = "{pki}/ca.crt"'

ENVOY = """node: {{id: bench, cluster: bench}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          stream_idle_timeout: 900s
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: application, timeout: 900s}}}}]}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          {mutual}
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}
            tls_certificates: [{{certificate_chain: {{filename: {pki}/server.crt}}, private_key: {{filename: {pki}/server.key}}}}]
            validation_context: {{trusted_ca: {{filename: {pki}/ca.crt}}}}
  clusters:
  - name: application
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{{max_connections: 19000, max_pending_requests: 19000, max_requests: 19000}}]}}
    load_assignment:
      cluster_name: application
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {application}}}}}}}}}]}}]
"""


@dataclass(frozen=True)
class Peer:
    """A program, how it is configured and how it is started; `{file}` is where the configuration is."""

    name: str
    program: str
    configuration: str
    mutual: str
    arguments: tuple
    knows_http: bool = True

    def find(self):
        return shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")

    def command(self, words, mutual):
        text = self.configuration.format(mutual=self.mutual.format(**words) if mutual else "", **words)
        file = Path(words["home"]) / f"{self.name}.yaml"
        file.write_text(text)
        return [self.find(), *(it.format(file=file) for it in self.arguments)]


@dataclass(frozen=True)
class Lasthop:
    """The sidecar before an application that speaks HTTP, or that it knows nothing of."""

    program: Path
    name: str = "lasthop"
    protocol: str = "http"

    @property
    def knows_http(self):
        return self.protocol == "http"

    def find(self):
        return self.program

    def command(self, words, mutual):
        command = [self.program, "--listen", f"127.0.0.1:{words['port']}", "--forward", f"127.0.0.1:{words['application']}",
                   "--tls-secret", f"{words['pki']}/secret", "--status-listen", f"127.0.0.1:{words['status']}", "--protocol", self.protocol,
                   "--drain-delay", "0"]
        if mutual:
            command += ["--client-ca-secret", f"{words['pki']}/ca", "--allowed-clients", "dns:client.example"]
        return command


def known(sidecar):
    """Every program that can be compared, lasthop first."""
    return [
        Lasthop(sidecar),
        Peer("nginx", "nginx", NGINX, NGINX_MUTUAL, ("-e", "stderr", "-c", "{file}")),
        Peer("haproxy", "haproxy", HAPROXY, HAPROXY_MUTUAL, ("-db", "-f", "{file}")),
        Peer("hitch", "hitch", HITCH, HITCH_MUTUAL, ("--config={file}",), knows_http=False),
        Peer("envoy", os.environ.get("ENVOY", "envoy"), ENVOY, "require_client_certificate: true",
             ("-c", "{file}", "--concurrency", "1", "-l", "off", "--disable-hot-restart")),
        Lasthop(sidecar, "lasthop-tcp", "tcp"),
    ]


def certificates(openssl, home):
    """A CA, a server and a client of it with P-256 keys, in the layouts of all programs."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=bench",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", home / "ca.key", "-out", home / "ca.crt")
    for name, host, purpose in [("server", "shop.example", "serverAuth"), ("client", "client.example", "clientAuth")]:
        extensions = home / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\nextendedKeyUsage={purpose}\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}",
                "-keyout", home / f"{name}.key", "-out", home / f"{name}.csr")
        openssl("x509", "-req", "-in", home / f"{name}.csr", "-CA", home / "ca.crt", "-CAkey", home / "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", extensions, "-out", home / f"{name}.crt")
    both = home / "server.both"
    both.write_text((home / "server.crt").read_text() + (home / "server.key").read_text())
    for folder, layout in [("secret", {"tls.crt": "server.crt", "tls.key": "server.key"}), ("ca", {"ca.crt": "ca.crt"})]:
        (home / folder).mkdir()
        for key, file in layout.items():
            shutil.copy(home / file, home / folder / key)
