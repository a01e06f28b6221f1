"""The commands: run (the whole system until Ctrl-C), demo (the main job without a browser), trace (print one).

The first Ctrl-C or SIGTERM ends everything in order, also in the middle of a start; a second one ends it at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from devstack import app_build, keys, settings, table, trace
from devstack.log_tail import LogTail
from devstack.ready import is_up
from devstack.settings import CannotStart, Settings
from devstack.stack import Stack

LOOK_EVERY_S = 0.5


def say(line: str) -> None:
    """Prints at once, also into a pipe."""
    print(line, flush=True)


def main() -> int:
    """Parses and runs a command; the process's exit status."""
    arguments = _parser().parse_args()
    given = {name: value for name, value in vars(arguments).items() if name.startswith("REEL_") and value}
    try:
        command: Callable[[Settings, argparse.Namespace], int] = arguments.function
        return command(settings.read({**os.environ, **given}), arguments)
    except CannotStart as error:
        print(f"Cannot start:\n  {str(error).replace(chr(10), chr(10) + '  ')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", dest="REEL_DATA", help="where everything is kept (REEL_DATA; default .data)")
    for name, port in settings.DEFAULT_PORTS.items():
        variable = settings.port_setting(name)
        common.add_argument(f"--port-{name}", dest=variable, metavar="PORT", help=f"{variable}; default {port}")
    common.add_argument(
        "--dbsync", dest="REEL_DBSYNCS", metavar="COUNT", help="so many dbsync processes (REEL_DBSYNCS; default 1)"
    )
    for name, function, words in (
        ("run", run, "start the whole system; Ctrl-C stops it"),
        ("demo", demo, "the main job without a browser, on the running system or one of its own"),
        ("trace", show_trace, "print a trace as a tree"),
    ):
        command = commands.add_parser(name, help=words, parents=[common])
        command.set_defaults(function=function)
        if name == "trace":
            command.add_argument("trace_id", help="32 hex digits, from a log line or an error answer")
            command.add_argument("--min-ms", type=float, default=0.0, help="leave out what was shorter")
        if name == "demo":
            command.add_argument("--folder", type=Path, default=None, help="where the videos go")
    return parser


def run(config: Settings, arguments: argparse.Namespace) -> int:
    """Starts everything, seeds the sample game, and waits to be told to stop; 0."""
    began_s = time.monotonic()
    told = _obey_signals()
    settings.check(config)
    with ExitStack() as ending:
        try:
            _build_app(config)
            stack = Stack(config, say)
            ending.callback(stack.stop)
            stack.start()
            tail = LogTail(stack.logs, say)
            if not told.is_set() and not (config.data / settings.SAMPLE_MARK).exists():
                _seed_sample(config)
            took_s = time.monotonic() - began_s
            if told.is_set():
                raise KeyboardInterrupt
            say(f"\nReel Ballers is at {config.web_origin}   (up in {took_s:.1f} s; Ctrl-C stops it)")
            say(f"API {config.api_origin}/api/openapi.json   data and logs {config.data}\n")
            while not told.is_set():
                time.sleep(LOOK_EVERY_S)
                tail.show()
                stack.mend()
        except KeyboardInterrupt:
            told.set()
        say("stopping")
    say(f"stopped; what you made is kept in {config.data}")
    return 0


def demo(config: Settings, arguments: argparse.Namespace) -> int:
    """Runs the demo; 1 when its result was wrong."""
    _obey_signals()
    with ExitStack() as ending:
        if is_up(config):
            say(f"using the system that runs at {config.api_origin}")
        else:
            say("starting a system for the demo")
            settings.check(config)
            parts = [part for part in table.parts(config, keys.load(config.data)) if part.name != "web"]
            stack = Stack(config, say, parts=parts)
            ending.callback(stack.stop)
            stack.start()
        folder = arguments.folder or Path(tempfile.mkdtemp(prefix="reel-demo-"))
        return asyncio.run(_demo(config, folder))


def show_trace(config: Settings, arguments: argparse.Namespace) -> int:
    """Prints a trace; 1 when there is none."""
    found = trace.spans(config.data / "traces", arguments.trace_id)
    if not found:
        print(f"no spans of trace {arguments.trace_id} in {config.data / 'traces'}", file=sys.stderr)
        return 1
    say(trace.render(trace.tree(found), arguments.min_ms))
    return 0


def _build_app(config: Settings) -> None:
    if app_build.is_stale():
        say("building the app (the first time, this takes a minute)")
        app_build.build(config.data / "logs/app-build.log")


def _seed_sample(config: Settings) -> None:
    """A sample that cannot be made leaves a system that can be used."""
    # Imported only when used, here and below: an HTTP client and codecs cost half a second of each start.
    import aiohttp

    from devstack import sample
    from devstack.api import ApiError, connect

    async def seed() -> bool:
        async with connect(config.api_origin) as api:
            return await sample.seed(api, config.data)

    try:
        if asyncio.run(seed()):
            say("made the sample game")
    except (ApiError, OSError, aiohttp.ClientError) as error:
        say(f"the sample game could not be made: {error}")


async def _demo(config: Settings, folder: Path) -> int:
    import aiohttp

    from devstack.api import ApiError, connect
    from devstack.demo import Demo, DemoFailed

    async with connect(config.api_origin) as api:
        try:
            await Demo(api, folder, config.data / "traces", say).run()
        except (DemoFailed, ApiError, aiohttp.ClientError, TimeoutError) as error:
            print(f"the demo failed: {str(error) or type(error).__name__}", file=sys.stderr)
            return 1
    return 0


def _obey_signals() -> threading.Event:
    """The first Ctrl-C or SIGTERM is a KeyboardInterrupt wherever the program is; at a second one it ends at once,
    and the parts die with it.

    The event is set too: an exception that strikes inside a callback of some library's is dropped there.
    """
    told = threading.Event()

    def stop(number: int, frame: object) -> None:
        told.set()
        signal.signal(signal.SIGINT, _end_at_once)
        signal.signal(signal.SIGTERM, _end_at_once)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return told


def _end_at_once(number: int, frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
