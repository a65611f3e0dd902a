#!/usr/bin/env python3
"""images/archive.py: what the archives hold, that readers of both formats find it, and what is
refused. The programs are those that every Debian has."""

import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.dont_write_bytecode = True  # nothing beside the sources
import archive

PROGRAM = "/usr/bin/env"


def tar_of(content):
    tar = tarfile.open(fileobj=io.BytesIO(content))
    return {entry.name: (entry, tar.extractfile(entry).read() if entry.isfile() else b"")
            for entry in tar.getmembers()}


class ArchiveTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.note = pathlib.Path(self.folder.name, "note")
        self.note.write_text("hello\n")

    def write(self, *more, files=None, name="stackbench-test:0.1.0"):
        out = os.path.join(self.folder.name, "image.tar")
        files = [f"{PROGRAM}=/usr/bin/env", f"{self.note}=/etc/note"] if files is None else files
        archive.write(archive.parse(["--name", name, "--out", out, *more,
                                     "--entrypoint", "/usr/bin/env", "listen", "--", *files]))
        return pathlib.Path(out).read_bytes()

    def layers(self, written):
        names = json.loads(written["manifest.json"][1])[0]["Layers"]
        return [tar_of(written[name][1]) for name in names]

    def test_every_digest_is_that_of_what_it_names(self):
        written = tar_of(self.write())
        for name, (entry, content) in written.items():
            if entry.isfile() and name.startswith("blobs/"):
                self.assertEqual(name, f"blobs/sha256/{hashlib.sha256(content).hexdigest()}")
        blob = lambda one: written["blobs/sha256/" + one["digest"].removeprefix("sha256:")][1]
        manifest_of = json.loads(written["index.json"][1])["manifests"][0]
        manifest = json.loads(blob(manifest_of))
        for one in (manifest_of, manifest["config"], *manifest["layers"]):
            self.assertEqual(len(blob(one)), one["size"])
        config = json.loads(blob(manifest["config"]))
        # Uncompressed, a layer's own digest is that of its blob.
        self.assertEqual(config["rootfs"]["diff_ids"], [one["digest"] for one in manifest["layers"]])
        self.assertEqual(len(config["history"]), len(manifest["layers"]))

    def test_both_formats_name_the_same_image(self):
        written = tar_of(self.write())
        docker = json.loads(written["manifest.json"][1])[0]
        self.assertEqual(docker["RepoTags"], ["stackbench-test:0.1.0"])
        index = json.loads(written["index.json"][1])["manifests"][0]
        self.assertEqual(index["annotations"]["io.containerd.image.name"],
                         "docker.io/library/stackbench-test:0.1.0")
        manifest = json.loads(written["blobs/sha256/" + index["digest"][7:]][1])
        self.assertEqual(docker["Config"], "blobs/sha256/" + manifest["config"]["digest"][7:])
        self.assertEqual(docker["Layers"],
                         ["blobs/sha256/" + one["digest"][7:] for one in manifest["layers"]])

    def test_the_configuration_is_what_a_runtime_needs(self):
        written = tar_of(self.write("--label", "a=b=c", "--user", "1000:2000"))
        config = json.loads(written[json.loads(written["manifest.json"][1])[0]["Config"]][1])
        self.assertEqual(config["os"], "linux")
        self.assertIn(config["architecture"], ("amd64", "arm64"))
        self.assertEqual(config["config"]["Entrypoint"], ["/usr/bin/env", "listen"])
        self.assertEqual(config["config"]["User"], "1000:2000")
        self.assertEqual(config["config"]["Labels"], {"a": "b=c"})
        passwd = self.layers(written)[-1]["etc/passwd"][1].decode()
        self.assertRegex(passwd, r"(?m)^nonroot:x:1000:2000:")
        self.assertRegex(passwd, r"(?m)^root:x:0:0:")

    def test_programs_bring_every_library_they_are_linked_to(self):
        libraries, files = self.layers(tar_of(self.write()))
        listed = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
        wanted = set(re.findall(r"(/\S+) \(0x", listed))
        self.assertGreaterEqual(len(wanted), 2)
        self.assertEqual({"/" + name for name, (entry, _) in libraries.items() if entry.isfile()},
                         wanted)
        for path in wanted:
            self.assertEqual(libraries[path[1:]][1], pathlib.Path(path).read_bytes())
        self.assertEqual(files["usr/bin/env"][1], pathlib.Path(PROGRAM).read_bytes())
        self.assertEqual(files["usr/bin/env"][0].mode, 0o755)
        self.assertEqual(files["etc/note"][0].mode, 0o644)

    def test_directories_belong_to_the_user_and_links_point(self):
        files = self.layers(tar_of(self.write("--directory", "/run/stackbench",
                                              "--link", "/bin/env=/usr/bin/env")))[-1]
        self.assertEqual(files["run/stackbench"][0].uid, 65532)
        self.assertEqual(files["run"][0].uid, 0)
        self.assertEqual(files["tmp"][0].mode, 0o1777)
        self.assertTrue(files["bin/env"][0].issym())
        self.assertEqual(files["bin/env"][0].linkname, "/usr/bin/env")

    def test_unpacked_it_is_the_root_of_the_container(self):
        root = pathlib.Path(self.folder.name, "root")
        self.write("--root", str(root))
        self.assertEqual((root / "etc/note").read_text(), "hello\n")
        self.assertEqual((root / "usr/bin/env").read_bytes(), pathlib.Path(PROGRAM).read_bytes())
        self.assertTrue((root / "lib64").is_dir())

    def test_parents_come_before_what_is_in_them(self):
        for layer in self.layers(tar_of(self.write())):
            seen = set()
            for name in layer:
                parent = str(pathlib.PurePosixPath(name).parent)
                self.assertTrue(parent == "." or parent in seen, name)
                seen.add(name)

    def test_the_same_input_gives_the_same_bytes(self):
        first = self.write()
        os.utime(self.note, (1, 1))
        self.assertEqual(first, self.write(files=[f"{self.note}=/etc/note",
                                                  f"{PROGRAM}=/usr/bin/env"]))

    def test_without_programs_there_is_one_layer(self):
        self.assertEqual(len(self.layers(tar_of(self.write(files=[f"{self.note}=/note"])))), 1)

    def test_registries_are_told_from_folders(self):
        self.assertEqual(archive.full_name("a:1"), "docker.io/library/a:1")
        self.assertEqual(archive.full_name("b/a:1"), "docker.io/b/a:1")
        self.assertEqual(archive.full_name("registry.test/a:1"), "registry.test/a:1")
        self.assertEqual(archive.full_name("localhost/a:1"), "localhost/a:1")
        self.assertEqual(archive.full_name("here:5000/a:1"), "here:5000/a:1")

    def test_what_cannot_be_built_is_refused_in_a_sentence(self):
        other = pathlib.Path(self.folder.name, "other")
        other.write_bytes(b"\x7fELF\x01\x01" + bytes(100))
        for words, call in (
                ("/no/such: No such file", lambda: self.write(files=["/no/such=/x"])),
                ("expected LEFT=RIGHT", lambda: self.write(files=["/etc/hostname"])),
                ("expected LEFT=RIGHT", lambda: self.write(files=["/etc/hostname=/"])),
                ("expected NAME:TAG", lambda: self.write(name="untagged")),
                ("expected UID:GID", lambda: self.write("--user", "nobody")),
                ("64-bit", lambda: self.write(files=[f"{other}=/x"]))):
            with self.assertRaisesRegex(archive.Refused, words):
                call()
        told = subprocess.run([sys.executable, archive.__file__, "--name", "a:1", "--out", "/dev/null",
                               "--entrypoint", "/x", "--", "/no/such=/x"], capture_output=True,
                              text=True)
        self.assertEqual((told.returncode, told.stderr),
                         (1, "archive.py: /no/such: No such file or directory\n"))


if __name__ == "__main__":
    unittest.main()
