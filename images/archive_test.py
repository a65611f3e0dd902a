#!/usr/bin/env python3
"""What images/archive.py writes, read back as a container runtime reads it."""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import archive


class Image(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.program = os.path.join(self.folder.name, "program")
        with open(self.program, "wb") as file:
            file.write(b"\x7fELF")
        os.chmod(self.program, 0o700)

    def tearDown(self):
        self.folder.cleanup()

    def read(self, content):
        outer = tarfile.open(fileobj=io.BytesIO(content))
        (manifest,) = json.load(outer.extractfile("manifest.json"))
        config = outer.extractfile(manifest["Config"]).read()
        (layer,) = [outer.extractfile(name).read() for name in manifest["Layers"]]
        return manifest, config, layer

    def test_names_and_digests_fit(self):
        manifest, config, layer = self.read(archive.image(
            "docker.io/library/a:1", {"/usr/bin/program": self.program}, ["/usr/bin/program"],
            "65532", {"k": "v"}))
        self.assertEqual(manifest["RepoTags"], ["docker.io/library/a:1"])
        self.assertEqual(manifest["Config"], hashlib.sha256(config).hexdigest() + ".json")
        parsed = json.loads(config)
        self.assertEqual(parsed["rootfs"]["diff_ids"],
                         ["sha256:" + hashlib.sha256(layer).hexdigest()])
        self.assertEqual(parsed["config"]["Entrypoint"], ["/usr/bin/program"])
        self.assertEqual(parsed["config"]["User"], "65532")
        self.assertEqual(parsed["config"]["Labels"], {"k": "v"})

    def test_the_layer_holds_the_files_below_their_folders(self):
        _, _, layer = self.read(archive.image(
            "docker.io/library/a:1", {"/usr/bin/program": self.program}, ["/x"]))
        members = {m.name: m for m in tarfile.open(fileobj=io.BytesIO(layer)).getmembers()}
        self.assertEqual(sorted(members), ["tmp", "usr", "usr/bin", "usr/bin/program"])
        self.assertTrue(members["usr/bin"].isdir())
        self.assertEqual(members["tmp"].mode, 0o1777)
        self.assertEqual(members["usr/bin/program"].mode, 0o755)
        self.assertEqual((members["usr/bin/program"].uid, members["usr/bin/program"].mtime), (0, 0))

    def test_the_same_files_make_the_same_bytes(self):
        make = lambda: archive.image("docker.io/library/a:1", {"/p": self.program}, ["/p"])
        first = make()
        os.utime(self.program, (1, 1))
        self.assertEqual(first, make())

    def test_bare_names_are_docker_hubs(self):
        self.assertEqual(archive.full_name("a:1"), "docker.io/library/a:1")
        self.assertEqual(archive.full_name("b/a:1"), "docker.io/b/a:1")
        self.assertEqual(archive.full_name("registry.test/a:1"), "registry.test/a:1")
        self.assertEqual(archive.full_name("localhost/a:1"), "localhost/a:1")
        with self.assertRaises(ValueError):
            archive.full_name("registry.test:5000/a")

    def test_a_file_that_is_not_there_is_one_clear_error(self):
        out = os.path.join(self.folder.name, "out.tar")
        done = subprocess.run(
            [archive.__file__, "--out", out, "--name", "a:1", "--entrypoint", "/p", "/none=/p"],
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr,
                         "images/archive.py: [Errno 2] No such file or directory: '/none'\n")
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
