"""Which language a text is in, by script and function words: good for a drift of the mix, no replacement for an identifier."""

import math
import re
import unicodedata

import numpy as np

from llmops_monitor.rules.texts import Texts, each_once

FUNCTION_WORDS = {
    "en": "the and of to in is that for it with as was on are be this have from you not what does which how an",
    "de": "der die und das ist nicht ein eine mit den von zu auf für sich dem im auch als es wie bei werden wird",
    "fr": "le la les des et est une dans que pour pas qui du au sur avec ce il elle nous vous sont plus ont",
    "es": "el los las que y en una por con para del se es como más pero fue al su lo está sus este",
    "it": "il di che è la per un una con non del della sono si gli anche come più nel alla da dei ha",
    "pt": "o os que não uma para com do da em é as dos no na por mais foi ao são se pelo também",
    "nl": "het een van en dat niet met zijn op voor te aan er maar ook als door naar bij wordt heeft deze",
    "sv": "och att det som en är på för av med inte den till har om ett var jag från men kan vi",
    "da": "og at det som en er på for af med ikke den til har om et var jeg fra men kan vi ved blev",
    "nb": "og at det som en er på for av med ikke den til har om et var jeg fra men kan vi ved ble etter",
    "fi": "ja on ei se että oli hän mutta ovat joka kun tai myös niin kuin mitä vain olla tämä sen",
    "pl": "i w na z się nie do że jest to jak o po co dla przez od który są tym ale tylko oraz",
    "cs": "a se na je v že s to z do o i jako k by pro jsem ale jsou za které jeho při byl",
    "ro": "și în de la cu nu este pe un o care din că mai sunt pentru au fost să prin sau ale",
    "hu": "a az és hogy nem egy is van ez meg de csak mint volt már el azt vagy ha minden",
    "tr": "ve bir bu için da de ile çok olan olarak daha var gibi ne kadar sonra en ama ya değil",
    "id": "yang dan di dengan untuk dari pada tidak ini itu dalam akan adalah oleh ke juga ada telah karena sebagai",
    "vi": "và của là có không được cho một các trong với người này những đã để khi từ đến như",
    "ca": "el els les de i que en una per amb del és la no al més com aquest són va a seva",
}
SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "GREEK": "el", "HEBREW": "he", "THAI": "th", "ARMENIAN": "hy",
    "GEORGIAN": "ka", "DEVANAGARI": "hi", "BENGALI": "bn", "GUJARATI": "gu", "GURMUKHI": "pa", "TAMIL": "ta", "TELUGU": "te",
    "ARABIC": "ar", "CYRILLIC": "ru",
}  # fmt: skip
"""First word of a letter's Unicode name to the language that is likeliest in that script."""
OTHER_LETTERS = re.compile(r"[^\W\d_a-zA-Z\u00c0-\u024f\u1e00-\u1eff]")
UNKNOWN = "und"
"""ISO 639's code for an undetermined language."""

CODES = tuple(FUNCTION_WORDS)
SPOKEN: dict[str, tuple[str, ...]] = {}
for code, listed in FUNCTION_WORDS.items():
    for listed_word in listed.split():
        SPOKEN[listed_word] = (*SPOKEN.get(listed_word, ()), code)

PLACES = {word: place for place, word in enumerate(SPOKEN, 1)}
SHARES = math.lcm(*map(len, SPOKEN.values()))
"""A word's vote is shared by the languages that have it: in so many parts, each gets a whole number."""
VOTES = np.array([[0.0, *(SHARES // len(speakers) * (code in speakers) for speakers in SPOKEN.values())] for code in CODES])
"""What each language gets of each word's vote [num_languages, 1 + num_words]."""


def language(texts: Texts) -> list[str]:
    """ISO 639-1 code of each text, or `und` for one too short or in none of the languages known here."""
    found = by_words(texts)
    for place in texts.beyond_ascii:
        opening = texts[place].lower[:400]
        others = OTHER_LETTERS.findall(opening)
        if 2 * len(others) > len(OTHER_LETTERS.sub("", opening).replace(" ", "")):
            found[place] = of_script(others)
    return found


def by_words(texts: Texts) -> list[str]:
    """The language that has most of the votes of a text's function words, each of which votes once."""
    heard = texts.of_words(place_of)
    at = np.flatnonzero(heard)
    voters, words = np.divmod(each_once(texts.owners[at] * VOTES.shape[1] + heard[at]), VOTES.shape[1])
    # a product of matrices would be shorter, and wake the threads of the BLAS, which cost more than they save
    votes = np.stack([np.bincount(voters, of_language[words], len(texts)) for of_language in VOTES])
    most = np.where(votes.any(axis=0), votes.argmax(axis=0), len(CODES))
    return [[*CODES, UNKNOWN][place] for place in most.tolist()]


def place_of(word: str) -> int:
    """A function word's place in a row of VOTES, 0 for any other word."""
    return PLACES.get(word, 0)


def of_script(letters: list[str]) -> str:
    """The likeliest language of letters that are not Latin; kana decide for Japanese, which is mostly Chinese signs."""
    counts: dict[str, int] = {}
    for letter in letters[:100]:
        code = SCRIPTS.get(unicodedata.name(letter, "?").split(" ")[0].split("-")[0], UNKNOWN)
        counts[code] = counts.get(code, 0) + (5 if code == "ja" else 1)
    return max(counts, key=counts.__getitem__)
