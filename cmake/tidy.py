#!/usr/bin/env python3
"""clang-format (a check) and clang-tidy over the project's C++ files.

usage: cmake/tidy.py [changed|all]

changed: files that differ from the last commit; all: every file. A file that passed is not looked
at again until it, a header of ours, or the rules change: a stamp in build/tidy is named by the hash
of all of those.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAMPS = ROOT / "build" / "tidy"


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout.split("\0")


def listed(scope):
    patterns = ["*.cc", "*.h"]
    names = set(git("ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns))
    if scope == "changed":
        names &= set(git("diff", "-z", "--name-only", "HEAD", "--", *patterns)) | set(
            git("ls-files", "-z", "--others", "--exclude-standard", *patterns))
    return sorted(name for name in names if name and (ROOT / name).exists())


def format_faults(names):
    if not names:
        return []
    run = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *names], cwd=ROOT,
                         capture_output=True, text=True)
    return [run.stderr] if run.returncode else []


def stamp_of(name, rules):
    """Names the state of everything the verdict on this file depends on."""
    digest = hashlib.sha256(rules)
    digest.update(name.encode())
    digest.update((ROOT / name).read_bytes())
    return STAMPS / digest.hexdigest()


def tidy(name, stamp):
    run = subprocess.run(["clang-tidy-19", "--quiet", "-p", "build/dev", name], cwd=ROOT,
                         capture_output=True, text=True)
    if run.returncode:
        return run.stdout + run.stderr
    stamp.touch()
    return ""


def main():
    scope = sys.argv[1] if len(sys.argv) > 1 else "changed"
    if scope not in ("changed", "all"):
        print(__doc__, file=sys.stderr)
        return 2
    names = listed(scope)
    faults = format_faults(names)
    STAMPS.mkdir(parents=True, exist_ok=True)
    headers = hashlib.sha256()
    for header in listed("all"):
        if header.endswith(".h"):
            headers.update(header.encode() + (ROOT / header).read_bytes())
    rules = headers.digest() + (ROOT / ".clang-tidy").read_bytes()
    compiled = (ROOT / "build" / "dev" / "compile_commands.json").read_text()
    todo = []
    for name in names:
        stamp = stamp_of(name, rules)
        if name.endswith(".cc") and str(ROOT / name) in compiled and not stamp.exists():
            todo.append((name, stamp))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        faults += [text for text in pool.map(lambda job: tidy(*job), todo) if text]
    for text in faults:
        print(text)
    print(f"clang-format: {len(names)} files; clang-tidy: {len(todo)} files looked at; "
          f"{len(faults)} with faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
