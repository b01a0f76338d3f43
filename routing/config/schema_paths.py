"""What the schema says of a path: which keys it knows there, and what a field is by default."""

import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from routing.config.schema import Document


def known_keys(steps: Iterable[str | int]) -> list[str]:
    """The fields of the shape at a path; none when there is no shape."""
    shape = _at(steps)
    return [field.alias or name for name, field in shape.model_fields.items()] if shape else []


def default(steps: list[str]) -> Any:
    """What a field is when the file leaves it out: text, a number, a flag, a list or a mapping;
    None when that is nothing or a shape of its own."""
    shape = _at(steps[:-1])
    field = shape.model_fields.get(steps[-1]) if shape else None
    if field is None or field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    return None if isinstance(value, BaseModel) else value


def _at(steps: Iterable[str | int]) -> type[BaseModel] | None:
    shape: Any = Document
    for step in steps:
        shape = _inside(shape, step)
    return shape if _is_shape(shape) else None


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
