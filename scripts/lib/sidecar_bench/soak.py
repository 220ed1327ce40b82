#!/usr/bin/env python3
"""What becomes of the sidecar under load for minutes; started by scripts/soak sidecar, whose help says more."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import machine
import peers

GIB = 2**30
PARTS = ["requests", "connections", "streams", "reload"]

# The sidecar closes connections to the application that nobody uses after 1.5 s, and looks every second.
SETTLED = 4

# What memory may grow by over a whole part: the allocator and the kernel count in pages.
SLACK = 3 * 1024

# Seconds between two renewals of the Secret; the sidecar looks every ten, or at SIGHUP.
RENEWAL = 0.2


class Soak:
    def __init__(self, options, home):
        self.options, self.home = options, home
        self.faults = []
        self.log = open(home / "log", "w")
        port, self.port, status = machine.free_port(), machine.free_port(), machine.free_port()
        self.application = machine.Program([options.load, "serve", "--listen", f"127.0.0.1:{port}"], machine.OTHERS, self.log)
        self.application.await_port(port)
        self.secret = home / "secret"
        words = {"port": self.port, "status": status, "application": port, "pki": home, "home": home}
        self.status = status
        with open("/dev/null", "w") as nowhere:
            self.sidecar = machine.Program(peers.Lasthop(options.sidecar).command(words, False), machine.MEASURED, nowhere)
        self.sidecar.await_port(self.port)
        # What is there once and not once a connection is there afterwards.
        self.load("request", "--connections", "64", "--count", "20000")
        self.http2(20000)

    def start(self, *order):
        command = [self.options.load, order[0], "--to", f"127.0.0.1:{self.port}", *order[1:]]
        return subprocess.Popen(machine.on(machine.OTHERS, command), stdout=subprocess.PIPE, text=True)

    def finish(self, running, what, count=None):
        tally = json.loads(running.communicate()[0])
        self.expect(not tally["failed"], f"{what}: {tally['failed']} failed, the first with: {tally['error']}")
        if count:
            self.expect(tally["done"] == count, f"{what}: {tally['done']:,} of {count:,} were done")
        return tally

    def load(self, *order):
        return self.finish(self.start(*order), order[0])

    def expect(self, holds, fault):
        if not holds:
            self.faults.append(fault)

    def state(self):
        time.sleep(SETTLED)
        return self.sidecar.pss(), self.sidecar.descriptors()

    def part(self, title, perform):
        """Performs a part and prints what there was of the sidecar before and after."""
        before = self.state()
        began = time.monotonic()
        done = perform()
        took = time.monotonic() - began
        after = self.state()
        memory, descriptors = ([f"{was:,}", f"{now:,}"] for was, now in zip(before, after))
        print(f"| {title} | {done} | {took:.0f} s | {' → '.join(memory)} KiB | {' → '.join(descriptors)} |", flush=True)
        self.expect(after[0] <= before[0] + SLACK, f"{title}: memory grew from {memory[0]} to {memory[1]} KiB")
        self.expect(after[1] <= before[1], f"{title}: descriptors grew from {descriptors[0]} to {descriptors[1]}")

    def requests(self):
        count = self.options.requests
        self.part("HTTP/1.1 requests", lambda: self.counted("request", count, "--connections", "64"))
        self.part("HTTP/2 requests", lambda: self.http2(count))

    def connections(self):
        self.part("connections", lambda: self.counted("connect", self.options.connections, "--connections", "32"))

    def streams(self):
        count = self.options.gib
        for order in ("download", "upload"):
            words = ("--check", "--size", str(GIB), "--connections", "4")
            self.part(f"{order}s of 1 GiB, compared", lambda: self.counted(order, count, *words))

    def reload(self):
        self.part("both while the Secret is renewed", self.renewed)

    def counted(self, order, count, *words):
        return f"{self.finish(self.start(order, '--count', str(count), *words), order, count)['done']:,}"

    def http2(self, count):
        command = ["h2load", "-c16", "-m10", f"-n{count}", f"https://127.0.0.1:{self.port}/bytes/1024"]
        text = subprocess.run(machine.on(machine.OTHERS, command), check=True, capture_output=True, text=True).stdout
        done = int(re.search(r"(\d+) succeeded", text)[1])
        self.expect(done == count, f"HTTP/2: {done:,} of {count:,} succeeded")
        return f"{done:,}"

    def renewed(self):
        """Requests on connections that stay and on new ones, while the certificate changes under them."""
        over = threading.Event()
        renewals = []
        renewing = threading.Thread(target=lambda: self.renew(over, renewals))
        renewing.start()
        seconds = ("--seconds", str(self.options.seconds))
        running = {order: self.start(order, *seconds, "--connections", "16") for order in ("request", "connect")}
        done = [self.finish(it, order)["done"] for order, it in running.items()]
        over.set()
        renewing.join()
        reloads = self.metric("lasthop_credential_reloads_total")
        self.expect(reloads >= 2, f"the Secret was renewed {len(renewals)} times and reloaded {reloads} times")
        return f"{done[0]:,} requests, {done[1]:,} connections, {len(renewals)} renewals, {reloads:.0f} reloads"

    def renew(self, over, renewals):
        """Two certificates take turns, each change in one step, as kubelet makes it."""
        versions = []
        for number in range(2):
            folder = self.home / f"renewal-{number}"
            folder.mkdir()
            peers.certificates(lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True), folder)
            versions.append(folder / "secret")
        while not over.wait(RENEWAL):
            fresh = self.home / "fresh"
            fresh.symlink_to(versions[len(renewals) % 2])
            fresh.replace(self.secret / "..data")
            renewals.append(self.sidecar.hang_up())

    def metric(self, name):
        answer = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{self.status}/metrics"], check=True, capture_output=True, text=True)
        return sum(float(line.split()[-1]) for line in answer.stdout.splitlines() if line.startswith(f"{name}{{"))


def as_mounted(secret):
    """Makes a folder of files what kubelet makes of a Secret: links into `..data`, itself a link."""
    version = secret / "..first"
    version.mkdir()
    for file in [it for it in secret.iterdir() if it.is_file()]:
        shutil.move(file, version / file.name)
        file.symlink_to(Path("..data") / file.name)
    (secret / "..data").symlink_to(version.name)


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak sidecar", description="What becomes of the sidecar under load for minutes.")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="PART,…", help=", ".join(PARTS))
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help="1,000,000")
    parser.add_argument("--connections", type=int, default=100_000, metavar="N", help="100,000")
    parser.add_argument("--gib", type=int, default=8, metavar="N", help="bodies of 1 GiB, each way (8)")
    parser.add_argument("--seconds", type=float, default=30, help="how long the Secret is renewed (30)")
    parser.add_argument("--sidecar", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [it for it in parts if it not in PARTS]:
        parser.error(f"`{unknown[0]}` is none of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="lasthop-soak-") as home:
        home = Path(home)
        peers.certificates(lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True), home)
        as_mounted(home / "secret")
        soak = Soak(options, home)
        print("| load | done | in | memory (PSS) | descriptors |\n| --- | --- | --- | --- | --- |", flush=True)
        try:
            for part in parts:
                getattr(soak, part)()
        finally:
            soak.sidecar.kill()
            soak.application.kill()
    for fault in soak.faults:
        print(f"- {fault}")
    sys.exit(1 if soak.faults else 0)


if __name__ == "__main__":
    main()
