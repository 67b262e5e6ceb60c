"""What the commands show: `cli` parses their arguments and calls this room.

Bytes of a stream become frames (`parsing`), these news (`following`, over any number of connections that `reaching` makes), these
lines (`narrating` chooses, `lines` words them) on a terminal or in a pipe (`screen`, `output`). `watching`, `asking` and
`restarting` are the commands.
"""
