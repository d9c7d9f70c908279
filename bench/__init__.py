"""The comparison in one run: `make bench`, or `python -m bench --parts ...` for some of it.

What is measured, each a part: primitives, token, decisions (calls in this process, in turns); served, introspection,
documents (requests to real servers, in turns); memory (processes with very many realms and clients). peers: the issuers
that others wrote. core: the least that a token takes, for comparison.

How: turns (calls in turns), load (requests in turns), servers (ours, started and stopped), wrk (one turn of requests),
harness (WSGI calls), parts (the list). What comes of it: figures, table, bars, plot, reach, machine.

With commands of their own: library (an API while its issuer is tormented, which torment does), control (what revoking
costs the others), beside (another commit), many_realms (part memory at any size). crowd: very many clients at once.
"""
