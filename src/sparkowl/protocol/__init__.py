"""AWS on the wire: bytes to values and back, and who signed them.

Pure: no socket, no file, no clock, and no knowledge of what an operation does. What decides lives
in ``operations``; what listens lives in ``http`` and ``s3``.
"""
