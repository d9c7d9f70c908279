"""The production server: granian's sockets and HTTP parser, and in front of the application what it leaves open.

limits: every bound and time there is. process: the main process and its workers. stage: a request before the
application sees it, read whole within a time. environ: what WSGI makes of its head, or why it is refused.
unread: answers that nobody takes. looks: how both look again. Nothing else of the program knows which server it runs
under.
"""
