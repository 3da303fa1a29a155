"""Chat: small everyday questions whose answer is computed, looked up in the question, or a text within rules."""

from __future__ import annotations

from collections.abc import Callable

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.expect_text import NameIs, NumberIs, OrderIs, TextHas, TimeIs, find_numbers
from providerrank.rules.challenges.prose import draw_context, draw_messages, draw_names, draw_reference, write_money
from providerrank.rules.challenges.shape import Answer, Expectation, Filled
from providerrank.rules.challenges.vocabulary import CITIES, EVENTS, PRODUCTS, SHOPS, WEEKDAYS

DAY_MINUTES = 24 * 60


def fill_split_bill(draw: Draw) -> Filled:
    """Some amounts, shared among some people: an amount each, to the cent."""
    reference = draw_reference(draw)
    people = draw.integer(3, 9)
    each = draw.integer(1_150, 8_999)
    count = draw.integer(3, 5)
    amounts = _draw_parts(draw, people * each, count)
    while each in amounts:
        amounts = _draw_parts(draw, people * each, count)
    items = [f"{name} {write_money(amount)}" for name, amount in _draw_goods(draw, amounts)]
    ask = draw.pick(
        (
            "We were {people} people and split everything evenly. What does each of us owe? Just the amount.",
            "Shared equally between the {people} of us, how much is that per person? Reply with the amount only.",
            "Please add that up and divide it by {people}. I only need the figure per person.",
            "What's one share if {people} people go in on all of it? Only the final amount, please.",
        )
    ).format(people=people)
    text = f"{draw_context(draw, reference)}The receipt says: {', '.join(items)} (all in euros). {ask}"
    answer = write_money(each)
    return _build(draw, text, reference, NumberIs(answer, tuple(find_numbers(text))), answer)


def fill_arrival(draw: Draw) -> Filled:
    """A departure and two or three durations, under a day in all: when it arrives."""
    reference = draw_reference(draw)
    start = draw.integer(5 * 60, 22 * 60)
    legs = [draw.integer(35, 400) for _ in range(draw.integer(2, 3))]
    origin, *stops = draw.sample(CITIES, len(legs) + 1)
    journey = [f"{minutes // 60} h {minutes % 60} min to {city}" for minutes, city in zip(legs, stops, strict=True)]
    end = (start + sum(legs)) % DAY_MINUTES
    ask = draw.pick(
        (
            "No waiting in between. At what local time do I arrive (same time zone)? Give it as HH:MM.",
            "If nothing is late and I change at once, when am I there? 24-hour clock, time only.",
            "Ignoring stops, what time is that at the end? Answer just HH:MM, everything is in one time zone.",
        )
    )
    verb = draw.pick(("I leave {city} at {time}", "The coach departs {city} at {time}", "Off from {city} at {time}"))
    text = (
        f"{draw_context(draw, reference)}{verb.format(city=origin, time=_write_time(start))}, "
        f"then it takes {' and then '.join(journey)}. {ask}"
    )
    return _build(draw, text, reference, TimeIs(end, (start,)), _write_time(end))


def fill_weekday(draw: Draw) -> Filled:
    """A weekday and a number of days: which weekday that is."""
    reference = draw_reference(draw)
    today = draw.below(7)
    days = 7 * draw.integer(1, 12) + draw.integer(1, 6)
    product, city = draw.pick(PRODUCTS), draw.pick(CITIES)
    ask = draw.pick(
        (
            "Today is {today}. The {product} for {city} is due exactly {days} days on. Which weekday is that?",
            "The {product} left {city} on a {today} and took {days} days. On what day of the week did it get here?",
            "I bought a {product} in {city} on {today}; I may return it {days} days later. Which weekday is that?",
            "Counting {days} days on from this {today}, on which weekday does the {product} from {city} arrive?",
        )
    ).format(today=WEEKDAYS[today], product=product, city=city, days=days)
    text = f"{draw_context(draw, reference)}{ask} One word is enough."
    answer = WEEKDAYS[(today + days) % 7]
    return _build(draw, text, reference, NameIs(answer, WEEKDAYS, (WEEKDAYS[today],)), answer)


def fill_on_call(draw: Draw) -> Filled:
    """A rota in words: who covers one of its days."""
    reference = draw_reference(draw)
    count = draw.integer(5, 7)
    names = draw_names(draw, count)
    days = draw.sample(WEEKDAYS, count)
    wanted = draw.below(count)
    duty = draw.pick(("on call", "at the front desk", "opening the shop", "on late shift", "covering support"))
    rota = "; ".join(
        draw.pick(("{name}: {day}", "{day} {name}", "{name} on {day}")).format(name=name, day=day)
        for name, day in zip(names, days, strict=True)
    )
    ask = draw.pick(
        (
            "So who is {duty} on {day}?",
            "Who do I call on {day}, meaning who is {duty}?",
            "Which person is {duty} on {day}?",
        )
    ).format(duty=duty, day=days[wanted])
    text = f"{draw_context(draw, reference)}The rota for next week, {duty}: {rota}. {ask} Reply with the name only."
    firsts = tuple(name.split()[0] for name in names)
    return _build(draw, text, reference, NameIs(firsts[wanted], firsts), names[wanted])


def fill_cheapest(draw: Draw) -> Filled:
    """Offers of price and delivery: which shop is cheapest in all."""
    reference = draw_reference(draw)
    count = draw.integer(3, 5)
    shops = draw.sample(SHOPS, count)
    best = draw.integer(3_000, 30_000)
    extra = [0, *(draw.integer(80, 2_400) for _ in shops[1:])]
    offers = []
    for shop, more in zip(shops, extra, strict=True):
        delivery = draw.integer(0, 2_500)
        offers.append(f"{shop} wants {write_money(best + more - delivery)} plus {write_money(delivery)} delivery")
    ask = draw.pick(
        (
            "Which shop is cheapest with delivery included? Just the name.",
            "Who is the cheapest all in? Only the shop's name, please.",
            "Delivery counted, where should I buy it? Answer with the name of the shop.",
        )
    )
    text = f"{draw_context(draw, reference)}Comparing a {draw.pick(PRODUCTS)}: {', '.join(draw.shuffle(offers))}. {ask}"
    return _build(draw, text, reference, NameIs(shops[0], tuple(shops)), shops[0])


def fill_sorted(draw: Draw) -> Filled:
    """Things with figures: in order of the figures."""
    reference = draw_reference(draw)
    count = draw.integer(4, 6)
    events = draw.sample(EVENTS, count)
    figures = sorted(draw.sample(range(5, 180), count))
    rows = [f"{event} {minutes} min" for event, minutes in zip(events, figures, strict=True)]
    is_rising = draw.below(2) == 0
    ask = draw.pick(
        (
            "Sort them from {first} to {last} and send back just the names, separated by commas.",
            "Put these in order, {first} first and {last} last. Names only, comma-separated.",
            "Can you list them {first} to {last}? One line, names only, with commas.",
        )
    ).format(first="shortest" if is_rising else "longest", last="longest" if is_rising else "shortest")
    text = f"{draw_context(draw, reference)}How long each item took: {', '.join(draw.shuffle(rows))}. {ask}"
    ordered = tuple(events if is_rising else reversed(events))
    return _build(draw, text, reference, OrderIs(ordered), ", ".join(ordered))


def fill_reply(draw: Draw) -> Filled:
    """A short message to a customer, with things it must say, one it must not, and a length."""
    reference = draw_reference(draw)
    first = draw_names(draw, 1)[0].split()[0]
    product, day, city = draw.pick(PRODUCTS), draw.pick(WEEKDAYS), draw.pick(CITIES)
    banned = draw.pick(("unfortunately", "delay", "apologise", "inconvenience", "sorry", "guarantee"))
    words = draw.integer(40, 70)
    code = reference.split(" ", 1)[1]
    ask = draw.pick(
        (
            "Write {first} a short, friendly message: the {product} is on its way from {city} and arrives on {day}.",
            "Draft a brief reply to {first} that the {product} comes from {city} and will be there on {day}.",
            "I need two sentences for {first}: the {product} ships from {city}, delivery is on {day}.",
        )
    ).format(first=first, product=product, city=city, day=day)
    rule = f'Quote {code} exactly, stay under {words} words, and don\'t use the word "{banned}".'
    text = f"{draw_context(draw, reference)}{ask} {rule}"
    answer = f"Hi {first}, your {product} ({code}) has left {city} and will be with you on {day}. Enjoy it!"
    return _build(draw, text, reference, TextHas((first, product, city, day, code), (banned,), words), answer)


TEMPLATES: tuple[Callable[[Draw], Filled], ...] = (
    fill_split_bill,
    fill_arrival,
    fill_weekday,
    fill_on_call,
    fill_cheapest,
    fill_sorted,
    fill_reply,
)


def _build(draw: Draw, text: str, reference: str, expectation: Expectation, answer: str) -> Filled:
    return Filled(draw_messages(draw, text), expectation, Answer(answer), reference)


def _draw_parts(draw: Draw, total: int, count: int) -> list[int]:
    """Cut a total into parts of at least 1.00 each; fewer than ``count`` cannot happen, as totals are 34.50 and up."""
    spare = total - 100 * count
    cuts = sorted(draw.integer(0, spare) for _ in range(count - 1))
    return [100 + high - low for low, high in zip([0, *cuts], [*cuts, spare], strict=True)]


def _draw_goods(draw: Draw, amounts: list[int]) -> list[tuple[str, int]]:
    return list(zip(draw.sample(PRODUCTS, len(amounts)), amounts, strict=True))


def _write_time(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
