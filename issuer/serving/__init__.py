"""The production server: gunicorn's processes, and in each a worker of ours, one thread that answers everybody.

What is at hand, as nearly every token is, it answers itself; what has to wait for something (issuer/waiting.py) is done
in one of some other threads. No thread ever waits for a client.

limits: every bound and time there is. worker: what gunicorn starts in each process. connection: one client's, from its
first byte to its last. environ: what WSGI makes of the head of a request, or why it is refused. wsgi: the application
is called, and what it says becomes bytes. threads: those that may wait. tls: what its own TLS is made of. Nothing else
of the program knows which server it runs under, but that issuer/certificate.py finds what its TLS was shown.
"""
