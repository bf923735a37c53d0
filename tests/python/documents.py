"""Holds an OpenAPI document, from standard input, to OpenAPI's own rules."""

import json
import sys

from openapi_spec_validator import validate

validate(json.load(sys.stdin))
