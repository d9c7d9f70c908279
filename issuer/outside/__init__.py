"""What is fetched from outside: the keys of clients and of issuers that clients are trusted by.

addresses: which may be asked. transport: how. key_sources: the keys, by the library's engine. May import that
engine, the issuer's values, issuer.log and issuer.waiting. Nothing here is called while a lock is held or a transaction
is open.
"""
