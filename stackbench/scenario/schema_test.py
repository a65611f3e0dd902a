"""Holds the scenario schema against a validator that is not ours.

usage: schema_test.py SCHEMA_CASES FOLDER

SCHEMA_CASES (schema_cases.cc) prints the schema with documents it must accept and must refuse.
Exits with 77, which ctest takes for skipped, where python3-jsonschema is not installed.
"""

import json
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)


def main(tool, folder):
    cases = json.loads(subprocess.run([tool, folder], check=True, capture_output=True).stdout)
    jsonschema.Draft7Validator.check_schema(cases["schema"])
    validator = jsonschema.Draft7Validator(cases["schema"])
    wrong = []
    for name, document in cases["valid"].items():
        for error in validator.iter_errors(document):
            place = ".".join(str(step) for step in error.absolute_path)
            wrong.append(f"{name}: refused: {place}: {error.message}")
    for name, document in cases["invalid"].items():
        if validator.is_valid(document):
            wrong.append(f"{name}: accepted")
    if not cases["valid"] or not cases["invalid"]:
        wrong.append("there is nothing to check")
    print("\n".join(wrong) or f"{len(cases['valid'])} accepted, {len(cases['invalid'])} refused")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
