"""The house rules as code: what every file must hold, so that nobody has to say it in a review."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from chassis.config import Reader

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "storage", "dbsync", "render")
MAX_FUNCTION_LINES = 70
MAX_MODULE_LINES = 400
MAX_ARCHITECTURE_LINES = 250
DUMPS = {"utils", "util", "helpers", "helper", "common", "misc"}
SCRIPTS = (".ts", ".tsx", ".js", ".mjs")
# Spelt in two halves, so that this file does not hold what it looks for.
REGISTRIES = ("pypi" + ".org", "files.python" + "hosted.org", "registry.npm" + "js.org", "registry.yarn" + "pkg.com")
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Us" + r"ers/\w+|tmp/br" + r"ief)/")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
SILENCED = re.compile(
    r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)|@ts-(?:ignore|nocheck)|\b(?:it|test|describe)\.(?:skip|todo)\b"
)
SQL = re.compile(
    r"\s*(?:SELECT\s|INSERT\s+(?:OR\s+\w+\s+)?INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(?:\w+\s+)?(?:TABLE|INDEX|TRIGGER|VIEW)\s"
    r"|ALTER\s+TABLE\s|DROP\s+(?:TABLE|INDEX)\s|PRAGMA\s|WITH\s+\w+\s+AS\s*\()"
)
SQL_ROOMS = ("services/gateway/library/", "services/render/ledger", "services/dbsync/", "deploy/local/objectstore/")


@cache
def files() -> tuple[str, ...]:
    """Every file of the project, as git sees it: what is tracked, and what is new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.splitlines()
    return tuple(sorted(name for name in set(names) if (ROOT / name).is_file()))


@cache
def text(name: str) -> str:
    """A file's text; empty for what is not text."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def ours(*endings: str) -> list[str]:
    """The files that we write by hand and that end so."""
    return [name for name in files() if name.endswith(endings) and not name.startswith("protos/gen/")]


@cache
def tree(name: str) -> ast.Module:
    """A Python file's syntax tree."""
    return ast.parse(text(name), filename=name)


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    """Every node of a Python file."""
    return tuple(ast.walk(tree(name)))


def walk(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of these kinds in every Python file of ours, with its file's name."""
    for name in ours(".py"):
        for node in nodes(name):
            if isinstance(node, kinds):
                yield name, node


def lines_matching(pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    """file:line of what matches."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in names
        for number, line in enumerate(text(name).splitlines(), 1)
        if pattern.search(line)
    ]


def test_a_module_opens_with_its_purpose_in_a_sentence() -> None:
    silent = []
    for name in ours(".py"):
        if not text(name).strip():
            continue  # an empty __init__.py
        opening = (ast.get_docstring(tree(name)) or "").split("\n\n")[0].strip()
        if len(opening.split()) < 2 or opening[-1] not in ".:?":
            silent.append(f"{name}: {opening!r}")
    assert not silent


def test_no_dump_modules() -> None:
    assert not [name for name in files() if DUMPS & {part.split(".")[0].lower() for part in Path(name).parts}]


def test_functions_are_short() -> None:
    long = []
    for name, node in walk(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            long.append(f"{name}:{node.lineno} {node.name}: {lines} lines")
    assert not long


def test_modules_are_short() -> None:
    lengths = {name: len(text(name).splitlines()) for name in ours(".py", ".css", *SCRIPTS)}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES}


def test_architecture_stays_readable() -> None:
    assert len(text("ARCHITECTURE.md").splitlines()) <= MAX_ARCHITECTURE_LINES


def test_nothing_is_unfinished() -> None:
    assert not lines_matching(
        UNFINISHED, ours(".py", ".proto", ".md", ".yaml", "Makefile", "Dockerfile", ".css", ".html", *SCRIPTS)
    )


def test_no_check_is_silenced_without_its_name() -> None:
    assert not lines_matching(SILENCED, ours(".py", *SCRIPTS))


def test_no_test_is_switched_off() -> None:
    banned = {"skip", "skipif", "xfail", "skipTest", "skipIf", "skipUnless", "importorskip"}
    assert not [
        f"{name}:{node.lineno}"
        for name, node in walk(ast.Attribute)
        if isinstance(node, ast.Attribute)
        and node.attr in banned
        and ast.unparse(node.value).startswith(("pytest", "unittest"))
    ]


def test_no_failure_is_swallowed() -> None:
    broad = {"Exception", "BaseException", ""}
    swallowed = []
    for name, node in walk(ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        caught = ast.unparse(node.type) if node.type else ""
        if caught in broad and all(isinstance(item, ast.Pass | ast.Continue) for item in node.body):
            swallowed.append(f"{name}:{node.lineno}")
    for name, node in walk(ast.Call):
        assert isinstance(node, ast.Call)
        if ast.unparse(node.func).endswith("suppress") and any(ast.unparse(item) in broad for item in node.args):
            swallowed.append(f"{name}:{node.lineno}")
    assert not swallowed


def test_fakes_not_mocks() -> None:
    assert not [
        f"{name}:{node.lineno}"
        for name, node in walk(ast.Import, ast.ImportFrom)
        if isinstance(node, ast.Import | ast.ImportFrom) and re.search(r"\bunittest\b|\bmock\b", ast.unparse(node))
    ]


def test_sql_is_written_where_it_belongs() -> None:
    found = []
    for name in ours(".py"):
        if not name.startswith(("services/", "deploy/")) or name.startswith(SQL_ROOMS):
            continue
        prose = {id(node.value) for node in nodes(name) if isinstance(node, ast.Expr)}
        for node in nodes(name):
            constant = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if constant and SQL.match(str(node.value)):  # type: ignore[attr-defined]
                found.append(f"{name}:{node.lineno}: {str(node.value)[:60]!r}")  # type: ignore[attr-defined]
    assert not found


def test_services_use_boto3s_core_alone() -> None:
    """boto3's own layer costs a service 10 MB and 0.2 s and adds nothing to its core, botocore, that they need."""
    assert not [
        f"{name}:{node.lineno}"
        for name, node in walk(ast.Import, ast.ImportFrom)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and name.startswith("services/")
        and re.search(r"\bboto3\b", ast.unparse(node))
    ]


def test_a_test_that_a_docstring_names_exists() -> None:
    known = {
        node.name
        for _, node in walk(ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    known |= {Path(name).stem for name in ours(".py")}
    missing = {
        f"{name}: {named}"
        for name in ours(".py")
        for named in re.findall(r"\btest_\w+", ast.get_docstring(tree(name)) or "")
        if named not in known
    }
    assert not missing


def test_no_path_of_a_machine() -> None:
    assert not lines_matching(MACHINE_PATHS, (name for name in files() if not name.startswith("protos/gen/")))


def test_no_registry_address() -> None:
    pattern = re.compile("|".join(map(re.escape, REGISTRIES)))
    assert not lines_matching(pattern, files())


def test_locks_hold_versions_and_hashes_and_no_address() -> None:
    locks = [name for name in files() if name.startswith("requirements/") and name.endswith(".txt")]
    assert {Path(name).stem for name in locks} >= {*SERVICES, "local", "dev"}
    faults = lines_matching(re.compile(r"https?:|^\s*-(?!-hash)|@ file:"), locks)
    for name in locks:
        for entry in re.split(r"\n(?=\S)", text(name).strip()):
            if not entry.startswith("#") and not re.match(
                r"[A-Za-z0-9._\[\]-]+==\S+.*--hash=sha256:", entry, re.DOTALL
            ):
                faults.append(f"{name}: {entry[:80]!r} has no version or no hash")
    assert not faults


def test_node_locks_hold_integrity_and_no_address() -> None:
    faults = []
    locks = [name for name in files() if name.endswith("package-lock.json")]
    assert {"protos/package-lock.json", "web/package-lock.json"} <= set(locks)
    for name in locks:
        for path, package in json.loads(text(name))["packages"].items():
            if path and (not package.get("integrity") or "resolved" in package):
                faults.append(f"{name}: {path}")
    assert not faults


def make_targets() -> dict[str, str]:
    """The Makefile's targets by name, each with its help text."""
    found = re.finditer(r"^([A-Za-z0-9][\w%-]*)\s*:(?!=)([^\n]*)$", text("Makefile"), re.MULTILINE)
    return {match[1]: match[2].partition("##")[2].strip() for match in found}


def test_every_make_target_says_what_it_does() -> None:
    assert not [name for name, words in make_targets().items() if not words]


def test_every_make_target_is_in_the_readme() -> None:
    readme = text("README.md")
    missing = [
        name
        for name in make_targets()
        if name != "help" and not re.search(rf"\bmake {re.escape(name.replace('%', ''))}", readme)
    ]
    assert not missing


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"`make ([a-z][\w-]*)", text("README.md"))) | set(
        re.findall(r"^\s+make ([a-z][\w-]*)", text("README.md"), re.MULTILINE)
    )
    targets = make_targets()
    assert not {
        name
        for name in named
        if name not in targets and not any("%" in t and name.startswith(t.split("%")[0]) for t in targets)
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_in_the_readme(service: str) -> None:
    reader = Reader({})
    importlib.import_module(f"{service}.config").read(reader)
    assert reader.names
    assert not {name for name in reader.names - {"FLY_APP_NAME"} if f"`{name}`" not in text("README.md")}


@pytest.mark.parametrize("service", SERVICES)
def test_settings_come_from_the_reader_alone(service: str) -> None:
    names = [name for name in ours(".py") if name.startswith(f"services/{service}/")]
    assert names
    assert not lines_matching(re.compile(r"\bos\.(?:environ|getenv)\b"), names)


def test_comments_are_not_code_switched_off() -> None:
    code = re.compile(r"#\s*(?:def |class |return\b|import |from \w+ import |\w+\(.*\)$)")
    found: list[str] = []
    for name in ours(".py"):
        with tokenize.open(ROOT / name) as file:
            tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
        found += [f"{name}:{token.start[0]}: {token.string}" for token in tokens if code.match(token.string)]
    assert not found
