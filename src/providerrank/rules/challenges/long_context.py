"""Long context: pages of ordinary records, and a question whose answer stands in one or two places of them.

The text is as long as ``ChallengeParams.long_context_characters`` says, made of lines that each look like the one asked
for; so it can not be skimmed for something odd, and no two challenges share a beginning that a cache could hold.
"""

from __future__ import annotations

from collections.abc import Callable

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.expect_text import NameIs, NumberIs, find_numbers
from providerrank.rules.challenges.prose import (
    CLEAR,
    DIGITS,
    draw_context,
    draw_date,
    draw_messages,
    draw_name,
    draw_reference,
    write_money,
)
from providerrank.rules.challenges.shape import Answer, Expectation, Filled
from providerrank.rules.challenges.vocabulary import (
    CITIES,
    COLOURS,
    EVENTS,
    FIRST_NAMES,
    MATERIALS,
    PRODUCTS,
    SERVICES,
    SHOPS,
    TEAMS,
)

LEAST_LINES = 4
"""However short the text is set for a small model, there are lines to mistake for the right one."""


def fill_door_code(draw: Draw, characters: int) -> Filled:
    """A building manual: one room's door code."""
    reference = draw_reference(draw)
    rooms = _Unique(draw, lambda: f"{draw.pick('ABCDEFGH')}{draw.integer(0, 9)}.{draw.integer(100, 999)}")
    codes = _Unique(draw, lambda: draw.letters(DIGITS, 6))

    def write() -> tuple[str, str, str]:
        room, code = rooms.draw(), codes.draw()
        line = draw.pick(
            (
                "Room {room} belongs to the {team} team; the code at the door is {code}, changed by {name}.",
                "The {team} people sit in {room}. Ask {name} for a key, or use the code {code}.",
                "{name} keeps the {material} cabinet in room {room} ({team}); the lock there opens with {code}.",
                "For deliveries to {room}, {team} team, enter {code} and leave the {product} by the window.",
            )
        ).format(
            room=room,
            code=code,
            team=draw.pick(TEAMS),
            name=draw_name(draw),
            material=draw.pick(MATERIALS),
            product=draw.pick(PRODUCTS),
        )
        return line, room, code

    lines, room, code = _draw_lines(draw, write, characters)
    ask = draw.pick(
        (
            "What is the code for room {room}? Only the code.",
            "Which code opens {room}? Reply with the six digits only.",
            "I'm standing in front of {room}. What do I enter? Just the digits.",
        )
    ).format(room=room)
    return _build(draw, reference, "the building notes", lines, ask, NameIs(code, tuple(codes.seen)), code)


def fill_log_request(draw: Draw, characters: int) -> Filled:
    """A log: how long one request took."""
    reference = draw_reference(draw)
    ids = _Unique(draw, lambda: draw.letters("0123456789abcdef", 10))
    durations = _Unique(draw, lambda: str(draw.integer(1_003, 998_999)))

    def write() -> tuple[str, str, str]:
        request, duration = ids.draw(), durations.draw()
        iso, _ = draw_date(draw)
        line = (
            f"{iso} {draw.pick(SERVICES)} {draw.pick(('INFO', 'WARN', 'ERROR'))} req={request} "
            f"{draw.pick(('GET', 'POST', 'PUT'))} /{draw.pick(TEAMS)}/{draw.integer(10, 99_999)} "
            f"status={draw.pick((200, 201, 302, 404, 409, 500, 503))} took={duration}us"
        )
        return line, request, duration

    lines, request, duration = _draw_lines(draw, write, characters)
    ask = draw.pick(
        (
            "How many microseconds did request {id} take? Just the number.",
            "Find req={id} in there: what is its took value in microseconds? Number only.",
            "What did request {id} take, in us? Answer with the figure alone.",
        )
    ).format(id=request)
    return _build(draw, reference, "the log", lines, ask, NameIs(duration, tuple(durations.seen)), duration)


def fill_minutes(draw: Draw, characters: int) -> Filled:
    """Minutes of meetings: who took one of the tasks."""
    reference = draw_reference(draw)
    tasks = _Unique(
        draw,
        lambda: (
            f"the {draw.pick(COLOURS)} {draw.pick(PRODUCTS)} order for {draw.pick(CITIES)} no. {draw.integer(2, 990)}"
        ),
    )

    def write() -> tuple[str, str, str]:
        task, owner = tasks.draw(), draw.pick(FIRST_NAMES)
        line = draw.pick(
            (
                "At the {event} {owner} agreed to take care of {task}, due {day}.",
                "{day}: {task} goes to {owner} (decided at the {event}).",
                "After some discussion in the {event}, {owner} will handle {task} by {day}.",
                "Owner of {task}: {owner}. To be reported at the {event} on {day}.",
            )
        ).format(event=draw.pick(EVENTS), owner=owner, task=task, day=draw_date(draw)[1])
        return line, task, owner

    lines, task, owner = _draw_lines(draw, write, characters)
    ask = draw.pick(
        (
            "Who took on {task}? First name only.",
            "Who is responsible for {task}? Just the first name.",
            "Whose job is {task}? Answer with the first name.",
        )
    ).format(task=task)
    return _build(draw, reference, "the minutes", lines, ask, NameIs(owner, FIRST_NAMES), owner)


def fill_catalogue(draw: Draw, characters: int) -> Filled:
    """A price list: what one article costs."""
    reference = draw_reference(draw)
    articles = _Unique(draw, lambda: f"{draw.letters(CLEAR, 3)}-{draw.letters(DIGITS, 4)}")
    prices = _Unique(draw, lambda: write_money(draw.integer(105, 99_999)))

    def write() -> tuple[str, str, str]:
        article, price = articles.draw(), prices.draw()
        line = draw.pick(
            (
                "{article} {colour} {material} {product}, by {shop}, at {price}",
                "{product} in {colour} {material} ({shop}), article {article}, {price}",
                "{shop}: {article}, {product}, {material}, {colour}. {price}",
            )
        ).format(
            article=article,
            price=f"EUR {price}",
            colour=draw.pick(COLOURS),
            material=draw.pick(MATERIALS),
            product=draw.pick(PRODUCTS),
            shop=draw.pick(SHOPS),
        )
        return line, article, price

    lines, article, price = _draw_lines(draw, write, characters)
    ask = draw.pick(
        (
            "What does article {article} cost? Amount only.",
            "Price of {article}? Just the figure.",
            "A customer asks for {article}. How much is it? Only the amount.",
        )
    ).format(article=article)
    return _build(draw, reference, "the price list", lines, ask, NumberIs(price, tuple(find_numbers(ask))), price)


def fill_changes(draw: Draw, characters: int) -> Filled:
    """A chat in which places change: the last one counts."""
    reference = draw_reference(draw)
    topics = _Unique(draw, lambda: f"{draw.pick(EVENTS)} {draw.integer(2, 998)}")

    def write() -> tuple[str, str, str]:
        topic, place = topics.draw(), draw.pick(CITIES)
        return _write_change(draw, topic, place), topic, place

    lines, topic, place = _draw_lines(draw, write, characters)
    later = draw.pick([city for city in CITIES if city != place])
    at = next(index for index, line in enumerate(lines) if f" {topic} " in f" {line} ")
    again = at + 1 + draw.below(len(lines) - at)
    lines.insert(again, _write_change(draw, topic, later))
    ask = draw.pick(
        (
            "The place of some meetings changed along the way. Where is {topic} now? Only the city.",
            "Going by the latest message about it, in which city is {topic}? City only.",
            "Where does {topic} take place in the end? Just the city.",
        )
    ).format(topic=topic)
    return _build(draw, reference, "the chat", lines, ask, NameIs(later, CITIES), later)


def fill_two_steps(draw: Draw, characters: int) -> Filled:
    """Stock and people: who runs the warehouse that holds an article."""
    reference = draw_reference(draw)
    articles = _Unique(draw, lambda: f"{draw.letters(CLEAR, 2)}{draw.letters(DIGITS, 5)}")
    cities = draw.sample(CITIES, 24)
    people = draw.sample(FIRST_NAMES, 24)
    managers = dict(zip(cities, people, strict=True))

    def write() -> tuple[str, str, str]:
        article, city = articles.draw(), draw.pick(cities)
        line = draw.pick(
            (
                "Article {article} ({colour} {product}) is kept in the {city} warehouse, {count} pieces.",
                "{count} pieces of {article}, {product}, {material}: stored in {city}.",
                "Stock of {article} is in {city}: {count} x {product}, {colour}.",
            )
        ).format(
            article=article,
            city=city,
            colour=draw.pick(COLOURS),
            material=draw.pick(MATERIALS),
            product=draw.pick(PRODUCTS),
            count=draw.integer(2, 900),
        )
        return line, article, city

    lines, article, city = _draw_lines(draw, write, characters)
    for name in draw.shuffle(cities):
        led = draw.pick(("The {city} warehouse is run by {who}.", "{who} is in charge of the warehouse in {city}."))
        lines.insert(draw.below(len(lines) + 1), led.format(city=name, who=managers[name]))
    ask = draw.pick(
        (
            "Who runs the warehouse where article {article} is kept? First name only.",
            "I need {article}. Whom do I ask, meaning who is in charge of the warehouse it is in? Just the name.",
            "Which person is in charge of the warehouse that stores {article}? First name, nothing else.",
        )
    ).format(article=article)
    return _build(draw, reference, "the stock notes", lines, ask, NameIs(managers[city], tuple(people)), managers[city])


TEMPLATES: tuple[Callable[[Draw, int], Filled], ...] = (
    fill_door_code,
    fill_log_request,
    fill_minutes,
    fill_catalogue,
    fill_changes,
    fill_two_steps,
)


class _Unique:
    """Things drawn until they are new: each names one line."""

    __slots__ = ("_draw_one", "seen")

    def __init__(self, draw: Draw, draw_one: Callable[[], str]) -> None:
        self._draw_one = draw_one
        self.seen: dict[str, None] = {}

    def draw(self) -> str:
        """Return the next that was not drawn before."""
        name = self._draw_one()
        while name in self.seen:
            name = self._draw_one()
        self.seen[name] = None
        return name


def _draw_lines(draw: Draw, write: Callable[[], tuple[str, str, str]], characters: int) -> tuple[list[str], str, str]:
    """Write lines until they are long enough; returns them with the key and value of the one to be asked for."""
    written: list[tuple[str, str, str]] = []
    length = 0
    while length < characters or len(written) < LEAST_LINES:
        written.append(write())
        length += len(written[-1][0]) + 1
    _, key, value = draw.pick(written)
    return [line for line, _, _ in written], key, value


def _write_change(draw: Draw, topic: str, place: str) -> str:
    told = draw.pick(
        (
            "{who}: {topic} will be in {place}, says {other}",
            "{who}: I booked {place} for {topic} with {other}",
            "{who}: to be clear, {topic} is in {place} (thanks {other})",
            "{who}: {topic} moves to {place}, {other} agreed",
        )
    )
    return told.format(who=draw.pick(FIRST_NAMES), topic=topic, place=place, other=draw_name(draw))


def _build(
    draw: Draw, reference: str, source: str, lines: list[str], ask: str, expectation: Expectation, answer: str
) -> Filled:
    pasted = draw.pick(("I've pasted {} below.", "See {} below.", "Please look at {}:", "Here is what I have, {}:"))
    text = f"{draw_context(draw, reference)}{pasted.format(source)}\n\n" + "\n".join(lines) + f"\n\n{ask}"
    return Filled(draw_messages(draw, text), expectation, Answer(answer), reference)
