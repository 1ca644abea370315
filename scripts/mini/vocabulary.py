"""Words of the two splits. Training uses invented words; evaluation uses real ones that training never shows."""

from __future__ import annotations

import random
import string

from vtprune_eval.data.web.words import HELD_OUT

# Held-out words of the evaluation split: ordinary vocabulary of interfaces and documents.
EVAL_WORDS = """
account address agenda alarm album amount archive article artist badge balance banner battery billing block board
booking branch bridge browser budget button cable calendar camera campus canvas career carrier cart castle catalog
channel chapter charge chart city client cloud coach coffee color column comment company compass contact content
copy corner cost country coupon course cover credit currency customer cycle daily data date debit default delivery
deposit desk detail device dialog digital dinner discount display doctor domain donate download draft drive driver
earth edit editor effect email energy engine entry event exchange export factory family feature feedback field file
filter finance finish flight flower folder follow font forest format forum frame freight friend fuel future gallery
game garden gift global goal group growth guest guide habit harbor health height help history hobby holiday hotel
image import inbox income index industry inform insert invite invoice island item jacket journal journey keyboard
kitchen label language laptop launch layer ledger lesson level library license limit link list local location login
logo lunch machine manager map margin market master match media meeting member memory message metal method mobile
model module monday money monitor month motion mountain movie music network news note notice number object ocean
office option orange order origin outlet owner package page paint paper parcel parent party password path payment
people phone photo picture place planet plate player policy portal poster power preview price print privacy product
profile profit program project promo public quality quantity queue quick radio rate reader receipt recipe record
refund region release remote rename rental repair reply report request reset result return review reward river road
route sale salary sample save scan schedule school science screen script season second section sector select send
server service session setting share shelter ship shop signal silver size sketch social sound source speaker speed
sport stage station status stock storage store stream street student studio style subject submit summary supply
support survey switch symbol system table tablet target tax team tenant theme ticket timer title today token topic
total tour track trade traffic train transfer travel trend trial tunnel type unit update upload user vacation value
vehicle vendor version video view village visit voice volume voucher wallet watch water weather website weekly
weight window winter wire wish worker world write yellow zone
""".split()

SYLLABLES = [c + v + e for c in "bcdfghjklmnprstvwz" for v in "aeiou" for e in ("", "n", "r", "s", "l", "t")]


def training_word(rng: random.Random, low: int = 3, high: int = 8) -> str:
    """An invented lower-case word of ``low`` to ``high`` letters that is not an evaluation word.

    Half are built of syllables; half are letters drawn uniformly, so every pair of letters is seen at every place.
    """
    while True:
        length = rng.randint(low, high)
        if rng.random() < 0.5:
            word = "".join(rng.choice(SYLLABLES) for _ in range(3))[:length]
        else:
            word = "".join(rng.choice(string.ascii_lowercase) for _ in range(length))
        if len(word) >= low and word not in _EVAL_SET:
            return word


def evaluation_word(rng: random.Random, low: int = 3, high: int = 8) -> str:
    """A real word of the evaluation split with ``low`` to ``high`` letters."""
    return rng.choice([w for w in EVAL_WORDS if low <= len(w) <= high])


_EVAL_SET = {*EVAL_WORDS, *HELD_OUT}
