"""Doors: how requests reach the endpoints, and answers those who asked. An endpoint knows none of them.

flask: all that is served, as a Flask application. front: before it, the short way to an endpoint. edge: what every
request and every answer passes. translation: what is answered to what was raised. May import all of issuer but the
commands.
"""
