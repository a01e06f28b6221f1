"""Runs the object store until SIGTERM or SIGINT, with settings from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from objectstore.errors import S3Error
from objectstore.server import start
from objectstore.settings import Settings, SettingsError, read


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    running = await start(settings)
    await stopping.wait()
    await running.stop()
    logging.getLogger("objectstore").info("stopped")


def main() -> int:
    """The exit status: 0 after a clean stop, 2 when the settings cannot be run with."""
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level if level in logging.getLevelNamesMapping() else "INFO", format="%(message)s")
    try:
        asyncio.run(_serve(read(os.environ)))
    except (SettingsError, S3Error) as fault:
        print(f"objectstore cannot start:\n{fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
