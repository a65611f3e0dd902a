#!/usr/bin/env python3
"""clang-format (a check) and clang-tidy over the project's C++ files.

usage: cmake/tidy.py [changed|all]

changed: files that differ from the last commit; all: every file. A file that passed is not looked
at again until it, a header of ours, or the rules change: a stamp in build/tidy is named by the hash
of all of those.

clang-tidy spends some 20 s on the standard library for every file it is given, and next to nothing
on ours. So files of a folder are looked at together, included by one file in build/tidy; those that
cannot stand beside each other there (the same name in two anonymous namespaces) are taken apart.
"""

import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import shlex
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


def words_of(group, commands):
    """The compiler's words for a file that includes all of the group."""
    words = []
    for name in group:
        for word in commands[name]:
            if word.startswith(("-D", "-I", "-W", "-std=")) and word not in words:
                words.append(word)
        # -isystem has its path in a word of its own.
        for flag, path in itertools.pairwise(commands[name]):
            if flag == "-isystem" and path not in words:
                words += [flag, path]
    # What only GCC knows is no fault.
    return words + ["-Wno-unknown-warning-option"]


def tidy(group, commands):
    """What clang-tidy finds in files of one folder, and which of them are done."""
    # The analyzer looks into a file included by another only where this name says that it is one of
    # several put together (AnalysisManager::isInCodeFile).
    unit = STAMPS / f"UnifiedSource-{hashlib.sha256(chr(0).join(group).encode()).hexdigest()}.cc"
    unit.write_text("".join(f'#include "{ROOT / name}"\n' for name in group))
    words = words_of(group, commands)
    try:
        if len(group) > 1 and subprocess.run(
                ["clang++-19", "-fsyntax-only", "-Wno-everything", *words, unit],
                capture_output=True, check=False).returncode:
            middle = len(group) // 2
            return [found for half in (group[:middle], group[middle:])
                    for found in tidy(half, commands)]
        run = subprocess.run(["clang-tidy-19", "--quiet", f"--config-file={ROOT / '.clang-tidy'}",
                              *(NOT_IN_TESTS if is_test(group[0]) else []), unit, "--", *words],
                             cwd=ROOT, capture_output=True, text=True,
                             check=False)
        return [(group, run.stdout + run.stderr if run.returncode else "")]
    finally:
        unit.unlink()


# The first does not know that nothing comes after a failed ASSERT_TRUE; the analyzer follows both
# outcomes of every EXPECT, which takes it longer than all the rest of the house.
NOT_IN_TESTS = ["--checks=-bugprone-unchecked-optional-access,-clang-analyzer-*"]


def is_test(name):
    return "_test." in name or "/testing/" in name


# Files looked at together: more save little, and cost memory.
GROUP = 10


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
    commands = {os.path.relpath(entry["file"], ROOT): shlex.split(entry["command"])
                for entry in json.loads(
                    (ROOT / "build" / "dev" / "compile_commands.json").read_text())}
    stamps = {name: stamp_of(name, rules) for name in names if name in commands}
    todo = sorted((name for name, stamp in stamps.items() if not stamp.exists()),
                  key=lambda name: (os.path.dirname(name), is_test(name), name))
    groups = []
    for _, together in itertools.groupby(todo, key=lambda n: (os.path.dirname(n), is_test(n))):
        files = list(together)
        groups += [files[i:i + GROUP] for i in range(0, len(files), GROUP)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for results in pool.map(lambda group: tidy(group, commands), groups):
            for group, text in results:
                if text:
                    faults.append(text)
                    continue
                for name in group:
                    stamps[name].touch()
    for text in faults:
        print(text)
    print(f"clang-format: {len(names)} files; clang-tidy: {len(todo)} files looked at; "
          f"{len(faults)} groups of them with faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
