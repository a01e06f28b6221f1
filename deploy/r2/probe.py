"""Does the bucket do what dbsync and storage rest on? Before going live, and after anything about the bucket changed.

    make probe-r2                                  every check, a verdict a line, then latencies
    make probe-r2 ARGS="--rounds 100 --writers 16"

Settings: R2_ENDPOINT_URL, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY, R2_BUCKET_NAME, as the services have them. It writes
some 300 small objects and one of 5 MB below a prefix of its own, and removes them at the end. Latencies are of this
machine: run it where the services run.

1. A store that breaks a promise is refused, by the check of that promise
   (tests/deploy/test_probe.py::test_a_broken_store_is_refused).
2. A store that is slow to decide (429, a lost answer) is not called broken (test_a_busy_store_is_not_broken).
3. Nothing is left behind (test_nothing_is_left).
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Mapping, Sequence

from deploy.r2.probe_checks import CHECKS, Effort, Failed
from deploy.r2.probe_store import ProbeStore
from deploy.r2.setup import read

FOLDER = "_probe"  # no tenant's id begins with an underscore


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The command; 0 when every check holds, 1 when one does not, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="make probe-r2", description="Checks what dbsync and storage rest on.")
    parser.add_argument("--rounds", type=int, default=20, help="races to create one key (20)")
    parser.add_argument("--writers", type=int, default=8, help="writers in each race (8)")
    parser.add_argument("--samples", type=int, default=20, help="objects of each of the other checks (20)")
    parser.add_argument("--only", default="", help="only checks whose name has this word")
    options = parser.parse_args(arguments)
    settings, faults = read({**environ, "APP_ORIGINS": "http://localhost"})  # the browser's part is setup.py's
    if min(options.rounds, options.samples) < 1 or not 2 <= options.writers <= 64 or options.samples < 6:
        faults.append("--rounds must be at least 1, --samples 6, --writers 2 to 64")
    if faults:
        print("This needs a bucket to ask, by the settings of the services:", file=sys.stderr)
        print("\n".join(f"  - {fault}" for fault in faults), file=sys.stderr)
        return 2
    prefix = f"{FOLDER}/{secrets.token_hex(8)}/"
    store = ProbeStore(settings, prefix, connections=options.writers + 2)
    print(f"{settings.bucket} at {settings.endpoint_url}, below {prefix}")
    effort = Effort(options.rounds, options.writers, options.samples)
    failed = 0
    try:
        for name, check in CHECKS:
            if options.only not in name:
                continue
            try:
                print(f"  ok      {name}: {check(store, effort)}", flush=True)
            except (Failed, LookupError) as why:
                failed += 1
                print(f"  FAILED  {name}: {why}", flush=True)
                if name == CHECKS[0][0]:
                    break  # who cannot even list has nothing to learn from the rest
    finally:
        left = store.remove_all()
        if left:
            print(f"  - {left} objects or uploads below {prefix} could not be removed", file=sys.stderr)
    print_latencies(store.times_s)
    print(f"{failed} of the checks FAILED: do not go live on this bucket" if failed else "this bucket will do")
    return 1 if failed else 0


def print_latencies(times_s: Mapping[str, Sequence[float]]) -> None:
    """A line for each kind of request, in milliseconds; races and refusals are among them."""
    print(f"  {'':20} {'count':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    for label, found in sorted(times_s.items()):
        ranked = sorted(found)
        shown = (ranked[len(ranked) // 2], ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)], ranked[-1])
        print(f"  {label:20} {len(ranked):6} " + " ".join(f"{value * 1000:8.1f}" for value in shown))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
