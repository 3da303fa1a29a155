"""Tools: a request that takes exactly one call of one of several functions, with arguments that stand in the text."""

from __future__ import annotations

import json
from collections.abc import Callable

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.expect_json import CallIs
from providerrank.rules.challenges.json_object import CLOCK, DATE, TEXT, TRUTH, WHOLE, list_of, object_of, one_of
from providerrank.rules.challenges.prose import draw_context, draw_date, draw_messages, draw_name, draw_reference
from providerrank.rules.challenges.shape import Answer, Filled, Json, ToolCall
from providerrank.rules.challenges.vocabulary import CITIES, CURRENCIES, EVENTS, FIRST_NAMES, PRODUCTS, ROOMS, TEAMS

ROOM = one_of(*ROOMS)
CURRENCY = one_of(*CURRENCIES)
TEAM = one_of(*TEAMS)

CATALOGUE: dict[str, tuple[str, dict[str, Json]]] = {
    "get_weather": (
        "Weather forecast for a city on a date",
        object_of(city=TEXT, date=DATE, units=one_of("celsius", "fahrenheit")),
    ),
    "find_trains": (
        "Train connections between two cities on a date",
        object_of(origin=TEXT, destination=TEXT, date=DATE, passengers=WHOLE),
    ),
    "create_event": (
        "Put an event into the calendar",
        object_of(title=TEXT, date=DATE, start=CLOCK, minutes=WHOLE),
    ),
    "convert_money": (
        "Convert a whole amount from one currency to another",
        object_of(amount=WHOLE, source=CURRENCY, target=CURRENCY),
    ),
    "set_thermostat": (
        "Set the temperature of a room in whole degrees Celsius until a time of day",
        object_of(room=ROOM, degrees=WHOLE, until=CLOCK),
    ),
    "get_order": (
        "Look up an order or case by its code",
        object_of(code=TEXT, with_history=TRUTH),
    ),
    "send_message": (
        "Send a short text to one colleague, by first name",
        object_of(to=TEXT, text=TEXT, urgent=TRUTH),
    ),
    "restock": (
        "Order more pieces of a product for a warehouse city",
        object_of(product=TEXT, pieces=WHOLE, warehouse=TEXT),
    ),
    "open_ticket": (
        "Open a ticket with a team, with a priority from 1 (high) to 4 (low)",
        object_of(team=TEAM, priority={"type": "integer", "minimum": 1, "maximum": 4}, codes=list_of(TEXT)),
    ),
}
"""Every function there is: what it does, and the schema of its arguments."""


def fill_weather(draw: Draw) -> Filled:
    """A forecast."""
    reference = draw_reference(draw)
    city, (iso, spoken) = draw.pick(CITIES), draw_date(draw)
    units = draw.pick(("celsius", "fahrenheit"))
    ask = draw.pick(
        (
            "What will the weather be like in {city} on {day}? In {units}, please.",
            "Check the forecast for {city}, {day}, and use {units}.",
            "Will I need a coat in {city} on {day}? I think in {units}.",
        )
    ).format(city=city, day=spoken, units=units)
    return _build(draw, reference, ask, "get_weather", {"city": city, "date": iso, "units": units})


def fill_trains(draw: Draw) -> Filled:
    """A journey."""
    reference = draw_reference(draw)
    origin, destination = draw.sample(CITIES, 2)
    (iso, spoken), passengers = draw_date(draw), draw.integer(1, 8)
    people = f"{passengers} {'person' if passengers == 1 else 'people'}"
    ask = draw.pick(
        (
            "Find trains from {a} to {b} on {day} for {people}.",
            "We need to get from {a} to {b} on {day}, {people} in all. Which trains are there?",
            "Look up train connections for {people}, {day}, {a} to {b}.",
        )
    ).format(a=origin, b=destination, day=spoken, people=people)
    arguments: dict[str, Json] = {
        "origin": origin,
        "destination": destination,
        "date": iso,
        "passengers": passengers,
    }
    return _build(draw, reference, ask, "find_trains", arguments)


def fill_event(draw: Draw) -> Filled:
    """An appointment."""
    reference = draw_reference(draw)
    title, (iso, spoken) = draw.pick(EVENTS), draw_date(draw)
    start, minutes = _draw_clock(draw), draw.pick((15, 20, 30, 45, 60, 90))
    ask = draw.pick(
        (
            'Put "{title}" in my calendar on {day} at {start}, {minutes} minutes.',
            'Please schedule "{title}" for {day}, {start}. It takes {minutes} minutes.',
            'Block {minutes} minutes on {day} from {start} and call it "{title}".',
        )
    ).format(title=title, day=spoken, start=start, minutes=minutes)
    arguments: dict[str, Json] = {"title": title, "date": iso, "start": start, "minutes": minutes}
    return _build(draw, reference, ask, "create_event", arguments)


def fill_money(draw: Draw) -> Filled:
    """An amount in another currency."""
    reference = draw_reference(draw)
    source, target = draw.sample(CURRENCIES, 2)
    amount = draw.integer(12, 98_000)
    ask = draw.pick(
        (
            "How much is {amount} {a} in {b}?",
            "Convert {amount} {a} to {b} for me.",
            "The quote is {amount} {a}; I need it in {b} at today's rate.",
        )
    ).format(amount=amount, a=source, b=target)
    return _build(draw, reference, ask, "convert_money", {"amount": amount, "source": source, "target": target})


def fill_thermostat(draw: Draw) -> Filled:
    """A warmer room."""
    reference = draw_reference(draw)
    room, degrees, until = draw.pick(ROOMS), draw.integer(14, 26), _draw_clock(draw)
    ask = draw.pick(
        (
            "Set the {room} to {degrees} degrees until {until}.",
            "Heat the {room} to {degrees} °C, until {until}.",
            "Until {until} I'd like {degrees} degrees in the {room}.",
        )
    ).format(room=room, degrees=degrees, until=until)
    return _build(draw, reference, ask, "set_thermostat", {"room": room, "degrees": degrees, "until": until})


def fill_order(draw: Draw) -> Filled:
    """Where an order is."""
    reference = draw_reference(draw)
    code = reference.split(" ", 1)[1]
    history = draw.below(2) == 0
    ask = draw.pick(
        (
            "What is the state of {code}? {more}",
            "Look up {code} please. {more}",
            "Has {code} moved since yesterday? {more}",
        )
    ).format(code=code, more="Include the full history." if history else "The history is not needed.")
    return _build(draw, reference, ask, "get_order", {"code": code, "with_history": history})


def fill_message(draw: Draw) -> Filled:
    """A word to a colleague."""
    reference = draw_reference(draw)
    to, urgent = draw.pick(FIRST_NAMES), draw.below(2) == 0
    said = draw.pick(("{a} moved to {b}", "bring the {p}", "{p} arrives in {b}", "call {b} about the {p}")).format(
        a=draw.pick(EVENTS), b=draw.pick(CITIES), p=draw.pick(PRODUCTS)
    )
    ask = draw.pick(
        (
            'Text {to} exactly this: "{said}". {more}',
            'Send {to} the message "{said}", word for word. {more}',
            'Let {to} know: "{said}" (just like that). {more}',
        )
    ).format(to=to, said=said, more="It's urgent." if urgent else "Not urgent.")
    return _build(draw, reference, ask, "send_message", {"to": to, "text": said, "urgent": urgent})


def fill_restock(draw: Draw) -> Filled:
    """More of something."""
    reference = draw_reference(draw)
    product, warehouse, pieces = draw.pick(PRODUCTS), draw.pick(CITIES), draw.integer(5, 900)
    ask = draw.pick(
        (
            'Order {pieces} more of "{product}" for the warehouse in {city}.',
            '{city} is running out of "{product}": please restock {pieces} pieces.',
            'We need {pieces} pieces of "{product}" in {city}, go ahead.',
        )
    ).format(pieces=pieces, product=product, city=warehouse)
    arguments: dict[str, Json] = {"product": product, "pieces": pieces, "warehouse": warehouse}
    return _build(draw, reference, ask, "restock", arguments)


def fill_ticket(draw: Draw) -> Filled:
    """A ticket with codes in it."""
    reference = draw_reference(draw)
    team, priority = draw.pick(TEAMS), draw.integer(1, 4)
    codes = [f"E{draw.integer(100, 999)}" for _ in range(draw.integer(1, 3))]
    ask = draw.pick(
        (
            "Open a ticket with the {team} team, priority {priority}, for the codes {codes}.",
            "{name} sees {codes}, in this order. File it with {team} as priority {priority}.",
            "Please raise a priority {priority} ticket for {team}; error codes: {codes}.",
        )
    ).format(team=team, priority=priority, codes=", ".join(codes), name=draw_name(draw))
    arguments: dict[str, Json] = {"team": team, "priority": priority, "codes": list(codes)}
    return _build(draw, reference, ask, "open_ticket", arguments)


TEMPLATES: tuple[Callable[[Draw], Filled], ...] = (
    fill_weather,
    fill_trains,
    fill_event,
    fill_money,
    fill_thermostat,
    fill_order,
    fill_message,
    fill_restock,
    fill_ticket,
)


def _draw_clock(draw: Draw) -> str:
    return f"{draw.integer(7, 21):02}:{draw.pick((0, 5, 10, 15, 20, 30, 40, 45, 50)):02}"


def _build(draw: Draw, reference: str, ask: str, name: str, arguments: dict[str, Json]) -> Filled:
    """Offer the function among two to four others, in random order."""
    others = draw.sample([other for other in CATALOGUE if other != name], draw.integer(2, 4))
    tools: list[Json] = []
    for offered in draw.shuffle([name, *others]):
        description, parameters = CATALOGUE[offered]
        function: Json = {"name": offered, "description": description, "parameters": parameters}
        tools.append({"type": "function", "function": function})
    return Filled(
        draw_messages(draw, f"{draw_context(draw, reference)}{ask}"),
        CallIs(name, CATALOGUE[name][1], arguments),
        Answer(tool_calls=(ToolCall(name, json.dumps(arguments)),)),
        reference,
        (("tools", tools),),
    )
