"""Processes and what they use, read from /proc (proc(5))."""

import os
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")

# What is measured has a core of its own; load and application share another.
MEASURED, OTHERS = "0", "1"

# Seconds that a program gets to listen or to end.
PATIENCE = 20


def on(core, command):
    return ["taskset", "-c", core, *map(str, command)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(pid):
    """The fields of /proc/PID/stat from the third on; none where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def busy():
    """Seconds that all cores together have worked."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


class Program:
    """A process with all that it starts."""

    def __init__(self, command, core, output):
        self.command = command
        self.process = subprocess.Popen(
            on(core, command), start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def pids(self):
        """It and its children: whoever is in its session."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            fields = stat(entry)
            if fields and fields[0] != "Z" and int(fields[3]) == self.process.pid:
                found.append(int(entry))
        return found

    def cpu(self):
        """Seconds of CPU so far, user and system."""
        fields = filter(None, map(stat, self.pids()))
        return sum(int(it[11]) + int(it[12]) for it in fields) / TICKS

    def pss(self):
        """Memory in KiB, where shared pages count in parts."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        return total

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def await_port(self, port):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"`{' '.join(map(str, self.command))[:120]}` ended")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"nobody listens on port {port}")

    def hang_up(self):
        os.kill(self.process.pid, signal.SIGHUP)

    def kill(self):
        """Ends it and its children at once; nothing of theirs is worth waiting for."""
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
