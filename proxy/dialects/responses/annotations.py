"""Citations of web pages, which this dialect and chat completions write differently.

Source: API references, "The response object", `annotations`, and "The chat completion object".
Other annotations (files, containers) only this dialect has.
"""

from typing import Any

from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.shapes import Object, list_of, object_of

_CITATION = "url_citation"


def annotation_extras(annotations: list[Any]) -> Object:
    """Extras of the text that they annotate, for either dialect."""
    for_chat = [
        {"type": _CITATION, _CITATION: {name: note[name] for name in note if name != "type"}}
        for note in annotations
        if isinstance(note, dict) and note.get("type") == _CITATION
    ]
    chat: Object = {"openai": {"annotations": for_chat}} if for_chat else {}
    return {OWN: {"annotations": annotations}, **chat}


def annotations_of(extras: Object) -> list[Any]:
    """Annotations of a text, from either dialect."""
    own = list_of(object_of(extras.get(OWN)).get("annotations"))
    if own:
        return own
    return [
        {"type": _CITATION, **note[_CITATION]}
        for note in list_of(object_of(extras.get("openai")).get("annotations"))
        if isinstance(note, dict) and isinstance(note.get(_CITATION), dict)
    ]
