"""What is stored, and the only statements over it. Every function over rows takes a connection.

engine, postgresql, hosts, deadline: how a database is reached. tables, columns, rows: what is in it. upsert: the one
statement that engines spell their own way. revision, schema, migrations: how it came to be so. changes: who is told of
a change. restore: that history went back. prune: what may go. realms, clients, credentials, ranges, revoked, tokens,
opaque, scope_marks, status_lists, used_once: the statements, a file for each concept; over keys:
keys/store.py.
"""
