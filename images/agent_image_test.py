#!/usr/bin/env python3
"""The agent's image, run as a container runtime would: its root alone, as process 1 of namespaces of
its own, as user 65532 without capabilities.

usage: images/agent_image_test.py ARCHIVE VERSION      (as root)
"""

import contextlib
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

ARCHIVE, VERSION = sys.argv[1:3]
PATIENCE = 20.0


def eventually(holds, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"never: {what}")


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


class Controller:
    """One stream to the agent's socket, as `stackbench-agent attach` carries it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")
        self.id = 0
        self.hello = json.loads(self.lines.readline())["hello"]

    def close(self):
        self.lines.close()
        self.socket.close()

    def say(self, kind, **fields):
        self.id += 1
        self.socket.sendall((json.dumps({"type": kind, "id": self.id, **fields}) + "\n").encode())
        return self.id

    def hear(self, command, *kinds):
        while True:
            line = self.lines.readline()
            if not line:
                raise AssertionError(f"the agent ended the stream before it said {kinds}")
            message = json.loads(line)
            if message.get("id") != command:
                continue
            if message["type"] in kinds:
                return message
            if message["type"] == "error":
                raise AssertionError(message["error"]["message"])

    def run(self, workload, port):
        """Serves and runs that workload over loopback; answers both results."""
        server = self.say("serve", job={"kind": workload["kind"],
                                        "listen": [f"127.0.0.1:{port}"]})
        self.hear(server, "ready")
        client = self.say("run", job={"workload": {"duration": "60ms", "warm_up": "0ns", **workload},
                                      "servers": [f"127.0.0.1:{port}"]})
        of_client = self.hear(client, "result")["result"]
        self.say("stop", job_id=server)
        return of_client, self.hear(server, "result")["result"]


class AgentImageTest(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.root = self.stack.enter_context(tempfile.TemporaryDirectory())
        os.chmod(self.root, 0o755)
        with tarfile.open(ARCHIVE) as tar:
            self.read = {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()
                         if entry.isfile()}
        self.manifest = json.loads(self.read["manifest.json"])[0]
        for layer in self.manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.read[layer])) as tar:
                tar.extractall(self.root, numeric_owner=True)
        os.mkdir(os.path.join(self.root, "proc"))
        self.socket = os.path.join(self.root, "run/stackbench/agent.sock")

    def start(self):
        """Starts the image's entry point; answers its pid here. Nothing is left of it afterwards."""
        config = json.loads(self.read[self.manifest["Config"]])["config"]
        within = " && ".join((f"mount -t proc proc {self.root}/proc", "ip link set lo up",
                              f"exec chroot --userspec={config['User']} --groups= {self.root} "
                              + " ".join(config["Entrypoint"])))
        outer = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--fork",
                                  "--kill-child=SIGKILL", "sh", "-c", within],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.callback(outer.wait)
        self.stack.callback(outer.kill)
        eventually(lambda: os.path.exists(self.socket), "the agent listens")
        pid = int(children_of(outer.pid)[0])
        # Having changed its user, it is not killed with its parent.
        agent = os.pidfd_open(pid)
        self.stack.callback(os.close, agent)
        self.stack.callback(self.kill, agent)
        return outer, pid

    @staticmethod
    def kill(agent):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(agent, signal.SIGKILL)

    def connect(self):
        controller = Controller(self.socket)
        self.stack.callback(controller.close)
        return controller

    def test_is_named_and_started_as_pods_expect(self):
        config = json.loads(self.read[self.manifest["Config"]])["config"]
        self.assertEqual(self.manifest["RepoTags"], [f"stackbench-agent:{VERSION}"])
        self.assertEqual(config["Entrypoint"], ["/usr/bin/stackbench-agent", "listen"])
        self.assertEqual(config["User"], "65532:65532")

    def test_holds_nothing_but_the_agent_and_what_it_needs(self):
        names = {os.path.join(at, name)[len(self.root):] for at, _, files in os.walk(self.root)
                 for name in files}
        others = {name for name in names if ".so" not in name}
        self.assertEqual(others, {"/usr/bin/stackbench-agent", "/etc/passwd", "/etc/group"})

    def test_every_workload_runs_without_privileges(self):
        _, pid = self.start()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.assertRegex(status, r"(?m)^Uid:\s+65532\s+65532\s+65532\s+65532$")
        self.assertRegex(status, r"(?m)^CapEff:\s+0{16}$")
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)
        controller = self.connect()
        self.assertEqual((controller.hello["version"], controller.hello["pid"]), (VERSION, 1))
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertEqual(controller.hello["boot_id"], boot)
        self.assertEqual(controller.hello["time_namespace"], os.readlink("/proc/self/ns/time"))
        controller.say("attach", session="test")
        for number, workload in enumerate((
                {"kind": "tcp_rr"}, {"kind": "tcp_crr", "connections": 4}, {"kind": "udp_rr"},
                {"kind": "http", "rate": "500/s"}, {"kind": "http2", "streams": 2},
                {"kind": "tcp_stream"}, {"kind": "udp_stream", "rate": "500/s"})):
            with self.subTest(workload["kind"]):
                client, server = controller.run(workload, 7001 + number)
                self.assertGreater(client["requests"], 0)
                self.assertEqual(sum(client["errors"].values()), 0)
                self.assertGreater(server["connections"], 0)

    def test_what_needs_privileges_is_refused_and_says_so(self):
        self.start()
        controller = self.connect()
        with self.assertRaisesRegex(AssertionError, "^gso: off of lo: "):
            controller.run({"kind": "tcp_stream", "gso": "off"}, 7001)
        observer = controller.say("observe", job={"interface": "lo", "service": ["10.0.0.1:1"],
                                                  "backends": [], "protocol": "TCP"})
        refusal = controller.hear(observer, "error")["error"]
        self.assertEqual(refusal["kind"], "not_permitted", refusal)

    def test_as_process_1_it_reaps_orphans_and_ends_when_told(self):
        outer, pid = self.start()
        subprocess.run(["nsenter", f"--target={pid}", "--pid", "sh", "-c", "sleep 0.3 &"], check=True)
        eventually(lambda: children_of(pid), "the orphan is the agent's child")
        eventually(lambda: not children_of(pid), "it is reaped")
        begun = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(outer.wait(PATIENCE), 0)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertFalse(os.path.exists(self.socket))


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("agent_image_test.py: needs root")
    unittest.main(argv=sys.argv[:1])
