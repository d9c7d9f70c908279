"""Floor 1: signing keys, from generation to erasure, the JWKS they are published in, and the audit of their realm.

A key is pending, published (the standby, in the JWKS and not yet signing), active (signs), retiring (verifies only),
retired or revoked. A standby always stands ready, so `rotate` promotes a key that every verifier already holds.
Values key, policy, names; decisions plan, rotation, doctor; change carries one out; snapshot jwks; store, tables,
audit, audit_log; sealing, transfer, files. The realm is a plain value here; imports realmint.protocol only.
"""
