"""JSON: facts in a text, to be given back as an object of a schema that the request sets."""

from __future__ import annotations

import json
from collections.abc import Callable

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.expect_json import ObjectIs
from providerrank.rules.challenges.prose import (
    draw_context,
    draw_date,
    draw_messages,
    draw_name,
    draw_names,
    draw_reference,
    write_money,
)
from providerrank.rules.challenges.shape import Answer, Filled, Json
from providerrank.rules.challenges.vocabulary import (
    CITIES,
    COLOURS,
    CURRENCIES,
    EVENTS,
    INGREDIENTS,
    MATERIALS,
    PRODUCTS,
    ROOMS,
    SERVICES,
    SHOPS,
    TEAMS,
)

TEXT: dict[str, Json] = {"type": "string"}
WHOLE: dict[str, Json] = {"type": "integer", "minimum": 0}
DATE: dict[str, Json] = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
CLOCK: dict[str, Json] = {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"}
TRUTH: dict[str, Json] = {"type": "boolean"}

ASKS = (
    "Give me that as JSON.",
    "Please return it as a JSON object.",
    "Turn this into JSON for our system.",
    "Extract the fields as JSON.",
    "JSON only, please.",
)


def one_of(*names: str) -> dict[str, Json]:
    """Schema of a word out of some."""
    return {"type": "string", "enum": list(names)}


def object_of(**properties: Json) -> dict[str, Json]:
    """Schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def list_of(items: Json) -> dict[str, Json]:
    """Schema of a list."""
    return {"type": "array", "items": items}


def fill_invoice(draw: Draw) -> Filled:
    """An invoice in words."""
    reference = draw_reference(draw)
    number = reference.split(" ", 1)[1]
    shop, currency = draw.pick(SHOPS), draw.pick(CURRENCIES)
    iso, spoken = draw_date(draw)
    lines = [
        (name, draw.integer(1, 40), draw.integer(150, 20_000)) for name in draw.sample(PRODUCTS, draw.integer(2, 4))
    ]
    told = "; ".join(f"{count} x {name} at {write_money(cents)} each" for name, count, cents in lines)
    paid = draw.below(2) == 0
    text = (
        f"{draw_context(draw, reference)}Invoice {number} by {shop}, dated {spoken}, in {currency}: {told}. "
        f"It {'has been paid' if paid else 'is still open'}. {draw.pick(ASKS)} Unit prices in cents, the date as "
        "YYYY-MM-DD, items in the order given."
    )
    schema = object_of(
        number=TEXT,
        seller=TEXT,
        date=DATE,
        currency=TEXT,
        paid=TRUTH,
        items=list_of(object_of(name=TEXT, quantity=WHOLE, unit_price_cents=WHOLE)),
    )
    items: list[Json] = [{"name": name, "quantity": n, "unit_price_cents": cents} for name, n, cents in lines]
    expected: dict[str, Json] = {
        "number": number,
        "seller": shop,
        "date": iso,
        "currency": currency,
        "paid": paid,
        "items": items,
    }
    return _build(draw, "invoice", text, reference, schema, expected)


def fill_meeting(draw: Draw) -> Filled:
    """A calendar entry out of a mail."""
    reference = draw_reference(draw)
    title, room = draw.pick(EVENTS), draw.pick(CITIES)
    iso, spoken = draw_date(draw)
    people = draw_names(draw, draw.integer(2, 4))
    start = draw.integer(8 * 4, 18 * 4) * 15
    minutes = draw.pick((15, 30, 45, 60, 75, 90, 120))
    begins = f"{start // 60:02}:{start % 60:02}"
    told = draw.pick(
        (
            "{title} on {day} at {begins} for {minutes} minutes in the {room} room, with {people}.",
            "Let's have the {title} in room {room}, {day}, {begins}, {minutes} minutes. Attending: {people}.",
            "{people} will meet for the {title}: {day}, starting {begins}, {minutes} min, room {room}.",
        )
    ).format(title=title, day=spoken, begins=begins, minutes=minutes, room=room, people=", ".join(people))
    online = draw.below(2) == 0
    text = (
        f"{draw_context(draw, reference)}{told} {'There will be a video link.' if online else 'In person only.'} "
        f"{draw.pick(ASKS)} Keys: title, date (YYYY-MM-DD), start (HH:MM), minutes, room (just its name), "
        "attendees in the order given, and video (true or false)."
    )
    schema = object_of(
        title=TEXT, date=DATE, start=CLOCK, minutes=WHOLE, room=TEXT, attendees=list_of(TEXT), video=TRUTH
    )
    expected: dict[str, Json] = {
        "title": title,
        "date": iso,
        "start": begins,
        "minutes": minutes,
        "room": room,
        "attendees": list(people),
        "video": online,
    }
    return _build(draw, "calendar_entry", text, reference, schema, expected)


def fill_complaint(draw: Draw) -> Filled:
    """A customer's complaint, sorted."""
    reference = draw_reference(draw)
    code = reference.split(" ", 1)[1]
    customer, product, colour = draw_name(draw), draw.pick(PRODUCTS), draw.pick(COLOURS)
    problem, told = draw.pick(
        (
            ("damaged", "arrived broken"),
            ("damaged", "came with a crack in it"),
            ("missing", "never arrived"),
            ("missing", "was not in the box"),
            ("wrong_item", "is not the one I ordered"),
            ("wrong_item", "was mixed up with somebody else's order"),
            ("late", "came more than a week too late"),
        )
    )
    wish, asked = draw.pick(
        (
            ("refund", "I want my money back"),
            ("replacement", "please send a new one"),
            ("none", "no need to do anything, just so you know"),
        )
    )
    count = draw.integer(2, 9)
    text = (
        f'{draw_context(draw, reference)}The customer, {customer}, writes: "I ordered {count} of the {colour} '
        f'{product} under {code} and one {told}; {asked}." {draw.pick(ASKS)} Keys: reference '
        "(as quoted there), customer, product (without the colour), colour, ordered (how many), problem and wish."
    )
    schema = object_of(
        reference=TEXT,
        customer=TEXT,
        product=TEXT,
        colour=TEXT,
        ordered=WHOLE,
        problem=one_of("damaged", "missing", "wrong_item", "late"),
        wish=one_of("refund", "replacement", "none"),
    )
    expected: dict[str, Json] = {
        "reference": code,
        "customer": customer,
        "product": product,
        "colour": colour,
        "ordered": count,
        "problem": problem,
        "wish": wish,
    }
    return _build(draw, "complaint", text, reference, schema, expected)


def fill_contact(draw: Draw) -> Filled:
    """A signature block."""
    reference = draw_reference(draw)
    name, team, city = draw_name(draw), draw.pick(TEAMS), draw.pick(CITIES)
    first, last = name.split(" ")
    domain = draw.pick(SHOPS).lower().replace(" & ", "").replace(" ", "-") + draw.pick(
        (".com", ".example", ".org", ".eu")
    )
    mail = f"{first}.{last}{draw.integer(1, 99)}@{domain}".lower()
    phone = f"+{draw.integer(30, 99)} {draw.integer(100, 999)} {draw.integer(100_000, 999_999)}"
    extension = draw.integer(100, 9_999)
    told = draw.pick(
        (
            "{name}, {team} team, {city}. Reach me at {mail} or {phone}, extension {extension}.",
            "{mail} / {phone} (ext. {extension}) -- {name}, {team}, office {city}",
            "Best, {name} | {team} | {city} | {phone} x {extension} | {mail}",
        )
    ).format(name=name, team=team, city=city, mail=mail, phone=phone, extension=extension)
    text = (
        f'{draw_context(draw, reference)}The signature under it reads: "{told}" {draw.pick(ASKS)} Keys: first_name, '
        "last_name, team, city, email, phone (digits and spaces as written, with the plus) and extension (a number)."
    )
    schema = object_of(first_name=TEXT, last_name=TEXT, team=TEXT, city=TEXT, email=TEXT, phone=TEXT, extension=WHOLE)
    expected: dict[str, Json] = {
        "first_name": first,
        "last_name": last,
        "team": team,
        "city": city,
        "email": mail,
        "phone": phone,
        "extension": extension,
    }
    return _build(draw, "contact", text, reference, schema, expected)


def fill_shopping(draw: Draw) -> Filled:
    """A shopping list."""
    reference = draw_reference(draw)
    goods = [
        (name, draw.integer(1, 24), draw.pick(("g", "kg", "packs", "litres", "pieces")))
        for name in draw.sample(INGREDIENTS, draw.integer(3, 6))
    ]
    dish, guests = draw.pick(("soup", "curry", "gratin", "stew", "salad", "pie", "risotto")), draw.integer(2, 40)
    told = ", ".join(f"{count} {unit} of {name}" for name, count, unit in goods)
    text = (
        f"{draw_context(draw, reference)}For the {draw.pick(EVENTS)} we cook {dish} for {guests}: {told}. "
        f"{draw.pick(ASKS)} Keys: dish, guests, and items, a list with name, amount and unit in the order given."
    )
    schema = object_of(
        dish=TEXT,
        guests=WHOLE,
        items=list_of(object_of(name=TEXT, amount=WHOLE, unit=one_of("g", "kg", "packs", "litres", "pieces"))),
    )
    items: list[Json] = [{"name": name, "amount": count, "unit": unit} for name, count, unit in goods]
    return _build(draw, "shopping", text, reference, schema, {"dish": dish, "guests": guests, "items": items})


def fill_incident(draw: Draw) -> Filled:
    """A line of a log."""
    reference = draw_reference(draw)
    service, level = draw.pick(SERVICES), draw.pick(("debug", "info", "warning", "error"))
    iso, _ = draw_date(draw)
    seconds = draw.integer(0, 86_399)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    milliseconds, status, tries = (
        draw.integer(3, 59_999),
        draw.pick((200, 201, 204, 400, 404, 409, 500, 502)),
        draw.integer(1, 6),
    )
    host = f"{draw.pick(('web', 'db', 'node', 'edge'))}-{draw.integer(1, 250)}"
    line = (
        f"{iso}T{clock}:{seconds % 60:02}Z {level.upper()} [{service}] host={host} status={status} "
        f"took={milliseconds}ms tries={tries} ref={reference.split(' ', 1)[1].replace(' ', '')}"
    )
    text = (
        f"{draw_context(draw, reference)}This is the line from the log:\n\n{line}\n\n{draw.pick(ASKS)} Keys: date, "
        "time (HH:MM, no seconds), level (lower case), service, host, status, duration_ms, tries."
    )
    schema = object_of(
        date=DATE,
        time=CLOCK,
        level=one_of("debug", "info", "warning", "error"),
        service=TEXT,
        host=TEXT,
        status=WHOLE,
        duration_ms=WHOLE,
        tries=WHOLE,
    )
    expected: dict[str, Json] = {
        "date": iso,
        "time": clock,
        "level": level,
        "service": service,
        "host": host,
        "status": status,
        "duration_ms": milliseconds,
        "tries": tries,
    }
    return _build(draw, "log_line", text, reference, schema, expected)


def fill_inventory(draw: Draw) -> Filled:
    """What stands in a room."""
    reference = draw_reference(draw)
    room, floor = draw.pick(ROOMS), draw.integer(0, 12)
    things = [
        (name, draw.pick(MATERIALS), draw.integer(1, 30), draw.below(2) == 0)
        for name in draw.sample(PRODUCTS, draw.integer(2, 4))
    ]
    told = "; ".join(
        f"{count} {name} ({material}, {'to keep' if keep else 'to give away'})"
        for name, material, count, keep in things
    )
    text = (
        f"{draw_context(draw, reference)}The {room} on floor {floor} holds: {told}. {draw.pick(ASKS)} Keys: room, "
        "floor, things: a list with name, material, count and keep (true or false), in the order given."
    )
    schema = object_of(
        room=TEXT, floor=WHOLE, things=list_of(object_of(name=TEXT, material=TEXT, count=WHOLE, keep=TRUTH))
    )
    listed: list[Json] = [
        {"name": name, "material": material, "count": count, "keep": keep} for name, material, count, keep in things
    ]
    return _build(draw, "inventory", text, reference, schema, {"room": room, "floor": floor, "things": listed})


TEMPLATES: tuple[Callable[[Draw], Filled], ...] = (
    fill_invoice,
    fill_meeting,
    fill_complaint,
    fill_contact,
    fill_shopping,
    fill_incident,
    fill_inventory,
)


def _build(
    draw: Draw, name: str, text: str, reference: str, schema: dict[str, Json], expected: dict[str, Json]
) -> Filled:
    response_format: Json = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    return Filled(
        draw_messages(draw, text),
        ObjectIs(schema, expected),
        Answer(json.dumps(expected)),
        reference,
        (("response_format", response_format),),
    )
