"""Phoneme ids as the packages `piper-tts` and `misaki` + `kokoro` make them, for sentences that the tests say."""

from importlib.metadata import version

# Left out on purpose: words that espeak-ng says otherwise from version 1.52 on, which piper-tts brings ("four": fˈɔːɹ,
# not fˈoːɹ), and lone function words between marks, which its program stresses and its library does not ("he,").
ENGLISH = [
    "Hello there, the number is 120. Isn't it?",
    "It is approx. five. The U.S. is big.",
    "Tom (yes, Tom) left early!",
    "Doctor Smith paid three pounds: not nine; really?",
    "Wait, I changed my boy's toy in the house today.",
    "The quick brown fox jumps over the lazy dog",
]
PIPER = [("en-us", text) for text in ENGLISH] + [
    ("de", "Das ist gut! Ich weiß nicht, warum."),
    ("fr", "Ça va bien, merci."),
    ("es", "Hola, ¿qué tal estás?"),
]
# misaki asks for one word at a time; asked for whole sentences it cuts at every dot and doubles the r that links
# two words, which the server does not.
KOKORO = [("en-us", text) for text in ENGLISH[2:]] + [
    ("en-gb", "Hello, the judge paid eight pounds. Oh no!"),
    ("es", "¿Qué tal? Muy bien, gracias."),
    ("fr-fr", "Bonjour, comment allez-vous?"),
    ("it", "Ciao, come stai?"),
    ("pt-br", "Olá, tudo bem?"),
    ("hi", "नमस्ते, आप कैसे हैं?"),
]
# Debian's, which is what the server runs beside; the packages bring newer ones.
LIBRARY = "/usr/lib/x86_64-linux-gnu/libespeak-ng.so.1"
DATA = "/usr/lib/x86_64-linux-gnu/espeak-ng-data"


def piper_ids():
    from piper.phoneme_ids import phonemes_to_ids
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemizer = EspeakPhonemizer()
    said = []
    for voice, text in PIPER:
        sentences = phonemizer.phonemize(voice, text)
        said.append({
            "voice": voice, "text": text, "phonemes": ["".join(sentence) for sentence in sentences],
            "ids": [phonemes_to_ids(sentence) for sentence in sentences],
        })
    return {"made_by": f"models/interface/make.py references, piper-tts {version('piper-tts')}", "said": said}


def kokoro_tokens(vocabulary):
    import espeakng_loader

    espeakng_loader.get_library_path = lambda: LIBRARY
    espeakng_loader.get_data_path = lambda: DATA
    from misaki.espeak import EspeakFallback, EspeakG2P

    said = []
    for language, text in KOKORO:
        if language.startswith("en-"):
            word = type("Word", (), {"text": text})
            phonemes, _ = EspeakFallback(british=language == "en-gb")(word)
        else:
            phonemes, _ = EspeakG2P(language)(text)
        # KModel.forward: what the vocabulary lacks is left out.
        tokens = [vocabulary[phoneme] for phoneme in phonemes if phoneme in vocabulary]
        said.append({"voice": language, "text": text, "phonemes": phonemes, "ids": [0, *tokens, 0]})
    made_by = f"models/interface/make.py references, misaki {version('misaki')}, espeak-ng 1.51"
    return {"made_by": made_by, "said": said}
