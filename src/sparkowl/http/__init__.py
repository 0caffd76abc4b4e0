"""The edge: sockets and paths. Nothing is decided here.

One port has three doors: Athena's API (:mod:`.aws`), S3 (room ``s3``), and the drivers' links
(:mod:`.drivers`). :mod:`.server` tells which a request is for.
"""
