"""A kubectl whose proxy breaks what passes through it, to see that a run copes.

usage: planted_kubectl.py KUBECTL LOG FAULT[,FAULT...] WORDS...

Runs KUBECTL with WORDS. Where they ask for `proxy --unix-socket=PATH`, that listens beside PATH,
and what stands at PATH passes on its bytes but for what is broken on purpose; each time is a line
in LOG, "FAULT METHOD PATH".

  busy   the first request of each sort is answered 429 with Retry-After: 1
  gone   of every collection the first watch is answered 410, the second one ends by a 410 in it
  cut    every stream to an agent is cut after a second, twice
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

LIFE_OF_A_STREAM = 1.0
CUTS = 2
# A request's sort, by which the first of each is refused.
SORTS = (r"GET /version", r"POST .*selfsubjectaccessreviews", r"GET /api/v1/nodes", r"PATCH .*/pods/[^/]*\?",
         r"PATCH .*/status\?", r"GET .*watch=true", r"GET .*/exec\?", r"DELETE ")
GONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410}
BUSY = {**GONE, "message": "the server has received too many requests", "reason": "TooManyRequests",
        "code": 429}


def answer(status, body, more=""):
    text = json.dumps(body) + "\n"
    return (f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(text)}\r\n\r\n{text}").encode()


class Faults:
    """What is planted, and how often it has been felt."""

    def __init__(self, names, log):
        self.names, self.log, self.lock, self.times = names, log, threading.Lock(), {}

    def once_more(self, fault, key, most):
        """Whether a fault is felt again at `key`: at most so often."""
        if fault not in self.names:
            return 0
        with self.lock:
            count = self.times.get((fault, key), 0)
            if count >= most:
                return 0
            self.times[fault, key] = count + 1
            return count + 1

    def felt(self, fault, method, target):
        with self.lock, open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{fault} {method} {target.split('?')[0]}\n")

    def instead(self, method, target):
        """What is answered in the server's place; nothing where it is to answer."""
        for sort in SORTS:
            if re.match(sort, f"{method} {target}") and self.once_more("busy", sort, 1):
                self.felt("busy", method, target)
                return answer(429, BUSY, "Retry-After: 1\r\n")
        if "watch=true" in target:
            time_of_it = self.once_more("gone", target.split("?")[0], 2)
            if time_of_it:
                self.felt("gone", method, target)
            if time_of_it == 1:
                return answer(410, GONE)
            if time_of_it == 2:
                return answer(200, {"type": "ERROR", "object": GONE})
        return None


def pump(source, sink):
    """Bytes one way until either end is gone; then both know."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def read_request(client):
    """A request as it came, with its method and target; nothing at the end. Not a byte more is taken:
    what follows may be a stream's."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        if not (byte := client.recv(1)):
            return None
        data += byte
    lines = data.decode().split("\r\n")
    left = sum(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
    while left:
        if not (more := client.recv(left)):
            return None
        data += more
        left -= len(more)
    method, target, _ = lines[0].split(" ")
    return data, method, target


def serve(client, path, faults):
    """One connection: requests in turn, and the server's answers as they come."""
    server = None
    with contextlib.suppress(OSError), client:
        while request := read_request(client):
            data, method, target = request
            if instead := faults.instead(method, target):
                client.sendall(instead)
                continue
            if server is None:
                server = socket.socket(socket.AF_UNIX)
                server.connect(path)
                threading.Thread(target=pump, args=(server, client), daemon=True).start()
            server.sendall(data)
            if "/exec?" in target:
                if "command=attach" in target and faults.once_more("cut", target, CUTS):
                    def cut(client=client, server=server, method=method, target=target):
                        time.sleep(LIFE_OF_A_STREAM)
                        faults.felt("cut", method, target)
                        for end in (client, server):
                            with contextlib.suppress(OSError):
                                end.shutdown(socket.SHUT_RDWR)
                    threading.Thread(target=cut, daemon=True).start()
                pump(client, server)
                return


def main():
    kubectl, log, names, *words = sys.argv[1:]
    options = [word for word in words if word.startswith("--unix-socket=")]
    if "proxy" not in words or not options:
        os.execv(kubectl, [kubectl, *words])
    path = options[0].split("=", 1)[1]
    behind = path + ".real"
    words = [f"--unix-socket={behind}" if word == options[0] else word for word in words]
    with subprocess.Popen([kubectl, *words], stdout=subprocess.PIPE, text=True) as child:
        line = child.stdout.readline()
        if not line:
            sys.exit(child.wait())
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(64)
        print(line, end="", flush=True)
        faults = Faults(names.split(","), log)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, behind, faults), daemon=True).start()


if __name__ == "__main__":
    main()
