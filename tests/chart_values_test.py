"""Holds the chart's values, their schema and their table in the README against each other.

usage: chart_values_test.py CHART

Needs no helm. Exits with 77, which ctest takes for skipped, where python3-yaml or python3-jsonschema
is not installed.
"""

import copy
import json
import pathlib
import re
import sys
import unittest

try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

CHART = pathlib.Path(sys.argv[1])
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def closed(schema):
    return schema.get("additionalProperties") is False


def keys_of_values(values, schema, path=()):
    """The paths of values whose names are ours to choose."""
    for key, value in values.items():
        below = resolved(schema["properties"][key])
        if closed(below):
            yield from keys_of_values(value, below, (*path, key))
        else:
            yield (*path, key)


def keys_of_schema(schema, path=()):
    for key, below in schema["properties"].items():
        below = resolved(below)
        if closed(below):
            yield from keys_of_schema(below, (*path, key))
        else:
            yield (*path, key)


def with_key_renamed(path):
    values = copy.deepcopy(VALUES)
    at = values
    for key in path[:-1]:
        at = at[key]
    at[path[-1] + "s"] = at.pop(path[-1])
    return values


class ChartValuesTest(unittest.TestCase):
    def setUp(self):
        jsonschema.Draft7Validator.check_schema(SCHEMA)
        self.validator = jsonschema.Draft7Validator(SCHEMA)

    def test_defaults_and_examples_fit_the_schema(self):
        self.assertGreaterEqual(len(EXAMPLES), 3)
        for name, values in [("values.yaml", VALUES),
                             *((one.name, yaml.safe_load(one.read_text())) for one in EXAMPLES)]:
            with self.subTest(name):
                self.assertEqual([error.message for error in self.validator.iter_errors(values)], [])

    def test_every_value_has_a_default_and_a_schema(self):
        ours = {path for path in keys_of_schema(SCHEMA) if path != ("global",)}
        self.assertEqual(set(keys_of_values(VALUES, SCHEMA)), ours)

    def test_a_typo_in_any_name_is_refused(self):
        paths = set(keys_of_values(VALUES, SCHEMA))
        # Groups of values, too: nightlys.schedule.
        paths |= {path[:length] for path in paths for length in range(1, len(path))}
        for path in sorted(paths):
            with self.subTest(".".join(path)):
                errors = [error.message for error in self.validator.iter_errors(with_key_renamed(path))]
                self.assertTrue(any(f"'{path[-1]}s' was unexpected" in error for error in errors),
                                errors)

    def test_values_that_could_never_work_are_refused(self):
        for wrong in ({"nightly": {"schedule": "every night"}}, {"metrics": {"port": 80}},
                      {"metrics": {"address": "localhost"}}, {"scenario": {"set": ["blocks"]}},
                      {"scenario": {"name": "../kpr"}}, {"ownScenarios": {"Mine!": "question: x"}},
                      {"pushGateway": {"url": "https://host"}}, {"namespace": "Bench"},
                      {"activeDeadlineSeconds": 0}, {"activeDeadlineSeconds": "1h"},
                      {"image": {"pullPolicy": "Sometimes"}}, {"serviceMonitor": {"interval": "15"}},
                      {"results": {"persistentVolumeClaim": {"size": "1 GB"}}},
                      {"job": {"enabled": "yes"}}, {"imagePullSecrets": ["registry"]}):
            with self.subTest(wrong):
                self.assertFalse(self.validator.is_valid(wrong))

    def test_the_readme_lists_every_value_with_its_default(self):
        text = (CHART / "README.md").read_text(encoding="utf-8")
        listed = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", text, re.MULTILINE))
        expected = {}
        for path in keys_of_values(VALUES, SCHEMA):
            value = VALUES
            for key in path:
                value = value[key]
            expected[".".join(path)] = json.dumps(value) if value != "" else '""'
        self.assertEqual(listed, expected)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
