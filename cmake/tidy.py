#!/usr/bin/env python3
"""clang-format (a check) and clang-tidy over the project's C++ files.

usage: cmake/tidy.py [changed|all]

changed: files that differ from the last commit; all: every file, in which the analyzer looks less
far. A file that passed is not looked at again until it, a header of ours, or the rules change: a
stamp in build/tidy is named by the hash of all of those.

The standard library is most of what a file makes clang-tidy read. So files of a room are looked at
together, included by one file in build/tidy; those that cannot stand beside each other there (the
same name in two anonymous namespaces) are taken apart. `./bootstrap tidy` puts clang-tidy into
build/tools: one from the Python index, since from version 22 on it looks at our code alone, where
Debian's runs every check over the system's headers, four fifths of its time, and drops what it finds.
"""

import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAMPS = ROOT / "build" / "tidy"
CLANG_TIDY = ROOT / "build" / "tools" / "clang-tidy" / "clang_tidy" / "data" / "bin" / "clang-tidy"


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
    # What only GCC knows is no fault, nor is what every compiler has but the standard gets later
    # (__COUNTER__). Neighbours hide each other's names; the sanitizers' builds look for that in each
    # file by itself.
    return words + ["-Wno-unknown-warning-option", "-Wno-c2y-extensions", "-Wno-shadow"]


# How far the analyzer follows a function, in nodes; by default it is 225,000. It is 85 % of clang-tidy's
# time, most of that in few functions, and with this a third of it is left.
SHALLOW = ["-Xclang", "-analyzer-config", "-Xclang", "max-nodes=20000"]


def tried_together(unit, words):
    """A compiler's opinion of files beside each other: known in seconds, not after minutes."""
    return subprocess.run(["clang++-19", "-fsyntax-only", "-w", *words, unit], cwd=ROOT, check=False,
                          capture_output=True, text=True)


def tidy(group, commands, depth):
    """What clang-tidy finds in files of one room, and which of them are done."""
    # The analyzer looks into a file included by another only where this name says that it is one of
    # several put together (AnalysisManager::isInCodeFile).
    unit = STAMPS / f"UnifiedSource-{hashlib.sha256(chr(0).join(group).encode()).hexdigest()}.cc"
    unit.write_text("".join(f'#include "{ROOT / name}"\n' for name in group))
    words = words_of(group, commands)
    try:
        if len(group) > 1:
            tried = tried_together(unit, words)
            if tried.returncode:
                return [found for part in apart(group, tried.stderr)
                        for found in tidy(part, commands, depth)]
        run = subprocess.run([CLANG_TIDY, "--quiet", f"--config-file={ROOT / '.clang-tidy'}",
                              *(NOT_IN_TESTS if is_test(group[0]) else []), unit, "--",
                              *words, *depth],
                             cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        unit.unlink()
    return [(group, run.stdout + run.stderr if run.returncode else "")]


def apart(group, text):
    """A group that does not compile in two: the files with the errors, and the others."""
    named = re.findall(r"^(.*?):\d+:\d+: error: ", text, re.MULTILINE)
    wrong = {os.path.relpath(name, ROOT) for name in named}
    parts = [[name for name in group if name not in wrong], [name for name in group if name in wrong]]
    return parts if all(parts) else [group[:len(group) // 2], group[len(group) // 2:]]


# The first does not know that nothing comes after a failed ASSERT_TRUE; the analyzer follows both
# outcomes of every EXPECT, which takes it longer than all the rest of the house.
NOT_IN_TESTS = ["--checks=-bugprone-unchecked-optional-access,-clang-analyzer-*"]


def is_test(name):
    return "_test." in name or "/testing/" in name


# Files looked at together, at most: more save little, and cost memory.
GROUP = 16


def groups_of(names):
    """The files of each room, tests apart, in even groups; those that take longest come first."""
    def room(name):
        return name.split("/")[0], is_test(name)
    groups = []
    for _, together in itertools.groupby(sorted(names, key=lambda name: (room(name), name)), key=room):
        files = list(together)
        parts = -(-len(files) // GROUP)
        groups += [files[len(files) * i // parts:len(files) * (i + 1) // parts] for i in range(parts)]
    return sorted(groups, key=lambda group: (
        is_test(group[0]), -sum((ROOT / name).stat().st_size for name in group)))


def commands_of(build):
    """Each file's name and how it is compiled: as those that CMake put it together with."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"]) / entry["file"]
        files = [path]
        if path.parent.name == "Unity" and path.exists():
            files = re.findall(r'^#include "(.*)"$', path.read_text(), re.MULTILINE)
        for file in files:
            yield os.path.relpath(file, ROOT), shlex.split(entry["command"])


def main():
    scope = sys.argv[1] if len(sys.argv) > 1 else "changed"
    if scope not in ("changed", "all"):
        print(__doc__, file=sys.stderr)
        return 2
    if not CLANG_TIDY.exists():
        print(f"{CLANG_TIDY} is missing: ./bootstrap tidy puts it there", file=sys.stderr)
        return 2
    depth = SHALLOW if scope == "all" else []
    names = listed(scope)
    faults = format_faults(names)
    STAMPS.mkdir(parents=True, exist_ok=True)
    headers = hashlib.sha256()
    for header in listed("all"):
        if header.endswith(".h"):
            headers.update(header.encode() + (ROOT / header).read_bytes())
    version = subprocess.run([CLANG_TIDY, "--version"], check=True, capture_output=True).stdout
    rules = headers.digest() + (ROOT / ".clang-tidy").read_bytes() + version
    commands = dict(commands_of(ROOT / "build" / "dev"))
    stamps = {name: stamp_of(name, rules) for name in names if name in commands}
    todo = [name for name, stamp in stamps.items() if not stamp.exists()]
    for text in faults:
        print(text)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(tidy, group, commands, depth) for group in groups_of(todo)]
        for done in concurrent.futures.as_completed(running):
            for group, text in done.result():
                if text:
                    # At once: the last group may be minutes away.
                    print(text, flush=True)
                    faults.append(text)
                    continue
                for name in group:
                    stamps[name].touch()
    print(f"clang-format: {len(names)} files; clang-tidy: {len(todo)} files looked at; "
          f"{len(faults)} groups of them with faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
