"""Words of the suite: ordinary vocabulary of interfaces and documents, held out from every training set of the project.

The embedded models are trained on invented words only; a list of real words that training may show must not contain
any of these.
"""

from __future__ import annotations

import random

HELD_OUT: tuple[str, ...] = tuple(
    """
account address agenda alarm album amber amount anchor annual apple april archive arrow article artist aspect atlas
august autumn avenue badge balance banner basket battery beacon bench bicycle billing block board booking bottle
branch bridge bronze browser budget bundle button cabin cable calendar camera campus candle canvas carbon career
carpet carrier cart castle catalog cedar cereal chamber channel chapel chapter charge chart cherry circle citrus city
client clinic cloud clover cluster coach cobalt coffee color column comment company compass concert contact content
copper copy coral corner cost cotton counter country coupon course cover cradle credit crystal currency custom
customer cycle daily damage data date debit decade default degree delivery density deposit depot desert desk detail
device dialog digital dinner discount display doctor domain donate download draft drawer drive driver earth eastern
edit editor effect eleven email ember emerald enamel energy engine entry estate evening event exchange export fabric
factory falcon family farmer feather feature feedback ferry fiber field figure file fillet filter finance finger
finish fisher flavor flight flower folder follow font forest formal format forum fossil founder frame freight friend
fuel future gallery gallon game garage garden garlic gift ginger glacier glass global goal golden granite gravel
ground group growth guest guide habit hammer handle harbor hazel health height helmet help heron hidden history hobby
holiday hollow honey hotel image import inbox income index industry inform insert invite invoice island item ivory
jacket jasmine jigsaw journal journey jungle justice kettle keyboard kingdom kitchen label ladder lagoon language
lantern laptop lattice launch layer leather ledger lemon lentil lesson level library license limit linen link list
local location login logo lotus lumber lunch machine magnet manager map maple marble margin market master match meadow
media meeting member memory message metal method mineral mirror mixture mobile model module monday money monitor month
mosaic motion mountain movie music mustard napkin native needle network news nickel northern note notice number
oatmeal object ocean office olive onion opal option orange orchard order organ origin outlet owner oyster package
paddle page paint palace panther papaya paper parade parcel parent party password pastry path payment pebble pelican
people pepper petal phone photo picture pigment pillow pioneer place planet plaster plate player plaza pocket polar
policy pollen poplar portal poster potato powder power prairie preview price print privacy product profile profit
program project promo public puzzle quality quantity quarry quartz queue quick rabbit radio raisin ranger rate ravine
reader receipt recipe record reef refund region release remote rename rental repair reply report request reset result
return review reward ribbon river road rocket route saddle saffron salary sale salmon sample sandal sapphire satin
savanna save scan scarlet schedule school science screen script season second section sector select send sequoia
server service session setting shadow share shelter ship shop shovel signal signet silk silver size sketch social
socket sorrel sound source speaker speed spiral sport spring spruce stable stage staple station status steam stock
stone storage store stream street student studio style subject submit summary summit sunset supply support survey
switch symbol syrup system table tablet tailor tangent target tavern tax team temple tenant theme thicket thistle
thunder ticket timber timer title today token tomato topic total tour track trade traffic train transfer travel
trellis trend trial tulip tunnel turbine twilight type unit update upload user vacation valley value vanilla vehicle
velvet vendor version vessel video view village violet visit voice volume voucher wallet walnut watch water weather
website weekly weight whisper willow window winter wire wisdom wish woolen worker world write yellow yogurt zenith
zephyr zone
""".split()
)


class Words:
    """Different words for one page.

    Args:
        rng: of the page.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng, self._used = rng, set[str]()

    def __call__(self, low: int = 3, high: int = 9) -> str:
        """A word of ``low`` to ``high`` letters that this page has not shown, with a capital."""
        while True:
            word = self.rng.choice(HELD_OUT)
            if low <= len(word) <= high and word not in self._used:
                self._used.add(word)
                return word.capitalize()

    def two(self) -> str:
        """Two words."""
        return f"{self(high=7)} {self(high=7).lower()}"

    def number(self, low: int, high: int) -> int:
        """A whole number."""
        return self.rng.randint(low, high)

    def money(self, high: int = 9000) -> str:
        """An amount such as ``1,204.50``."""
        return f"{self.rng.randint(12, high):,}.{self.rng.choice(('00', '25', '40', '50', '75', '90', '15'))}"

    def code(self) -> str:
        """Letters and digits such as ``KR-4821``; no letter that looks like a digit."""
        letters = "ACDEFHKLMNPRTUVWXY"
        return f"{self.rng.choice(letters)}{self.rng.choice(letters)}-{self.rng.randint(1000, 9999)}"

    def date(self) -> str:
        """A day such as ``14 Mar 2026``."""
        return f"{self.rng.randint(1, 28)} {self.rng.choice(MONTHS)} {self.rng.choice((2024, 2025, 2026))}"


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
