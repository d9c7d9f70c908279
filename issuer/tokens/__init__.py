"""Access tokens, a door with two sides: mint.py lets them out, read.py takes them back.

authorization: what was decided. resources: its audience. claims: what a token says. formats: FORMATS, with jwt,
am and opaque.
May import keys, the issuer's values and realmint.protocol; the store's word on a token is handed in.
"""

from issuer.tokens.authorization import UNBOUND, Authorization, Confirmation
from issuer.tokens.formats import FORMATS, FORMATS_BY_NAME
from issuer.tokens.mint import Issued, mint

__all__ = ["FORMATS", "FORMATS_BY_NAME", "UNBOUND", "Authorization", "Confirmation", "Issued", "mint"]
