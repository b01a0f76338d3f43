"""Content parts of messages and tool outputs, both ways.

Source: API reference, "Create a response", `input`. What the canonical values have no field for
stays in `extras["responses"]`; a part of an unknown type stays there whole.
"""

from collections.abc import Callable, Mapping
from typing import Any

from proxy.chat.request import Audio, Document, Image, Part, Refusal, Text
from proxy.dialects.losses import cannot_take
from proxy.dialects.responses.shapes import Object, text_of
from proxy.errors import InvalidRequest

OWN = "responses"


def own_of(part: Part) -> Object:
    """What only this dialect said of a part."""
    own = part.extras.get(OWN)
    return own if isinstance(own, dict) else {}


def _extras(part: Mapping[str, Any], *read: str) -> Object:
    """What is left of a part once these fields are read. An explicit cache breakpoint is also a
    canonical one."""
    rest = {
        name: value
        for name, value in part.items()
        if name not in ("type", *read) and value is not None and value != []
    }
    extras: Object = {OWN: rest} if rest else {}
    if "prompt_cache_breakpoint" in rest:
        extras["cache"] = {"type": "ephemeral"}
    return extras


def _data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a `data:` URL."""
    if not url.startswith("data:") or ";base64," not in url:
        return None
    media_type, _, data = url[5:].partition(";base64,")
    return media_type, data


def _text(part: Object, at: str) -> Part:
    if not isinstance(part.get("text"), str):
        raise InvalidRequest(f"{at}.text is required", param=f"{at}.text")
    return Text(text=part["text"], extras=_extras(part, "text"))


def _image(part: Object, at: str) -> Part:
    url = part.get("image_url")
    if not isinstance(url, str):
        return _unknown(part, at)
    extras = _extras(part, "image_url", "detail")
    detail = text_of(part.get("detail"))
    inline = _data_url(url)
    if inline:
        return Image(data=inline[1], media_type=inline[0], detail=detail, extras=extras)
    return Image(url=url, detail=detail, extras=extras)


def _file(part: Object, at: str) -> Part:
    extras = _extras(part, "file_data", "file_url", "file_id", "filename")
    data, url, file_id = (text_of(part.get(f"file_{name}")) for name in ("data", "url", "id"))
    name = text_of(part.get("filename"))
    if data:
        media_type, content = _data_url(data) or ("application/pdf", data)
        return Document(data=content, media_type=media_type, name=name, extras=extras)
    if url or file_id:
        return Document(url=url, file_id=file_id, name=name, extras=extras)
    raise InvalidRequest(f"{at} needs file_data, file_url or file_id", param=at)


def _audio(part: Object, at: str) -> Part:
    source = part.get("input_audio")
    if not isinstance(source, dict) or not isinstance(source.get("data"), str):
        raise InvalidRequest(f"{at}.input_audio.data is required", param=f"{at}.input_audio")
    return Audio(
        data=source["data"],
        format=text_of(source.get("format")),
        extras=_extras(part, "input_audio"),
    )


def _refusal(part: Object, at: str) -> Part:
    return Refusal(text=text_of(part.get("refusal")), extras=_extras(part, "refusal"))


def _unknown(part: Object, at: str) -> Part:
    if not isinstance(part.get("type"), str):
        raise InvalidRequest(f"{at}.type is required", param=f"{at}.type")
    return Part(extras={OWN: {"part": part}})


_READERS: Mapping[str, Callable[[Object, str], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
    "refusal": _refusal,
}


def read_content(content: Any, at: str) -> tuple[Part, ...]:
    """Parts of a text or a list of parts. Raises InvalidRequest naming the part at fault."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    if not isinstance(content, list):
        raise InvalidRequest(f"{at} is a text or a list", param=at)
    return tuple(_read_part(part, f"{at}[{index}]") for index, part in enumerate(content))


def _read_part(part: Any, at: str) -> Part:
    if not isinstance(part, dict):
        raise InvalidRequest(f"{at} is an object", param=at)
    return _READERS.get(text_of(part.get("type")), _unknown)(part, at)


def _written_text(text: str, role: str) -> Object:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}


def _written_document(part: Document) -> Object:
    named = {"filename": part.name} if part.name else {}
    if part.data:
        data = f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
        return {"type": "input_file", "filename": part.name or "document", "file_data": data}
    if part.file_id:
        return {"type": "input_file", "file_id": part.file_id, **named}
    return {"type": "input_file", "file_url": part.url, **named}


def _written_image(part: Image) -> Object:
    url = f"data:{part.media_type or 'image/png'};base64,{part.data}" if part.data else part.url
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "input_image", "image_url": url, **detail}


def write_part(part: Part, role: str, at: str) -> Object:
    """A part as content of a role. Raises InvalidRequest where it has no form here."""
    own = {name: value for name, value in own_of(part).items() if name != "message"}
    match part:
        case Text():
            return {**_written_text(part.text, role), **own}
        case Refusal() if role == "assistant":
            return {"type": "refusal", "refusal": part.text, **own}
        case Refusal():
            return _written_text(part.text, role)
        case Image() if role != "assistant":
            return {**_written_image(part), **own}
        case Document() if part.text:
            return _written_text(part.text, role)
        case Document() if role != "assistant":
            return {**_written_document(part), **own}
        case Audio() if role not in ("assistant", "tool"):
            audio = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": audio, **own}
    if isinstance(own.get("part"), dict):
        return dict(own["part"])
    raise cannot_take(OWN, f"{type(part).__name__.lower()} of the {role}", at)
