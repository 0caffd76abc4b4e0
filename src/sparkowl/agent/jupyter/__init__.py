"""The Jupyter server of one session: a process of its own beside the session's kernel.

The agent starts it, is its only source of what it serves (:mod:`sparkowl.agent.desk`), and outlives
it. Its only client is the server's door, over a Unix socket in its folder.
"""
