"""What travels between the processes of one gateway: frames, as bytes and as values; no I/O.

    frame    length of what follows (4 bytes, big-endian), then a MessagePack array
    tell     [0, kind, body]            no answer is expected
    ask      [1, number, kind, body]    to be answered by a reply of the same number
    reply    [2, number, body]          body nil: the question could not be answered

Both ends are processes of one program, started by one another: a frame that makes no sense is a mistake of ours, and
ends the link.
"""

from __future__ import annotations

import struct

import msgspec

MAX_FRAME_BYTES = 1 << 28
"""Past any configuration with its windows (5,000 endpoints at five tasks: 25 MB): a longer one is out of step."""

_LENGTH = struct.Struct(">I")


class Tell(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Something the other side may want to know, or is to do."""

    kind: str
    body: bytes = b""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A question."""

    number: int
    kind: str
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Its answer; None: there is none."""

    number: int
    body: bytes | None


Frame = Tell | Ask | Reply


class BrokenLink(Exception):
    """The bytes are not frames."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Tell | Ask | Reply] = msgspec.msgpack.Decoder(Tell | Ask | Reply)


def write_frame(frame: Frame) -> bytes:
    """Encode one frame. Raises ``BrokenLink`` for one that no reader would take."""
    data = _encoder.encode(frame)
    if len(data) > MAX_FRAME_BYTES:
        raise BrokenLink(f"a frame of {len(data)} bytes")
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Takes bytes in pieces of any size; gives the frames that are whole."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes. Raises ``BrokenLink``; nothing can be read after that."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        at, end = 0, len(buffer)
        while end - at >= _LENGTH.size:
            [length] = _LENGTH.unpack_from(buffer, at)
            if length > MAX_FRAME_BYTES:
                raise BrokenLink(f"a frame of {length} bytes")
            begin = at + _LENGTH.size
            if end - begin < length:
                break
            at = begin + length
            try:
                frames.append(_decoder.decode(memoryview(buffer)[begin:at].tobytes()))
            except msgspec.DecodeError as error:
                raise BrokenLink(str(error)) from None
        if at:
            del buffer[:at]
        return frames
