"""Says of each value of a JSON array whether a JSON Schema accepts it: validate.py SCHEMA VALUES."""

import json
import sys

from jsonschema import Draft202012Validator


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


schema, values = map(load, sys.argv[1:])
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for value in values:
    print(json.dumps(validator.is_valid(value)))
