"""The commands: run (the whole system until Ctrl-C), demo (the main job without a browser), trace (print one)."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from devstack import app_build, sample, settings, trace
from devstack.api import connect
from devstack.demo import Demo, DemoFailed
from devstack.log_tail import LogTail
from devstack.settings import CannotStart, Settings
from devstack.stack import Stack, is_up


def say(line: str) -> None:
    """Prints at once, also into a pipe."""
    print(line, flush=True)


def main() -> int:
    """Parses and runs a command; the process's exit status."""
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, function, words in (
        ("run", run, "start the whole system; Ctrl-C stops it"),
        ("demo", demo, "the main job without a browser, on the running system or one of its own"),
        ("trace", show_trace, "print a trace as a tree"),
    ):
        command = commands.add_parser(name, help=words)
        command.set_defaults(function=function)
        if name == "trace":
            command.add_argument("trace_id", help="32 hex digits, from a log line or an error answer")
            command.add_argument("--min-ms", type=float, default=0.0, help="leave out what was shorter")
        if name == "demo":
            command.add_argument("--folder", type=Path, default=None, help="where the videos go")
    arguments = parser.parse_args()
    try:
        return int(arguments.function(settings.read(), arguments))
    except CannotStart as error:
        print(f"Cannot start:\n  {str(error).replace(chr(10), chr(10) + '  ')}", file=sys.stderr)
        return 1


def run(config: Settings, arguments: argparse.Namespace) -> int:
    """Starts everything, seeds the sample game, and waits to be told to stop."""
    began = time.monotonic()
    stopping = _signals()
    settings.check(config)
    if app_build.build(config.data / "logs/app-build.log"):
        say("built the app")
    stack = Stack(config, say)
    with ExitStack() as ending:
        ending.callback(stack.stop)
        stack.start()
        tail = LogTail(stack.logs, say)
        if asyncio.run(_seed(config)):
            say("made the sample game")
        stack.supervise()
        say(f"\nReel Ballers is at {config.web_origin}   (up in {time.monotonic() - began:.1f} s; Ctrl-C stops it)")
        say(f"API {config.api_origin}/api/openapi.json   data and logs {config.data}\n")
        while not stopping.wait(0.5):
            tail.show()
        say("stopping")
    return 0


def demo(config: Settings, arguments: argparse.Namespace) -> int:
    """Runs the demo; 1 when its result was wrong."""
    with ExitStack() as ending:
        if is_up(config):
            say(f"using the system that runs at {config.api_origin}")
        else:
            say("starting a system for the demo")
            settings.check(config)
            app_build.build(config.data / "logs/app-build.log")
            stack = Stack(config, say)
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


async def _seed(config: Settings) -> bool:
    async with connect(config.api_origin) as api:
        return await sample.seed(api, config.data)


async def _demo(config: Settings, folder: Path) -> int:
    async with connect(config.api_origin) as api:
        try:
            await Demo(api, folder, config.data / "traces", say).run()
        except DemoFailed as error:
            print(f"the demo failed: {error}", file=sys.stderr)
            return 1
    return 0


def _signals() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; a second one is Python's own, and ends at once."""
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopping


if __name__ == "__main__":
    sys.exit(main())
