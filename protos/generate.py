"""Generates protos/gen from protos/reel: messages, asyncio gRPC stubs, and the type stubs that mypy holds services to.

A proto's file path is its package and its Python import path, so nothing is rewritten after protoc:
protos/reel/dbsync/v1/dbsync.proto becomes reel.dbsync.v1.dbsync_pb2 below protos/gen.

1. The output depends on the protos and on the locked tool versions alone (test_generation_is_deterministic).
2. protos/gen holds the output and nothing else (test_stray_and_edited_files_are_found; see tests/house/test_protos.py).

    python protos/generate.py            writes protos/gen
    python protos/generate.py --check    exits 1, naming the files, when protos/gen is not what the protos say
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS / "gen"
# Type stubs for asyncio only: nothing here speaks blocking gRPC, and a Stub typed for both hides which one it is.
OUTPUTS = ("--python_out=", "--grpc_python_out=", "--mypy_out=quiet:", "--mypy_grpc_out=quiet,only_async:")
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


class GenerateError(Exception):
    """What protoc said, or what is missing on this machine."""


def proto_files(root: Path) -> list[str]:
    """The protos below root, as sorted paths relative to it."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "reel").rglob("*.proto"))


def plugin_arguments() -> list[str]:
    """Names the plugins installed beside this interpreter, so that PATH decides nothing."""
    # Not resolved: a virtual environment's interpreter is a link out of the folder that holds its scripts.
    scripts = Path(sys.executable).parent
    missing = [name for name in PLUGINS if not (scripts / name).exists()]
    if missing:
        raise GenerateError(f"not installed beside {sys.executable}: {', '.join(missing)} (see requirements/dev.txt)")
    return [f"--plugin={name}={scripts / name}" for name in PLUGINS]


def generate(root: Path, target: Path) -> None:
    """Writes the code of every proto below root into target, which must exist. Raises GenerateError."""
    files = proto_files(root)
    if not files:
        raise GenerateError(f"no protos below {root / 'reel'}")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", *plugin_arguments()]
    command += [option + str(target) for option in OUTPUTS] + files
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if result.returncode != 0:
        raise GenerateError(result.stderr.strip() or f"protoc ended with {result.returncode}")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below folder by its relative path, without Python's own caches."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differences(root: Path, committed: Path) -> list[str]:
    """What is stale, missing or stray in committed, a line each; empty when it is fresh."""
    with tempfile.TemporaryDirectory(prefix="protos-") as folder:
        generate(root, Path(folder))
        fresh = contents(Path(folder))
    present = contents(committed)
    found = [f"missing: {name}" for name in sorted(fresh.keys() - present.keys())]
    found += [f"stray: {name}" for name in sorted(present.keys() - fresh.keys())]
    found += [f"stale: {name}" for name in sorted(fresh.keys() & present.keys()) if fresh[name] != present[name]]
    return found


def replace(root: Path, target: Path) -> int:
    """Generates, then replaces target with it, so that a failure leaves the old code; answers the number of files."""
    with tempfile.TemporaryDirectory(prefix="protos-") as folder:
        generate(root, Path(folder))
        fresh = contents(Path(folder))
    shutil.rmtree(target, ignore_errors=True)
    for name, data in fresh.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return len(fresh)


def main(arguments: list[str]) -> int:
    """The command line: 0 done or fresh, 1 stale or failed."""
    parser = argparse.ArgumentParser(description="Generate protos/gen from protos/reel.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the committed code is stale")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            print(f"{replace(PROTOS, GENERATED)} files in {GENERATED.relative_to(PROTOS.parent)}")
            return 0
        found = differences(PROTOS, GENERATED)
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 1
    for line in found:
        print(f"protos/gen: {line}", file=sys.stderr)
    if found:
        print("protos/gen is stale: run `make protos`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
