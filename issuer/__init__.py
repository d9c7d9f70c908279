"""Floor 2: the authorization server.

settings, realms, clients, secrets: values. client_auth, grants, tokens: what a token request goes through,
one file per method, grant and format. db, stores, registry: what is stored and what the warm path sees of
it. server, errors, endpoints, cli: the outside. May import keys and realmint.protocol.
"""
