"""Word lists of the starter domain, plain data and nothing else.

Both starter models are made from these lists: what is not here, the speech
recogniser cannot write and the language model has not read. Values of one list
were picked to sound different from each other, because the language model sees
what the recogniser heard, and a fact must come back with the right word.
"""


def words(text: str) -> list[str]:
    """Split a list that is written as running text; `_` joins two words to one value."""
    return [w.replace("_", " ") for w in text.split()]


NAMES = words(
    "Anna Peter Maria Thomas Laura David Sophie Michael Julia Robert Emma Daniel Clara Martin Alice "
    "George Helen Oliver Nina Victor Sarah Samuel Olivia Patrick Lucy Henry Isabel Simon Kate Edward "
    "Monica Felix Rachel Hugo Vera Philip Diana Arthur Ingrid Oscar Teresa Jacob Abigail Walter "
    "Charlotte Leonard Susan Gabriel Naomi Adrian Natalie Benjamin Greta Frederick Zoe Albert "
    "Margaret Joseph Barbara Kevin Yvonne Stephen Dorothy Marcus Carmen Gregory Stella Vincent "
    "Judith Douglas Bridget Raymond"
)
CITIES = words(
    "Oslo Paris London Berlin Madrid Rome Vienna Prague Lisbon Dublin Athens Warsaw Budapest "
    "Stockholm Copenhagen Helsinki Amsterdam Brussels Zurich Geneva Munich Hamburg Milan Naples "
    "Venice Barcelona Moscow Istanbul Cairo Nairobi Lagos Tokyo Kyoto Beijing Shanghai "
    "Singapore Bangkok Mumbai Delhi Manila Sydney Melbourne Auckland Toronto Montreal "
    "Vancouver Boston Chicago Denver Dallas Houston Seattle Miami Phoenix Portland Havana "
    "Lima Edinburgh Glasgow Manchester Liverpool Oxford Bristol"
)
COUNTRIES = words(
    "Norway France Spain Italy Germany Poland Greece Sweden Ireland Scotland Canada Mexico Brazil "
    "Peru Japan China India Egypt Kenya Turkey Portugal Holland Austria Denmark Iceland Australia"
)
COLOURS = words(
    "red blue green yellow orange purple pink brown black white grey silver golden turquoise "
    "crimson scarlet"
)
FOODS = words(
    "pasta rice salad bread cheese chicken steak potatoes tomatoes carrots mushrooms spinach beans "
    "noodles dumplings pancakes waffles chocolate ice_cream apples bananas strawberries "
    "cherries grapes melon pineapple lemons walnuts peanuts honey yoghurt omelette "
    "sandwiches burgers sausages bacon salmon tuna shrimp lobster curry tacos sushi lasagna "
    "porridge popcorn cookies muffins olives garlic cucumber broccoli pumpkin "
    "blueberries biscuits pudding"
)
DRINKS = words(
    "coffee tea water milk orange_juice apple_juice lemonade beer wine cider cocoa whisky champagne "
    "cola espresso cappuccino smoothies milkshakes"
)
ANIMALS = words(
    "horse rabbit elephant tiger lion giraffe zebra monkey gorilla kangaroo koala panda penguin "
    "dolphin whale shark octopus turtle crocodile snake lizard frog eagle owl parrot pigeon "
    "swan peacock flamingo squirrel hedgehog otter fox wolf deer camel donkey "
    "goat sheep rhino leopard buffalo hamster butterfly spider crab seal"
)
JOBS = words(
    "teacher doctor nurse lawyer baker farmer painter singer dancer plumber carpenter gardener pilot "
    "sailor soldier dentist scientist librarian journalist photographer musician "
    "writer poet mechanic driver waiter barber butcher firefighter detective judge banker "
    "manager secretary programmer designer professor fisherman cleaner builder "
    "chemist cook"
)
JOBS_AN = words("engineer accountant actor electrician astronaut")
HOBBIES = words(
    "swimming running cycling reading painting dancing singing cooking gardening fishing hiking "
    "sailing skiing surfing climbing knitting chess football tennis basketball golf hockey "
    "volleyball yoga photography karate boxing skating cricket rugby "
    "camping sewing"
)
INSTRUMENTS = words(
    "piano guitar violin cello flute drums trumpet saxophone clarinet harp accordion trombone organ "
    "ukulele"
)
PETS = words(
    "Rex Bella Max Luna Charlie Milo Daisy Buddy Coco Rocky Lucky Ginger Snowy Pepper Fluffy "
    "Whiskers Bruno Molly Toby Sammy Teddy"
)
CODE_WORDS = words(
    "anchor basket candle diamond engine feather hammer island jacket kettle ladder magnet needle "
    "pencil ribbon temple umbrella velvet bridge castle dragon emerald forest galaxy "
    "harbour iceberg jungle kingdom lantern mirror notebook ocean pyramid rocket thunder tunnel "
    "whisper wizard button cactus desert envelope helmet volcano meadow "
    "pebble blanket bottle crystal planet shadow pocket puzzle scissors "
    "suitcase tractor wagon"
)
MONTHS = words(
    "January February March April May June July August September October November December"
)
WEEKDAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
RELATIONS = words(
    "sister brother friend mother father daughter son wife husband neighbour cousin boss uncle aunt "
    "grandmother grandfather"
)
ROOMS = words("kitchen bathroom bedroom living_room garage hall office ")
THINGS = words(
    "key phone wallet glass book bag coat shoe hat laptop ticket letter camera watch "
    "bicycle ball toy chair table clock newspaper"
)
PLACES = words(
    "park school library museum theatre cinema restaurant hospital station airport beach market "
    "church bank supermarket hotel pool zoo mountains lake river village"
)
WEATHER = words("sunny rainy cloudy windy stormy cold hot warm cool wet dry ")
SIZES = words("small medium large")
ORDERS = words("pizza sandwich soup burger cake pie toast muffin cookie")
TOPPINGS = words("ham onions peppers mushrooms cheese tomatoes olives chicken pineapple bacon tuna")
ORDER_DRINKS = words("coffee tea water milk lemonade juice cocoa cola")
ADJECTIVES = words(
    "good bad nice great lovely happy sad tired busy hungry thirsty bored excited angry calm quiet "
    "loud fast slow young old new strong easy difficult funny beautiful clean "
    "dirty full empty long short poor early late bright dark light hard kind "
    "clever lazy ready safe sick fresh sweet fine perfect wonderful terrible"
)
TIMES = words("morning afternoon evening night noon midnight")
WHEN = words("today tomorrow yesterday tonight now later soon")
MEALS = words("breakfast lunch dinner")

_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
NUMBER_WORDS = [*_ONES, *_TENS, "hundred", "thousand"]
DIGITS = _ONES[:10]


def spelled(n: int) -> str:
    """A whole number 0..9999 as it is spoken: 342 -> `three hundred and forty two`."""
    if n < 20:
        return _ONES[n]
    if n < 100:
        tail = f" {_ONES[n % 10]}" if n % 10 else ""
        return _TENS[n // 10 - 2] + tail
    unit, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    head, rest = divmod(n, unit)
    if not rest:
        return f"{_ONES[head]} {name}"
    joint = " and " if rest < 100 else " "
    return f"{_ONES[head]} {name}{joint}{spelled(rest)}"
