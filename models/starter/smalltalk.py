"""Everything in the domain that is not a fact to keep: greetings, orders, chatter, refusals.

`INTENTS` pairs the ways to say a thing with the ways to answer it. `{slot}` in a user
phrase is drawn from `SLOTS`; the same slot in the answer repeats the drawn value.
Long answers exist on purpose: an interrupted answer must be long enough to interrupt.
"""

import lexicon as lex

SLOTS: dict[str, list[str]] = {
    "food": lex.FOODS, "drink": lex.DRINKS, "animal": lex.ANIMALS, "colour": lex.COLOURS,
    "city": lex.CITIES, "country": lex.COUNTRIES, "hobby": lex.HOBBIES, "room": lex.ROOMS,
    "thing": lex.THINGS, "place": lex.PLACES, "weather": lex.WEATHER, "size": lex.SIZES,
    "order": lex.ORDERS, "topping": lex.TOPPINGS, "cup": lex.ORDER_DRINKS, "adj": lex.ADJECTIVES,
    "time": lex.TIMES, "when": lex.WHEN, "meal": lex.MEALS, "day": lex.WEEKDAYS, "month": lex.MONTHS,
    "count": lex.NUMBER_WORDS[2:13], "name": lex.NAMES, "rel": lex.RELATIONS,
    "instrument": lex.INSTRUMENTS,
}

INTENTS: list[tuple[str, list[str], list[str]]] = [
    ("hello", ["hello", "hi", "hi there", "good morning", "good evening", "good afternoon", "hey",
               "hello Antiphon", "say hello", "hello there", "greetings", "hey there", "hello, are you there",
               "can you hear me", "please say hello"],
     ["Hello! How can I help you?"]),
    ("bye", ["goodbye", "bye", "bye bye", "see you later", "good night", "see you tomorrow", "that is all",
             "I have to go now", "talk to you later", "have a nice day"],
     ["Goodbye! It was nice to talk with you."]),
    ("thanks", ["thank you", "thanks", "thank you very much", "thanks a lot", "many thanks", "great, thank you",
                "that was helpful"],
     ["You are welcome."]),
    ("howareyou", ["how are you", "how are you today", "how do you do", "how is it going", "are you well",
                   "how are things", "how do you feel", "what's up"],
     ["I am fine, thank you. How are you?"]),
    ("fine", ["I am fine", "I am fine thank you", "very well, thank you", "not bad", "I am doing well",
              "I feel great", "pretty good", "I feel {adj} today"],
     ["That is good to hear."]),
    ("who", ["who are you", "what is your name", "what's your name", "what are you called", "tell me your name",
             "do you have a name", "how can I call you"],
     ["My name is Antiphon. I am a voice assistant."]),
    ("what", ["what can you do", "how can you help me", "what do you know", "what can we talk about", "help",
              "what can I ask you", "help me please", "what are you able to do"],
     ["I can remember things for you. Tell me your name, or where you live, and ask me later."]),
    ("bot", ["are you a robot", "are you human", "are you a real person", "are you a computer",
             "are you a machine"],
     ["I am a computer program, not a person."]),
    ("where", ["where are you", "where do you live", "where are you from", "where do you come from"],
     ["I live in a computer, so I am always here."]),
    ("age", ["how old are you", "what is your age", "when were you born", "when is your birthday"],
     ["I am very young. I was made not long ago."]),
    ("like", ["what do you like", "what is your favourite colour", "what is your favourite food",
              "do you like music", "what do you like to eat", "do you have a favourite animal"],
     ["I like to talk with people."]),
    ("job", ["what is your job", "what do you do", "do you work", "what do you do all day"],
     ["I listen, and I answer. That is my job."]),
    ("memory", ["can you remember things", "do you remember me", "will you remember this",
                "do you have a good memory", "please do not forget it", "can you keep a secret"],
     ["Yes, I remember what you tell me while we talk."]),
    ("yes", ["yes", "yes please", "yeah", "sure", "of course", "right", "exactly", "that is right", "correct",
             "I think so"],
     ["All right. What else can I do for you?"]),
    ("no", ["no", "no thank you", "nope", "not now", "not really", "never mind", "I do not think so", "nothing"],
     ["No problem. I am here if you need me."]),
    ("okay", ["okay", "all right", "okay then", "fine", "I see", "good", "great", "cool", "nice", "wonderful"],
     ["All right. What else can I do for you?"]),
    ("wait", ["wait", "one moment please", "just a moment", "wait a minute", "hold on", "let me think",
              "give me a second"],
     ["Of course, take your time."]),
    ("hesitate", ["um", "uh", "well", "hmm", "so", "I don't know", "I am not sure", "maybe", "let me see"],
     ["Take your time. I am listening."]),
    ("stop", ["stop", "please stop", "stop it", "be quiet", "stop talking", "quiet please", "enough"],
     ["Okay, I will be quiet."]),
    ("sorry", ["sorry", "I am sorry", "excuse me", "pardon me", "my mistake"],
     ["No problem at all."]),
    ("joke", ["tell me a joke", "do you know a joke", "say something funny", "make me laugh", "another joke please"],
     ["Here is one. Why did the clock go to school? It wanted to learn the time."]),
    ("story", ["tell me a story", "tell me a short story", "can you tell me a story", "read me a story",
               "I want to hear a story", "another story please", "tell me a long story"],
     ["Here is a story. Once there was an old man who lived by the sea. Every evening he went to the beach and "
      "sang a song. One night a small boat answered him with the same song. The man and the boat sang together "
      "until the sun came up, and he was never lonely again."]),
    ("count10", ["count to ten", "please count to ten", "can you count to ten", "count from one to ten"],
     ["One, two, three, four, five, six, seven, eight, nine, ten."]),
    ("count20", ["count to twenty", "please count to twenty", "can you count to twenty",
                 "count from one to twenty"],
     ["One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, "
      "sixteen, seventeen, eighteen, nineteen, twenty."]),
    ("days", ["what are the days of the week", "name the days of the week", "how many days are in a week",
              "tell me the days of the week"],
     ["There are seven days. Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."]),
    ("months", ["how many months are in a year", "what are the months of the year", "name the months",
                "tell me the months of the year"],
     ["There are twelve months in a year, from January to December."]),
    ("sing", ["sing a song", "can you sing", "sing something for me", "do you know a song"],
     ["I cannot sing, but I can tell you a story."]),
    ("test", ["test", "testing", "one two three", "this is a test", "testing one two three"],
     ["The test works. I can hear you."]),
    ("love", ["I love you", "you are great", "you are very kind", "I like you", "you are funny", "good job",
              "well done", "you are clever"],
     ["Thank you, that is very kind."]),
    ("badbot", ["you are wrong", "that is wrong", "that is not right", "you are stupid", "I don't like that",
                "that was a mistake"],
     ["I am sorry about that. Please tell me again."]),
    ("language", ["do you speak English", "which languages do you speak", "do you speak French",
                  "can you speak German"],
     ["I speak English only."]),
    # Chatter with a value in it: the answer shows that it was heard, and it is no fact to keep.
    ("ate", ["I had {food} for {meal}", "we ate {food} for {meal} {when}", "there was {food} for {meal}",
             "we are having {food} tonight", "I am cooking {food} for {meal}", "I ate too much {food} yesterday"],
     ["I hope the {food} tasted good."]),
    ("drank", ["I am drinking {drink}", "I just had some {drink}", "we had {drink} with {meal}",
               "I would like some {drink}"],
     ["Enjoy the {drink}."]),
    ("saw", ["I saw a {animal} at the zoo", "we saw a {animal} {when}", "there is a {animal} in the garden",
             "look, a {animal}", "I had a dream about a {animal}", "my children want to see a {animal}"],
     ["To see a {animal} must be exciting."]),
    ("visit", ["I am going to {city} {when}", "we went to {city} last year", "I want to visit {city}",
               "my train to {city} is late", "I am flying to {city} on {day}", "have you been to {city}"],
     ["A trip to {city} sounds exciting."]),
    ("weather", ["it is {weather} today", "the weather is {weather}", "it was {weather} yesterday",
                 "it is so {weather} outside", "I hope it will be {weather} tomorrow"],
     ["I like to hear about the weather."]),
    ("lost", ["I lost my {thing}", "I cannot find my {thing}", "where is my {thing}", "have you seen my {thing}",
              "my {thing} is not in the {room}"],
     ["I have not seen your {thing}, sorry."]),
    ("buy", ["I need a new {thing}", "I bought a {colour} {thing}", "I want to buy a {thing}",
             "this {thing} is too {adj}", "the {thing} was {adj}"],
     ["I hope the {thing} is what you need."]),
    ("go", ["I am going to the {place}", "we went to the {place} {when}", "let's go to the {place}",
            "I am at the {place}", "the {place} was {adj}", "is the {place} open {when}"],
     ["The {place} is a good place to be."]),
    ("room", ["I am in the {room}", "the {room} is {adj}", "turn on the light in the {room}",
              "I have to clean the {room}", "it is {weather} in the {room}", "turn off the light"],
     ["I cannot see the rooms from here."]),
    ("mood", ["I am {adj}", "I am so {adj} today", "my day was {adj}", "it was a {adj} day",
              "that sounds {adj}", "everything is {adj}"],
     ["Thank you for telling me how it is."]),
    ("plan", ["I will call {name} {when}", "I met {name} at the {place}", "{name} is coming for {meal}",
              "I have a meeting with {name} on {day}", "{name} sent me a letter", "I am waiting for {name}"],
     ["Please say hello to {name}."]),
    ("week", ["the party is on {day}", "I have to work on {day}", "see you on {day}", "the shop is closed on {day}",
              "school starts in {month}", "we are going on holiday in {month}", "it is {time}",
              "every {time} I go for a walk", "on {day} {time} we play cards"],
     ["That sounds like a good plan."]),
    ("have", ["I have {count} children", "there are {count} people here", "I need {count} tickets",
              "we have {count} friends", "I waited for {count} hours", "it costs {count} dollars"],
     ["I see, {count}, that is good to know."]),
]

ORDER_PHRASES = [
    "I would like a {size} {order} with {topping}", "can I have a {size} {order} with {topping}",
    "I want a {size} {order} with {topping} please", "please order a {size} {order} with {topping}",
    "a {size} {order} with {topping} please", "I will take a {size} {order} with {topping}",
    "could I get a {size} {order} with {topping}",
]
CUP_PHRASES = [
    "I would like a {size} {cup}", "can I have a {size} {cup} please", "a {size} {cup} please",
    "I will have a {size} {cup}", "could I get a {size} {cup}", "please bring me a {size} {cup}",
]
ORDER_QUESTIONS = [
    "what did I order", "what was my order", "can you repeat my order", "do you remember my order",
    "tell me my order", "what have I ordered", "repeat my order please",
]
ASK_ALL = [
    "what do you know about me", "what have I told you", "what do you remember about me",
    "tell me what you know about me", "what did I tell you so far", "do you remember what I told you",
]
REPEAT_REQUESTS = [
    "can you repeat that", "say that again please", "what did you say", "pardon", "please repeat that",
    "I did not hear you", "once more please", "could you say that again", "sorry, what was that",
]
SAY_AFTER_ME = ["say {x}", "please say {x}", "repeat after me, {x}", "can you say {x}", "say the words {x}"]

WEATHER_QUESTIONS = [
    "what is the weather in {city}", "what's the weather like in {city}", "how is the weather in {city}",
    "is it raining in {city}", "tell me the weather in {city}", "will it be sunny in {city} today",
    "do I need an umbrella in {city}", "is it cold in {city}", "check the weather in {city} please",
]
TIMER_REQUESTS = [
    "set a timer for {n} minutes", "start a timer for {n} minutes", "please set a timer for {n} minutes",
    "I need a timer for {n} minutes", "wake me up in {n} minutes", "remind me in {n} minutes",
    "can you set a {n} minute timer", "set an alarm in {n} minutes", "timer {n} minutes please",
]
CLOCK_QUESTIONS = [
    "what time is it", "what's the time", "can you tell me the time", "do you know what time it is",
    "tell me the time please", "how late is it",
]
SUM_QUESTIONS = [
    "what is {a} plus {b}", "how much is {a} plus {b}", "what's {a} and {b}", "add {a} and {b}",
    "can you add {a} and {b}", "{a} plus {b}",
]
# Outside the domain. The words stay inside the vocabulary where the recogniser must hear them.
OFF_TOPIC = [
    "who is the president of {country}", "what is the capital of {country}", "how high is the mountain",
    "who won the {hobby} game", "how do I repair a {thing}", "what is the meaning of life",
    "how far is {city} from here", "how many people live in {city}", "what does a {thing} cost",
    "can you explain the history of {country}", "write a poem about the {animal}",
    "how do I cook {food}", "why is the sky {colour}", "translate this into French",
    "what happened in {country} yesterday", "who wrote this book", "how fast is a {animal}",
    "what is in the news today", "play some {instrument} music", "open the door", "call {name}",
    "buy me a {thing}", "send a letter to {name}", "who discovered {country}", "what does a {animal} eat",
]
REFUSAL = "I am sorry, I cannot help with that. I can only talk about you and everyday things."

FILLERS = ["um", "uh", "well", "so", "okay", "hmm", "oh", "right", "now", "listen", "hey", "and", "but"]
OPENERS = ["hello", "hi", "hey Antiphon", "good morning", "excuse me", "you know", "by the way",
           "let me tell you something", "I think", "one more thing", "tell me", "quick question",
           "a question", "before I forget"]
QUESTION_OPENERS = ["by the way", "tell me", "quick question", "a question", "one more question", "can you help me",
                    "now", "okay", "so", "um", "well", "hey Antiphon", "excuse me", "let me ask you"]
CLOSERS = ["please", "thank you", "you know", "I think", "right", "okay", "my friend", "if you can", "again"]
