"""Floor 1: signing keys, from generation to erasure, and the JWKS they are published in.

A key is pending, published (the standby, in the JWKS and not yet signing), active (signs), retiring
(verifies only), retired or revoked. A standby always stands ready, so `rotate` promotes a key that
every verifier already holds. The realm is a number or plain text here; imports realmint.protocol only.
"""
