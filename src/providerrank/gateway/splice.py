"""What a streamed answer has delivered so far, and how another endpoint's stream continues it.

An answer that stops half way is continued in one of two ways:

* **prefill**: the next endpoint is given the delivered text as the beginning of its own answer. What it
  sends is new, unless it repeats the prefill first (some do): a repetition of all of it is dropped. Where the
  text had to be sent without the white space at its end, as much of that as is said anew is dropped too.
* **restart**: the next endpoint is given the request as it was. What it sends must first repeat, exactly,
  what was delivered; that part is dropped. At the first character that differs its answer is useless here.

So bytes the client has are never contradicted. Text is compared by channel (content, reasoning), never
across events, since endpoints cut the same text into different events.
"""

from __future__ import annotations

from providerrank.wire.answer import StreamEvent

ECHO_MIN_CHARS = 8
"""A shorter prefill may well be repeated by chance; a longer one repeated in full is an echo."""


class Diverged(Exception):
    """The new answer does not repeat what was delivered."""


class Channel:
    """Text of one kind: what was delivered, and what a continuing stream still has to repeat."""

    __slots__ = ("_parts", "_pending")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._pending: str | None = None

    @property
    def text(self) -> str:
        """Everything delivered."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def matching(self) -> bool:
        """A continuing stream has not yet repeated all of it."""
        return bool(self._pending)

    def deliver(self, text: str) -> None:
        """This text goes to the client."""
        self._parts.append(text)

    def restart(self) -> None:
        """A new stream begins, which must repeat everything."""
        self._pending = self.text or None

    def resume(self) -> None:
        """A new stream begins, which goes on where this one stopped."""
        self._pending = None

    def match(self, text: str) -> str:
        """The part of ``text`` that is new. Raises Diverged where it contradicts what was delivered."""
        pending = self._pending
        if not pending:
            return text
        if len(text) < len(pending):
            if not pending.startswith(text):
                raise Diverged
            self._pending = pending[len(text) :]
            return ""
        if not text.startswith(pending):
            raise Diverged
        self._pending = None
        return text[len(pending) :]


class Echo:
    """Drops a prefill that an endpoint repeats, and only a whole one.

    ``trimmed``: it was given the prefill without the white space at its end, and may say that anew.
    """

    __slots__ = ("_prefill", "_seen", "_trimmed")

    def __init__(self, delivered: str, *, trimmed: bool = False) -> None:
        given = delivered.rstrip() if trimmed else delivered
        self._trimmed = delivered[len(given) :]
        self._prefill = given if len(given) >= ECHO_MIN_CHARS else ""
        self._seen = ""

    def match(self, text: str) -> str:
        """The part of what came so far that is new; empty while it may still be an echo."""
        prefill = self._prefill
        if prefill:
            text = self._seen + text
            if len(text) < len(prefill) and prefill.startswith(text):
                self._seen = text
                return ""
            self._prefill = self._seen = ""
            text = text.removeprefix(prefill)
        return self._drop_trimmed(text) if self._trimmed and text else text

    def _drop_trimmed(self, text: str) -> str:
        """Text without as much of the white space as it begins with."""
        trimmed = self._trimmed
        if trimmed.startswith(text):
            self._trimmed = trimmed[len(text) :]
            return ""
        self._trimmed = ""
        same = 0
        while same < len(trimmed) and text[same] == trimmed[same]:
            same += 1
        return text[same:]

    def flush(self) -> str:
        """The stream ended: what was held back was no echo after all."""
        seen, self._prefill, self._seen = self._seen, "", ""
        return self._drop_trimmed(seen) if self._trimmed and seen else seen


def get_text(event: StreamEvent) -> tuple[str, str]:
    """What an event adds to its first choice: content (or a completion's text), and reasoning."""
    if not event.choices:
        return "", ""
    choice = event.choices[0]
    delta = choice.delta
    if delta is None:
        return choice.text or "", ""
    return delta.content or "", delta.reasoning_content or delta.reasoning or ""
