"""``python -m sparkowl.relay -f <connection file> …``: what the kernelspec starts."""

from __future__ import annotations

import asyncio
import logging
import sys

from sparkowl.relay.options import parse
from sparkowl.relay.relay import Relay
from sparkowl.relay.sockets import BadConnection, Sockets


async def main() -> None:
    connection_file, options = parse(sys.argv[1:])
    await Relay(Sockets(connection_file), options).run()


if __name__ == "__main__":
    # Front ends show or keep what a kernel writes to stderr.
    logging.basicConfig(level=logging.WARNING, format="sparkowl: %(message)s")
    try:
        asyncio.run(main())
    except BadConnection as error:
        sys.exit(f"sparkowl: {error}")
