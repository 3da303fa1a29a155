"""How people write: openings, reasons, courtesies, and the references of all kinds they quote.

A request that could be told from a user's would be served better than a user's. So nothing marks one: the nonce is a
reference such as any office mail is full of, in one of many notations, wherever in the text one would stand.
"""

from __future__ import annotations

from providerrank.rules.challenges.draw import Draw
from providerrank.rules.challenges.shape import Json
from providerrank.rules.challenges.vocabulary import FIRST_NAMES, LAST_NAMES, MONTHS, SERVICES, TEAMS

CLEAR = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that nobody mixes up."""
HEX = "0123456789abcdef"
DIGITS = "0123456789"

PERSONAS = (
    "You are a helpful assistant.",
    "You are a concise assistant. Answer exactly what is asked.",
    "You help the operations team of a mid-sized company.",
    "Be brief and precise.",
    "You are an assistant inside a work chat. Keep it short.",
    "You answer questions for the back office.",
    "Answer in English.",
    "You are a careful assistant who double-checks numbers and names.",
)
OPENINGS = (
    "", "", "", "Hi, ", "Hello! ", "Hey, ", "Good morning, ", "Quick question: ", "Hi there, ", "Sorry to bother you, ",
    "One more for today: ", "Hoping you can help. ",
)  # fmt: skip
CLOSINGS = ("", "", "", "", " Thanks!", " Thank you.", " Cheers", " Much appreciated.", " Thanks in advance.", " Ta")
CONTEXTS = (
    "this is about {ref}.",
    "I'm working through {ref} and need a hand.",
    "{name} asked me to sort out {ref}.",
    "got {ref} in front of me.",
    "the {team} team sent me {ref} this morning.",
    "re {ref} from {name}.",
    "I have to close {ref} before lunch.",
    "{name} from {team} is waiting on {ref}.",
    "picking up {ref} where {name} left it.",
    "need to reply to {name} about {ref}.",
    "we're still stuck on {ref}.",
    "for {ref}, please.",
)


def draw_reference(draw: Draw) -> str:
    """Return a reference nobody has used: at least 46 bits of chance in a notation people use."""
    letters = draw.letters
    match draw.below(8):
        case 0:
            return f"ticket {letters('ABCDEFGHJKLMNPRSTUVW', 3)}-{letters(DIGITS, 5)}-{letters(CLEAR, 4)}"
        case 1:
            return f"commit {letters(HEX, 12)}"
        case 2:
            return f"order {letters(CLEAR, 4)}-{letters(CLEAR, 4)}-{letters(CLEAR, 3)}"
        case 3:
            return f"parcel 1Z{letters(CLEAR, 6)}{letters(DIGITS, 8)}"
        case 4:
            return f"invoice {draw.integer(2021, 2026)}/{letters(DIGITS, 6)}-{letters(CLEAR, 6)}"
        case 5:
            return f"file {draw.pick(SERVICES)}_{letters(HEX, 11)}.csv"
        case 6:
            return f"case {letters(DIGITS, 4)} {letters(DIGITS, 4)} {letters(DIGITS, 4)} {letters(CLEAR, 2)}"
        case _:
            return f"request {letters(HEX, 8)}-{letters(HEX, 4)}"


def draw_name(draw: Draw) -> str:
    """Return a person's full name."""
    return f"{draw.pick(FIRST_NAMES)} {draw.pick(LAST_NAMES)}"


def draw_names(draw: Draw, count: int) -> list[str]:
    """Return full names of people who share neither first nor last name."""
    firsts = draw.sample(FIRST_NAMES, count)
    lasts = draw.sample(LAST_NAMES, count)
    return [f"{first} {last}" for first, last in zip(firsts, lasts, strict=True)]


def draw_date(draw: Draw) -> tuple[str, str]:
    """Return a day as ISO writes it and as people do."""
    year, month, day = draw.integer(2025, 2027), draw.integer(1, 12), draw.integer(1, 28)
    spoken = draw.pick(("{day} {month} {year}", "{month} {day}, {year}"))
    return f"{year}-{month:02}-{day:02}", spoken.format(day=day, month=MONTHS[month - 1], year=year)


def draw_context(draw: Draw, reference: str) -> str:
    """Return an opening with the reference in it, and a space after it."""
    opening = draw.pick(OPENINGS)
    context = draw.pick(CONTEXTS).format(ref=reference, name=draw_name(draw), team=draw.pick(TEAMS))
    if not opening or opening.endswith(("! ", ". ")):
        context = context[0].upper() + context[1:]
    return f"{opening}{context} "


def draw_messages(draw: Draw, request: str) -> tuple[dict[str, Json], ...]:
    """Return the conversation: in half of all cases a system message, then the user's."""
    user: dict[str, Json] = {"role": "user", "content": request + draw.pick(CLOSINGS)}
    if draw.below(2):
        return {"role": "system", "content": draw.pick(PERSONAS)}, user
    return (user,)


def write_money(cents: int) -> str:
    """12345 as 123.45."""
    return f"{cents // 100}.{cents % 100:02}"
