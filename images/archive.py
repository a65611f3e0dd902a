#!/usr/bin/env python3
"""Writes a container image of one layer, made of files, without a registry and without a daemon.

  images/archive.py --out build/images/pause.tar --name stackbench-pause:0.1.0 \\
      --entrypoint /pause build/dev/bin/pause=/pause

The archive is what `docker save` writes, so `ctr images import`, `docker load` and `podman load` take
it. The same files make the same bytes: times are zero and everything belongs to root.
"""
import argparse
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

# Go's names of processors, which images use.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def tar_of(entries):
    """The bytes of a tar archive of (name, mode, content) in this order; content None: a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mode, content in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def layer_entries(files):
    """(name, mode, content) for {destination: source}, parents before children."""
    directories = {"tmp": 0o1777}
    for destination in files:
        parts = destination.strip("/").split("/")
        for depth in range(1, len(parts)):
            directories.setdefault("/".join(parts[:depth]), 0o755)
    entries = [(name, mode, None) for name, mode in directories.items()]
    for destination, source in files.items():
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        with open(source, "rb") as file:
            entries.append((destination.strip("/"), mode, file.read()))
    return sorted(entries)


def image(name, files, entrypoint, user="", labels=None, architecture=None):
    """The bytes of the archive."""
    layer = tar_of(layer_entries(files))
    digest = hashlib.sha256(layer).hexdigest()
    settings = {"Entrypoint": entrypoint, "Env": ["PATH=/usr/bin:/bin"]}
    if user:
        settings["User"] = user
    if labels:
        settings["Labels"] = labels
    configuration = json.dumps({
        "architecture": architecture or ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "images/archive.py"}],
    }, sort_keys=True).encode()
    config_name = hashlib.sha256(configuration).hexdigest() + ".json"
    layer_name = digest + "/layer.tar"
    manifest = json.dumps(
        [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    return tar_of([(config_name, 0o644, configuration), (digest, 0o755, None),
                   (layer_name, 0o644, layer), ("manifest.json", 0o644, manifest)])


def full_name(name):
    """As containerd knows it: a bare name is Docker Hub's."""
    if ":" not in name.rsplit("/", 1)[-1]:
        raise ValueError(f"--name: expected NAME:TAG, got {name!r}")
    first = name.split("/", 1)[0]
    if "/" in name and ("." in first or ":" in first or first == "localhost"):
        return name
    return "docker.io/" + name if "/" in name else "docker.io/library/" + name


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="the archive to write")
    parser.add_argument("--name", required=True, help="NAME:TAG")
    parser.add_argument("--entrypoint", required=True, action="append",
                        help="a word of it; repeat for more")
    parser.add_argument("--user", default="", help="UID or UID:GID (default: root)")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("files", nargs="+", metavar="SOURCE=DESTINATION")
    arguments = parser.parse_args()
    try:
        files = {}
        for pair in arguments.files:
            source, separator, destination = pair.partition("=")
            if not separator or not destination.startswith("/"):
                raise ValueError(f"expected SOURCE=/DESTINATION, got {pair!r}")
            files[destination] = source
        labels = dict(label.split("=", 1) for label in arguments.label)
        content = image(full_name(arguments.name), files, arguments.entrypoint, arguments.user,
                        labels)
        # Written aside and renamed: a reader never takes half of one.
        os.makedirs(os.path.dirname(os.path.abspath(arguments.out)), exist_ok=True)
        scratch = f"{arguments.out}.{os.getpid()}.new"
        with open(scratch, "wb") as file:
            file.write(content)
        os.rename(scratch, arguments.out)
    except (OSError, ValueError) as error:
        sys.exit(f"images/archive.py: {error}")


if __name__ == "__main__":
    main()
