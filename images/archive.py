#!/usr/bin/env python3
"""Writes a container image as an archive, without a registry and without an engine.

usage: images/archive.py --name NAME:TAG --out FILE.tar --entrypoint ARGUMENT... -- FILE=DEST...

The archive is what `docker save` writes today: an OCI layout that has a manifest.json of Docker's as
well, so `ctr -n k8s.io images import`, `docker load`, `podman load` and `kind load image-archive`
all read it. Programs bring what they are linked to: the ELF interpreter is asked for the libraries,
which form a layer of their own below the files. The same input gives the same bytes: entries are
sorted, nothing holds a time, nothing is compressed.

--root DIR also unpacks the layers into a directory: what a Dockerfile copies FROM scratch.

The image holds no shell and no package: the files, their libraries, /tmp, and the few lines of
/etc/passwd and /etc/group that give its user a name.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import stat
import struct
import subprocess
import sys
import tarfile

ARCHITECTURES = {62: "amd64", 183: "arm64"}  # by e_machine
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
PT_INTERP = 3
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Refused(Exception):
    """What cannot be built, and why, in a sentence."""


class Elf:
    """What a program's header says: its architecture, and its interpreter ("" when it is static)."""

    def __init__(self, content, name):
        if len(content) < 64 or content[4] != 2 or content[5] != 1:
            raise Refused(f"{name}: expected a 64-bit little-endian ELF file")
        machine = struct.unpack_from("<H", content, 18)[0]
        if machine not in ARCHITECTURES:
            raise Refused(f"{name}: built for ELF machine {machine}, expected amd64 or arm64")
        self.architecture = ARCHITECTURES[machine]
        self.interpreter = ""
        offset, size, count = (struct.unpack_from("<Q", content, 32)[0],
                               *struct.unpack_from("<HH", content, 54))
        for place in range(offset, offset + size * count, size):
            if struct.unpack_from("<I", content, place)[0] == PT_INTERP:
                begin = struct.unpack_from("<Q", content, place + 8)[0]
                length = struct.unpack_from("<Q", content, place + 32)[0]
                self.interpreter = content[begin:begin + length].rstrip(b"\0").decode()


def libraries_of(path, interpreter):
    """The paths of every library the program is linked to, its interpreter among them."""
    # What ldd does; without the caller's search path, which the container will not have.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    listed = subprocess.run([interpreter, "--list", os.path.abspath(path)], capture_output=True,
                            text=True, env=environment)
    if listed.returncode != 0:
        raise Refused(f"{path}: its libraries cannot be listed: {listed.stderr.strip()}")
    found = {interpreter}
    for line in listed.stdout.splitlines():
        if "not found" in line:
            raise Refused(f"{path}: needs {line.split()[0]}, which is not installed")
        # "NAME => PATH (0x...)"; what is asked for by its path is listed by that, and the vDSO has
        # none.
        match = re.match(r"\s*(?:[^/\s]+ => )?(/\S+)", line)
        if match:
            found.add(match.group(1))
    return found


def mode_of(path):
    return 0o755 if os.stat(path).st_mode & stat.S_IXUSR else 0o644


class Layer:
    """A tar of files, links and the directories above them."""

    def __init__(self):
        self.entries = {}  # by path without the leading slash

    def add_directory(self, path, mode=0o755, owner=0):
        self.entries[path.strip("/")] = (tarfile.DIRTYPE, mode, owner, b"", "")

    def add_file(self, path, content, mode):
        self.entries[path.strip("/")] = (tarfile.REGTYPE, mode, 0, content, "")

    def add_link(self, path, target):
        self.entries[path.strip("/")] = (tarfile.SYMTYPE, 0o777, 0, b"", target)

    def to_bytes(self):
        for path in list(self.entries):
            for parent in pathlib.PurePosixPath(path).parents:
                if str(parent) not in (".", *self.entries):
                    self.add_directory(str(parent))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(self.entries):
                kind, mode, owner, content, target = self.entries[path]
                entry = tarfile.TarInfo(path)
                entry.type, entry.mode, entry.linkname = kind, mode, target
                entry.uid = entry.gid = owner
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


def numeric_user(user):
    match = re.fullmatch(r"(\d+):(\d+)", user)
    if not match:
        raise Refused(f"--user: expected UID:GID in numbers, got \"{user}\"")
    return int(match.group(1)), int(match.group(2))


def accounts(user):
    """/etc/passwd and /etc/group: root, and the image's user where that is another."""
    uid, gid = numeric_user(user)
    passwd, group = "root:x:0:0:root:/:/nonexistent\n", "root:x:0:\n"
    if uid:
        passwd += f"nonroot:x:{uid}:{gid}:nonroot:/:/nonexistent\n"
    if gid:
        group += f"nonroot:x:{gid}:\n"
    return passwd.encode(), group.encode()


def pair_of(text, option):
    left, equals, right = text.partition("=")
    if not equals or not left or not right.strip("/"):
        raise Refused(f"{option}: expected LEFT=RIGHT, got \"{text}\"")
    return left, right


def layers_of(options):
    """The layers' bytes, lowest first, and the architecture of the programs in them."""
    libraries, files = Layer(), Layer()
    architectures = set()
    for text in options.files:
        source, place = pair_of(text, "FILE=DEST")
        try:
            content = pathlib.Path(source).read_bytes()
            mode = mode_of(source)
        except OSError as error:
            raise Refused(f"{source}: {error.strerror}") from None
        files.add_file(place, content, mode)
        if not content.startswith(b"\x7fELF"):
            continue
        elf = Elf(content, source)
        architectures.add(elf.architecture)
        for library in sorted(libraries_of(source, elf.interpreter)) if elf.interpreter else []:
            # Under the name it is asked for by, whatever that links to here.
            libraries.add_file(library, pathlib.Path(library).read_bytes(), mode_of(library))
    for text in options.link:
        files.add_link(*pair_of(text, "--link"))
    uid, _ = numeric_user(options.user)
    for path in options.directory:
        files.add_directory(path, owner=uid)
    files.add_directory("/tmp", 0o1777)
    for name, content in zip(("passwd", "group"), accounts(options.user)):
        files.add_file(f"/etc/{name}", content, 0o644)
    if len(architectures) > 1:
        raise Refused(f"programs of several architectures: {', '.join(sorted(architectures))}")
    architecture = next(iter(architectures), MACHINES.get(platform.machine(), platform.machine()))
    layers = [layer.to_bytes() for layer in (libraries, files) if layer.entries]
    return layers, architecture


def as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def descriptor(media_type, content, **more):
    return {"mediaType": media_type, "digest": f"sha256:{digest_of(content)}", "size": len(content),
            **more}


def full_name(name):
    """The name as Kubernetes' runtimes spell it: with a registry, which is Docker's when none is
    said."""
    first, slash, _ = name.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def unpack(layers, root):
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(root, numeric_owner=True)


def image(options):
    """The archive's entries by name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*", options.name):
        raise Refused(f"--name: expected NAME:TAG, got \"{options.name}\"")
    layers, architecture = layers_of(options)
    if options.root:
        unpack(layers, options.root)
    config = as_json({
        "architecture": architecture, "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"User": options.user, "Entrypoint": options.entrypoint, "WorkingDir": "/",
                   "Env": ["PATH=/usr/bin:/bin"],
                   "Labels": dict(pair_of(label, "--label") for label in options.label)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest_of(one)}" for one in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "images/archive.py"}
                    for _ in layers]})
    manifest = as_json({"schemaVersion": 2, "mediaType": MANIFEST,
                        "config": descriptor(CONFIG, config),
                        "layers": [descriptor(LAYER, one) for one in layers]})
    index = as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(
        MANIFEST, manifest, platform={"architecture": architecture, "os": "linux"},
        annotations={"io.containerd.image.name": full_name(options.name),
                     "org.opencontainers.image.ref.name": options.name.rpartition(":")[2]})]})
    blobs = {f"blobs/sha256/{digest_of(one)}": one for one in (*layers, config, manifest)}
    docker = as_json([{"Config": f"blobs/sha256/{digest_of(config)}", "RepoTags": [options.name],
                       "Layers": [f"blobs/sha256/{digest_of(one)}" for one in layers]}])
    return {**blobs, "index.json": index, "manifest.json": docker,
            "oci-layout": as_json({"imageLayoutVersion": "1.0.0"})}


def write(options):
    archive = Layer()
    for name, content in image(options).items():
        archive.add_file(name, content, 0o644)
    # Whoever reads it meanwhile sees the old one or the new one.
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    unfinished.write_bytes(archive.to_bytes())
    unfinished.rename(out)


def parse(arguments):
    parser = argparse.ArgumentParser(description="Writes a container image as an archive.")
    parser.add_argument("--name", required=True, help="NAME:TAG, as manifests will spell it")
    parser.add_argument("--out", required=True, help="the archive to write")
    parser.add_argument("--entrypoint", required=True, nargs="+", metavar="ARGUMENT",
                        help="the program in the image and its arguments (end them with --)")
    parser.add_argument("--user", default="65532:65532", help="UID:GID (default: %(default)s)")
    parser.add_argument("--link", action="append", default=[], metavar="DEST=TARGET",
                        help="a symbolic link in the image")
    parser.add_argument("--directory", action="append", default=[], metavar="DEST",
                        help="an empty directory in the image, which belongs to its user")
    parser.add_argument("--root", metavar="DIR", help="also unpack the image there")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("files", nargs="+", metavar="FILE=DEST",
                        help="a file of this machine, and its absolute path in the image")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        write(parse(sys.argv[1:]))
    except (Refused, OSError) as refused:
        sys.exit(f"archive.py: {refused}")
