"""A real API server with `lasthop serve` in front of it, for scripts that load them.

    with live_webhook.cluster("soak-applies") as kubectl, live_webhook.Webhook(program, kubectl) as webhook:
        webhook.switch_on()
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE = 30
ENTRIES = {"MutatingWebhookConfiguration": "mutate", "ValidatingWebhookConfiguration": "validate"}


def lasthop():
    """The program as it is released, built where it has to be."""
    subprocess.run(["cargo", "build", "--locked", "--release", "-p", "lasthop"], check=True, cwd=ROOT)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/lasthop"


@contextlib.contextmanager
def cluster(name):
    """A cluster of `scripts/cluster up api`, taken down in the end; yields its kubectl."""
    script = ROOT / "scripts/cluster"
    up = subprocess.run([script, "up", "api", "--name", name], check=True, stdout=subprocess.PIPE, text=True)
    try:
        yield Kubectl(pathlib.Path(up.stdout.splitlines()[-1]))
    finally:
        subprocess.run([script, "down", "--name", name], check=False, stdout=subprocess.DEVNULL)


class Kubectl:
    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig
        beside = kubeconfig.parent / "bin/kubectl"
        self.program = str(beside) if beside.is_file() else "kubectl"

    def __call__(self, *arguments, stdin=None):
        command = [self.program, "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, text=True).stdout

    def apply(self, *objects):
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def process(self, component):
        """The process id of `etcd` or `kube-apiserver`, where the cluster is one of scripts/cluster."""
        file = self.kubeconfig.parent / "pids" / component
        return int(file.read_text(encoding="utf-8").split()[0])


class Api:
    """One connection to the API server, with the certificate of the kubeconfig."""

    def __init__(self, kubectl):
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.TemporaryDirectory() as home:
            files = []
            for field in ("client-certificate-data", "client-key-data"):
                files.append(pathlib.Path(home) / field)
                files[-1].write_bytes(base64.b64decode(user[field]))
            context.load_cert_chain(*files)
        server = urllib.parse.urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(server.hostname, server.port, context=context)

    def ask(self, method, path, body=None, content_type="application/json"):
        """The answer's body; anything but success ends the run."""
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
        return text


class Webhook:
    """`lasthop serve` on this machine. The API server asks it between `switch_on` and `switch_off`."""

    def __init__(self, program, kubectl):
        self.program, self.kubectl = program, kubectl
        self.home = tempfile.TemporaryDirectory()
        self.ca = pathlib.Path(self.home.name) / "ca.crt"
        self.log = pathlib.Path(self.home.name) / "webhook.log"

    def __enter__(self):
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lasthop-system"}})
        command = [self.program, "serve", "--listen", "127.0.0.1:0", "--tls-san", "127.0.0.1", "--ca-file", self.ca]
        with open(self.log, "w", encoding="utf-8") as log:
            environment = dict(os.environ, KUBECONFIG=str(self.kubectl.kubeconfig))
            self.process = subprocess.Popen(command, env=environment, stdout=log)
        self.address = self.wait_for_address()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.home.cleanup()

    def entries(self):
        """The lines of the log so far."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def wait_for_address(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            for entry in self.entries():
                if entry.get("message") == "listening" and self.ca.is_file():
                    return entry["address"]
            time.sleep(0.05)
        sys.exit("the webhook did not start: " + self.log.read_text(encoding="utf-8"))

    def switch_on(self):
        """Applies the configurations of manifests/base, pointed at this process. The API server takes a moment."""
        rendered = self.kubectl("kustomize", str(ROOT / "manifests/base"))
        objects = self.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=rendered)
        bundle = base64.b64encode(self.ca.read_bytes()).decode()
        found = [it for it in documents(objects) if it["kind"] in ENTRIES]
        for configuration in found:
            for entry in configuration["webhooks"]:
                url = f"https://{self.address}/{ENTRIES[configuration['kind']]}"
                entry["clientConfig"] = {"url": url, "caBundle": bundle}
        self.kubectl.apply(*found)

    def switch_off(self):
        """Takes them away again. The API server takes a moment."""
        for kind in ("mutating", "validating"):
            self.kubectl("delete", f"{kind}webhookconfiguration", "lasthop", "--ignore-not-found")

    def memory(self):
        """Resident memory in KiB: now, and at most."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return tuple(int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))


def documents(text):
    """JSON values one behind the other, and of Lists the items."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found += value.get("items", [value])
        text = text[end:]
    return found


def cpu(process):
    """Seconds of CPU that a process has used so far."""
    text = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(times, part):
    """The time that `part` (0.99: the 99th percentile) of `times` do not exceed, in milliseconds."""
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * part))] * 1000
