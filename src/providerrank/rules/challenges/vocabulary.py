"""Words that challenges are filled in with. Their order is part of the protocol: a change is a new rule version."""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    """Words or phrases between bars or ends of lines."""
    return tuple(part for line in text.split("\n") for part in line.strip().split("|") if part)


FIRST_NAMES = _split(
    """
    Aisha|Alan|Amara|Anton|Bea|Boris|Carla|Chen|Clara|Dalia|Daniel|Diego|Edith|Elif|Emeka|Esther|Farid|Fiona|Frank
    Gita|Greta|Hana|Hugo|Ines|Ivan|Jamal|Jana|Joao|Kaito|Karin|Lena|Leo|Lucia|Malik|Maria|Milan|Mina|Nadia|Nils
    Noor|Olga|Omar|Paula|Pedro|Priya|Quentin|Rafael|Rosa|Sami|Selma|Tariq|Tessa|Tomas|Uma|Victor|Wanda|Yara|Yusuf
    Zoe|Zoltan
    """
)
LAST_NAMES = _split(
    """
    Abbott|Adeyemi|Alvarez|Andersen|Baptiste|Becker|Bianchi|Calder|Castillo|Cheng|Dalton|Demir|Dubois|Eriksen
    Farrow|Ferrari|Fischer|Gallo|Garrido|Haddad|Hansen|Holt|Ibrahim|Ivanov|Jansen|Juarez|Kapoor|Keller|Kimura
    Kowalski|Laurent|Lindqvist|Lopez|Marsh|Mbeki|Mehta|Moreau|Nakata|Novak|Okafor|Olsen|Orlov|Park|Petrov|Quinn
    Ramos|Rossi|Ruiz|Sato|Schultz|Silva|Sorensen|Tanaka|Thorne|Ueda|Vargas|Walsh|Weber|Yilmaz|Zhang
    """
)
CITIES = _split(
    """
    Accra|Antwerp|Auckland|Bergen|Bilbao|Bogota|Bologna|Bristol|Brno|Calgary|Cork|Dakar|Denver|Dresden|Durban
    Fukuoka|Geneva|Glasgow|Graz|Hanoi|Helsinki|Izmir|Kyoto|Lagos|Leeds|Lima|Lisbon|Lyon|Malaga|Malmo|Manila
    Montreal|Mumbai|Nairobi|Naples|Nantes|Osaka|Oslo|Porto|Prague|Quito|Riga|Rotterdam|Salvador|Santiago|Seattle
    Seville|Sofia|Tallinn|Tampere|Toronto|Tunis|Turin|Utrecht|Valencia|Vienna|Vilnius|Warsaw|Wellington|Zagreb
    """
)
COLOURS = _split("black|white|red|blue|green|grey|yellow|orange|purple|brown|beige|navy|teal|olive|maroon")
MATERIALS = _split("steel|oak|cotton|wool|leather|bamboo|glass|ceramic|linen|copper|walnut|cork|canvas|felt")
PRODUCTS = _split(
    """
    kettle|desk lamp|office chair|water bottle|backpack|rain jacket|cutting board|wall clock|notebook|bread knife
    phone stand|floor mat|tea pot|picture frame|bookshelf|laptop sleeve|plant pot|door hook|serving tray|bed cover
    coffee grinder|bike light|tool box|garden hose|shower curtain|pencil case|travel mug|paper tray|coat rack
    hand towel
    """
)
SHOPS = _split(
    """
    Alder & Co|Bluegate|Cornerhouse|Dunmore Supply|Eastline|Fairbrook|Greyfriars|Harbour Goods|Inkwell
    Juniper Lane|Kestrel Direct|Longacre|Millpond|Northway|Oldfield|Pinecrest|Quayside|Redwall|Saltmarsh|Tollgate
    Underhill|Vantage Point|Westbourne|Yewtree
    """
)
TEAMS = _split("billing|payments|search|mobile|platform|support|logistics|data|security|checkout|growth|infra")
SERVICES = _split(
    """
    auth-api|billing-worker|cart-service|catalog-sync|email-relay|feed-builder|gateway-eu|image-resizer
    ledger-core|login-web|notifier|order-router|price-engine|quota-keeper|report-runner|search-index|session-store
    stock-watch|tax-calculator|webhook-out
    """
)
WEEKDAYS = _split("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
MONTHS = _split("January|February|March|April|May|June|July|August|September|October|November|December")
INGREDIENTS = _split(
    """
    flour|sugar|butter|rice|lentils|onions|carrots|tomatoes|potatoes|spinach|chickpeas|yoghurt|milk|cheese|apples
    lemons|garlic|mushrooms|peppers|oats|honey|walnuts|basil|leeks
    """
)
ROOMS = _split("kitchen|bedroom|living room|hallway|office|bathroom|garage|attic|nursery|basement")
FIELDS = _split("score|amount|weight|price|quantity|rating|minutes|distance|volume|points")
GROUPS = _split("region|team|category|status|owner|colour|level|brand|shift|zone")
EVENTS = _split(
    """
    budget review|design workshop|hiring sync|roadmap planning|customer call|security audit|team retrospective
    supplier meeting|training session|launch rehearsal|quarterly review|data clean-up
    """
)
CURRENCIES = _split("EUR|USD|GBP|JPY|CHF|SEK|NOK|PLN|BRL|INR|CAD|AUD|ZAR|MXN")
ADJECTIVES = _split("small|large|old|new|spare|second|green|round|narrow|heavy|light|folding")
