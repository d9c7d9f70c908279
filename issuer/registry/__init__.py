"""The warm path's view of the store: what one process holds, and how it hears of changes.

view: the door, which joins the rest. cache: what is held, pure; bounded, memory: how much of it. reader: how a realm is
read. lookout: when the store is looked at, and until when what is held may be used; poll: the thread that looks.
directory: the clients of one realm, for authentication. single_use: what may be used once is, together with others.
marks: when credentials and scopes were last used. restored: that
an older backup came back. opaque: the one format of token that is written down.
status_lists: the lists that are held; held_list: what becomes of one, signed_list: when it is signed anew, status_bits:
what it says, all pure. flights: how several threads that want one thing done wait for the one that does it.
"""
