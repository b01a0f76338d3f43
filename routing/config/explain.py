"""From the schema's errors to problems that name their YAML path."""

import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from routing.config.problems import Problem, join, suggest
from routing.config.schema import Document

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
        return Problem(path, "unknown key" + suggest(steps[-1], _known_keys(error["loc"][:-1])))
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


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    shape: Any = Document
    for step in location:
        shape = _inside(shape, step)
    if not _is_shape(shape):
        return []
    return [field.alias or name for name, field in shape.model_fields.items()]


def _inside(shape: Any, step: str | int) -> Any:
    """What the schema wants at a step: a field of a shape, an item of a list or mapping, or a
    kind among the kinds of guards."""
    if _is_shape(shape):
        for name, field in shape.model_fields.items():
            if step in (name, field.alias):
                return _bare(field.annotation)
        return None
    members = typing.get_args(shape)
    if typing.get_origin(shape) in (list, dict):
        return _bare(members[-1])
    return next((member for member in members if step in _kinds(member)), None)


def _bare(annotation: Any) -> Any:
    """The type itself: without what Annotated adds, and without None."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [_bare(one) for one in typing.get_args(annotation) if one is not type(None)]
        return members[0] if len(members) == 1 else annotation
    return annotation


def _kinds(member: Any) -> tuple[object, ...]:
    if not _is_shape(member) or "kind" not in member.model_fields:
        return ()
    return typing.get_args(member.model_fields["kind"].annotation)


def _is_shape(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
