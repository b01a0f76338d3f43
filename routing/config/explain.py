"""From the schema's errors to problems that name their YAML path."""

import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from routing.config.problems import Problem, join, suggest
from routing.config.schema_paths import known_keys

_SAID = {
    "missing": "is required",
    "string_type": "must be text; quote it",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "is not of the form {pattern}",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "union_tag_not_found": "needs a 'kind'",
    "union_tag_invalid": "must be one of {expected_tags}",
}


def problems_of(invalid: ValidationError) -> list[Problem]:
    """One problem for each error. Values are never quoted: one of them may be a secret."""
    return [_problem(error) for error in invalid.errors(include_url=False)]


def _problem(error: ErrorDetails) -> Problem:
    context = error.get("ctx", {})
    steps = _steps(error["loc"])
    path = join("", *steps, *([context["at"]] if "at" in context else []))
    if error["type"] == "extra_forbidden":
        # The last step is the key itself; the schema is asked what could have stood there.
        return Problem(path, "unknown key" + suggest(steps[-1], known_keys(error["loc"][:-1])))
    if error["type"] not in _SAID:
        return Problem(path, error["msg"].removeprefix("Value error, "))
    said = _SAID[error["type"]].format(**context)
    if error["type"] == "literal_error":
        said += suggest(error["input"], _words(context["expected"]))
    if error["type"] == "union_tag_invalid":
        return Problem(
            join(path, "kind"), said + suggest(context["tag"], _words(context["expected_tags"]))
        )
    return Problem(path, said)


def _words(quoted: str) -> list[str]:
    """The words in `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", quoted)


def _steps(location: tuple[str | int, ...]) -> list[str | int]:
    """Without what the schema adds: the kind of a guard, and the mark of a bad key."""
    steps = [step for step in location if step != "[key]"]
    if steps[:1] == ["guards"] and len(steps) > 2:
        del steps[2]
    return steps
