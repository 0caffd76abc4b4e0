"""Who calls: keys and the principals behind them, and the record of what they did.

A room of its own, because three rooms above need it and none of them may own it: both doors (http,
s3) ask who holds a key and write the audit log, and the command makes and ends keys without a
server. It is not ``protocol``, which proves a signature but knows no rows; nor ``operations``,
which is handed a caller and knows no secrets. What a principal may do is decided in ``domain``.

- :mod:`.keyring`: key id to secret and principal, for the doors;
- :mod:`.session_keys`: the keys that sessions have themselves;
- :mod:`.register`: making, ending and replacing keys, for the operator;
- :mod:`.sealing`: secrets at rest;
- :mod:`.ready`: the ready-made policy of a workgroup's users;
- :mod:`.audit`: one line per call.
"""
