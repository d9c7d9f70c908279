"""Floor 2: the authorization server. A file or a package for each thing it does; an import only ever points down.

Configuration: settings, sources (environment and file), base_url, database_url, log; runtime: what one process works
with.
Values: realms, clients, secrets and credentials of other kinds, setting (what a setting of a realm or a client is),
slots (which index a token has), opaque (tokens that say nothing).
Stored: storage. Held for the warm path: registry. Whether a presented secret is right: secret_checks. Keys that are
fetched from elsewhere: outside.
A request: form and request (what arrived, read strictly), peer (who sent it), certificate (what it showed), proxies
(what is believed of those that were named), answer, encoding (JSON), refusals and errors (how a refusal becomes one),
counts (what happened how often), revocation_limit (how many tokens may be revoked in a second), waiting (where nobody
may wait).
A token: client_auth, confirmations (what it is bound to), grants, tokens, each with a list of its members (plugins);
oauth_server joins them under Authlib.
Outside: endpoints, and the doors through which requests reach them; admin, and cli, which calls it; serving, the
production server.
"""
