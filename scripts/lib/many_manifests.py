#!/usr/bin/env python3
"""Folders of Ingresses and Secrets, checked: many_manifests.py LASTHOP HOME

For each size a folder with as many Ingresses as Secrets, a file each, in a hundred namespaces; the certificates are of fifty key pairs.
Prints a table: what was checked, seconds, seconds of CPU, peak memory.
"""

import os
import pathlib
import subprocess
import sys
import time

SIZES = [1250, 2500, 5000, 10000]
PAIRS = 50

INGRESS = """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web-{number}
  namespace: team-{namespace}
spec:
  ingressClassName: nginx
  tls:
  - hosts:
    - host-{pair}.example.com
    secretName: web-{number}
  rules:
  - host: host-{pair}.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
"""

SECRET = """apiVersion: v1
kind: Secret
metadata:
  name: web-{number}
  namespace: team-{namespace}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{certificate}
  tls.key: |
{key}
"""


def indented(path):
    return "\n".join("    " + line for line in path.read_text().splitlines())


def pairs(home):
    """Certificate and key of each pair, as they stand in a Secret."""
    made = []
    for number in range(PAIRS):
        key, certificate = home / f"{number}.key", home / f"{number}.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365",
             "-subj", f"/CN=host-{number}", "-addext", f"subjectAltName=DNS:host-{number}.example.com",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        made.append((indented(certificate), indented(key)))
    return made


def folder(home, size, made):
    home = home / str(size)
    home.mkdir()
    for number in range(size):
        certificate, key = made[number % PAIRS]
        words = {"number": number, "namespace": number % 100, "pair": number % PAIRS, "certificate": certificate, "key": key}
        (home / f"ingress-{number}.yaml").write_text(INGRESS.format(**words))
        (home / f"secret-{number}.yaml").write_text(SECRET.format(**words))
    return home


def check(lasthop, path):
    """Seconds, seconds of CPU and peak memory in MiB of one run."""
    began = time.monotonic()
    child = subprocess.Popen([lasthop, "check", "--whole", "-f", path, "-o", "json"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    took = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit("lasthop could not read the folder")
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    lasthop, home = sys.argv[1], pathlib.Path(sys.argv[2])
    made = pairs(home)
    print("| Ingresses and Secrets | seconds | seconds of CPU | peak memory |")
    print("| --- | --- | --- | --- |")
    for size in SIZES:
        took, cpu, memory = check(lasthop, folder(home, size, made))
        print(f"| {size} + {size} | {took:.1f} | {cpu:.1f} | {memory:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
