"""Everything an administrator can do, as plain functions: commands, and later other doors, only translate.

Each opens its own transaction, looks and validates within it, writes, records the change and logs after the commit; a
refusal is an exception of this floor or of keys/, never click's. change: one change, with its transaction, its audit
row and its log line. refused: why one is not made. given: whether settings are well-formed. names: whether a client
could pass for another. realms, clients, secrets, credentials (of other kinds; certificates: how those come in),
tokens: what can be done to each. trust: why a token from outside stands for a client, or does not. inspection: what a
token is. health: which credentials want attention. keys, key_files: the keys of a realm. audit: what was done. prune:
what is dead goes; restore: what an older backup brought back dies. first_start: what an embedded database is created
with.
"""
