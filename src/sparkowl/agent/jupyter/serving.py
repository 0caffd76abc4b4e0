"""Serve one session on the socket ``s`` of the current directory."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

from sparkowl.agent.jupyter.application import LARGEST_REQUEST, Server, configured
from sparkowl.agent.jupyter.asking import Desk
from sparkowl.agent.jupyter.refusals import log_no_requests
from sparkowl.agent.jupyter.wall import Wall

#: By a relative name: the whole path may be longer than a socket's address.
SOCKET = "s"


async def serve(end: socket.socket, told: dict[str, Any]) -> None:
    """Until the process is ended. ``told`` is the desk's ``serve``."""
    desk = Desk()
    await desk.open(end)
    app = Server(config=configured(told["base_url"]))
    app.desk, app.notebook, app.connection_file = desk, told["notebook"], told["connection_file"]
    app.initialize([], find_extensions=False, new_httpserver=False)
    log_no_requests()
    app.kernel_manager.attach()
    wall = Wall(app.web_app, base_url=told["base_url"], token=told["token"])
    server = HTTPServer(wall, max_body_size=LARGEST_REQUEST, max_buffer_size=LARGEST_REQUEST)
    server.add_socket(bind_unix_socket(SOCKET, mode=0o600))
    await asyncio.Event().wait()
