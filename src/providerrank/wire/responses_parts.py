"""The content parts of the Responses API's items, as chat has them.

Texts, images, files and sounds whose bytes are there are in both. What was uploaded to a provider, or is to be fetched
by it, chat has no words for: it is lost.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, require
from providerrank.wire.raw import Raw, is_present


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: Raw = Raw()


_text_or_list: msgspec.json.Decoder[str | list[Raw]] = msgspec.json.Decoder(str | list[Raw])
_part = msgspec.json.Decoder(_Part)

# What to put where something is missing.
A_PART = "say which content part it is, such as input_text"
A_TEXT = "give it a string"
A_URL = "give the image's URL, or its bytes as a data URL"
A_FILE = "give the file's bytes as a data URL"

TEXT_KINDS = frozenset({"input_text", "output_text", "text"})

Part = dict[str, object]


def read_parts(given: Raw, where: str, lost: Losses) -> list[Part]:
    """The content at ``where`` as chat's content parts. Raises BadRequest, naming the place."""
    content = decode(given, _text_or_list, where)
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts: list[Part] = []
    for index, raw in enumerate(content):
        place = f"{where}[{index}]"
        part = decode(raw, _part, place)
        if require(part.type, f"{place}.type", A_PART) in TEXT_KINDS:
            parts.append({"type": "text", "text": require(part.text, f"{place}.text", A_TEXT)})
            continue
        carried = _read_medium(part, place, lost)
        if carried is None:
            lost.add(place)
        else:
            parts.append(carried)
    return parts


def to_content(parts: list[Part]) -> object:
    """Parts as a message's content: a string where they are one text or nothing, which every endpoint takes."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _read_medium(part: _Part, where: str, lost: Losses) -> Part | None:
    """An image, a file or a sound as chat's content part; None where chat has none for it."""
    match part.type:
        case "input_image":
            if part.image_url is None:
                require(part.file_id, f"{where}.image_url", A_URL)
                return None  # a file that only the provider it was uploaded to has
            image = {"url": part.image_url}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case "input_file":
            if part.file_data is None:
                require(part.file_url or part.file_id, f"{where}.file_data", A_FILE)
                return None
            file = {"file_data": part.file_data}
            if part.filename is not None:
                file["filename"] = part.filename
            if part.detail not in (None, "auto"):
                lost.add(f"{where}.detail")
            return {"type": "file", "file": file}
        case "input_audio" if is_present(part.input_audio):
            return {"type": "input_audio", "input_audio": part.input_audio}
        case _:
            return None


def read_said(given: Raw, where: str, lost: Losses) -> str:
    """What the assistant said, refusals included: one text, which is what every endpoint takes."""
    content = decode(given, _text_or_list, where)
    if isinstance(content, str):
        return content
    said: list[str] = []
    for index, raw in enumerate(content):
        place = f"{where}[{index}]"
        part = decode(raw, _part, place)
        match require(part.type, f"{place}.type", A_PART):
            case kind if kind in TEXT_KINDS:
                said.append(require(part.text, f"{place}.text", A_TEXT))
            case "refusal":
                said.append(require(part.refusal, f"{place}.refusal", A_TEXT))
            case _:
                lost.add(place)
    return "".join(said)
