"""A kernel for the user's own Jupyter, VS Code or nbclient whose work is done by a session.

The kernelspec (:mod:`.kernelspec`) starts a process (:mod:`.relay`) that is a kernel to the front
end (:mod:`.sockets`) and a client to the server, like any other: it starts a session and asks for a
link by the public API (:mod:`.session`), and speaks through that link with the session's Jupyter
(:mod:`.remote`). The messages go through as they are; what they mean is between the front end and
the session's kernel. Nothing of the server is imported here but where to find it.
"""
