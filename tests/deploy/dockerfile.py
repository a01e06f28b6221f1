"""Reads the Dockerfile and lays out what a target's image would hold of ours, without a container engine.

Understands what deploy/Dockerfile uses, and refuses the rest: FROM … AS, COPY (from the context or a stage), ENV,
WORKDIR, USER, RUN, EXPOSE, STOPSIGNAL, and CMD in exec form.
"""

from __future__ import annotations

import fnmatch
import json
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

KNOWN = {"FROM", "COPY", "ENV", "WORKDIR", "USER", "RUN", "EXPOSE", "STOPSIGNAL", "CMD", "ARG"}


@dataclass(frozen=True)
class Copy:
    """One COPY: sources of the context, or of another stage, to an absolute path."""

    stage: str
    sources: tuple[str, ...]
    target: str


@dataclass
class Stage:
    """One FROM and what follows it; a stage on another stage begins as a copy of it."""

    name: str
    base: str
    environment: dict[str, str] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    folder: str = "/"
    user: str = ""
    stop_signal: str = ""
    ports: tuple[int, ...] = ()
    command: tuple[str, ...] = ()


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction's word and the rest of it, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def parse(text: str) -> dict[str, Stage]:
    """The stages by name; ValueError for an instruction that this reader does not know."""
    stages: dict[str, Stage] = {}
    stage = Stage("", "")
    for word, rest in instructions(text):
        if word not in KNOWN:
            raise ValueError(f"{word} is not known here")
        if word == "FROM":
            base, _, name = rest.replace(" as ", " AS ").partition(" AS ")
            parent = stages.get(base)
            stage = Stage(name, base) if parent is None else inherit(parent, name)
            stages[name] = stage
        else:
            apply(stage, word, rest)
    return stages


def inherit(parent: Stage, name: str) -> Stage:
    """A stage that begins where its parent ended; commands of the parent's build were run there."""
    return Stage(
        name,
        parent.name,
        dict(parent.environment),
        list(parent.copies),
        list(parent.runs),
        parent.folder,
        parent.user,
        parent.stop_signal,
        parent.ports,
        parent.command,
    )


def apply(stage: Stage, word: str, rest: str) -> None:
    """One instruction's effect on its stage."""
    match word:
        case "COPY":
            parts = shlex.split(rest)
            flags = dict(part[2:].split("=", 1) for part in parts if part.startswith("--"))
            *sources, target = (part for part in parts if not part.startswith("--"))
            absolute = str(PurePosixPath(stage.folder) / target)
            stage.copies.append(Copy(flags.get("from", ""), tuple(sources), absolute))
        case "ENV":
            stage.environment.update(
                (name, value) for name, _, value in (part.partition("=") for part in shlex.split(rest))
            )
        case "WORKDIR":
            stage.folder = str(PurePosixPath(stage.folder) / rest)
        case "USER":
            stage.user = rest
        case "STOPSIGNAL":
            stage.stop_signal = rest
        case "EXPOSE":
            stage.ports = (*stage.ports, *map(int, rest.split()))
        case "CMD":
            stage.command = tuple(json.loads(rest))
        case "RUN":
            stage.runs.append(rest)


def ignored(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore keeps a path away: the last rule that matches it, or a folder above it, decides."""
    verdict = False
    folders = [path, *map(str, PurePosixPath(path).parents)]
    for rule in rules:
        keep = rule.startswith("!")
        pattern = rule.removeprefix("!").strip("/")
        tails = {pattern, pattern.removeprefix("**/")}
        if "**/" in pattern:
            tails |= {f"*/{tail}" for tail in tails}
        if any(fnmatch.fnmatchcase(folder, tail) for folder in folders for tail in tails):
            verdict = not keep
    return verdict


def ignore_rules(context: Path) -> list[str]:
    """The rules of the context's .dockerignore."""
    lines = (line.strip() for line in (context / ".dockerignore").read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def lay_out(stages: dict[str, Stage], name: str, context: Path, root: Path) -> None:
    """Writes below root what the stage's COPY lines bring from the context, directly or through other stages.

    What RUN makes (the virtual environment) is left out. FileNotFoundError when a COPY names what is not there.
    """
    rules = ignore_rules(context)
    for copy in stages[name].copies:
        if copy.stage:
            copy_from_stage(stages, copy, context, root)
            continue
        for source in copy.sources:
            files = [path for path in [context / source, *(context / source).rglob("*")] if path.is_file()]
            sent = [path for path in files if not ignored(path.relative_to(context).as_posix(), rules)]
            if not sent:
                raise FileNotFoundError(f"COPY {source}: nothing of it is in the context")
            for path in sent:
                target = root / copy.target.lstrip("/") / path.relative_to(context / source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def copy_from_stage(stages: dict[str, Stage], copy: Copy, context: Path, root: Path) -> None:
    """COPY --from: the other stage is laid out beside, and its part is taken over."""
    other = root.parent / f"{root.name}.{copy.stage}"
    if not other.exists():
        lay_out(stages, copy.stage, context, other)
    for source in copy.sources:
        part = other / source.lstrip("/")
        if part.exists():
            shutil.copytree(part, root / copy.target.lstrip("/"), dirs_exist_ok=True)
