"""No test asserts how long something took: that says something of the machine, not of the code.

What a clock shows is followed through a function by the names that it is assigned to. An `assert` may hold such a
value against another one (`assert time.monotonic() < deadline_s`: a loop that waits gives up), but not against a number
below SHORTEST_GUARD_S, nor against a deadline that is set by one. A duration that the product itself measured and
tells is no clock of the test's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.test_tidy import ours, tree

SHORTEST_GUARD_S = 30
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}
NANOSECONDS = {f"{name}_ns" for name in CLOCKS}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_clock(node: ast.AST) -> bool:
    """Whether it asks a clock that only measures: the wall's tells the time of day, which tests may look at."""
    if not isinstance(node, ast.Call) or node.args:
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in CLOCKS | NANOSECONDS
    if not isinstance(called, ast.Attribute):
        return False
    loops = called.attr == "time" and not (isinstance(called.value, ast.Name) and called.value.id == "time")
    return loops or called.attr in CLOCKS | NANOSECONDS


def asks(node: ast.AST, timed: set[str]) -> bool:
    """Whether a clock, or a name that holds what one showed, is part of it."""
    return any(is_clock(part) or (isinstance(part, ast.Name) and part.id in timed) for part in ast.walk(node))


def is_short(node: ast.AST) -> bool:
    """Whether it is a number below SHORTEST_GUARD_S."""
    if isinstance(node, ast.UnaryOp):
        return is_short(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value < SHORTEST_GUARD_S


def assignments(function: Function) -> Iterator[tuple[set[str], ast.expr]]:
    """The names that are assigned to, with what is."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            both = both and len(target.elts) == len(value.elts)  # type: ignore[attr-defined]
            pairs = zip(target.elts, value.elts, strict=True) if both else [(target, value)]  # type: ignore[attr-defined]
            for one, given in pairs:
                yield {part.id for part in ast.walk(one) if isinstance(part, ast.Name)}, given


def timed_names(function: Function) -> set[str]:
    """The names of a function that hold what a clock showed, or what was reckoned from it."""
    timed: set[str] = set()
    while True:
        more = {name for names, given in assignments(function) if asks(given, timed) for name in names} - timed
        if not more:
            return timed
        timed |= more


def near_deadlines(function: Function, timed: set[str]) -> set[str]:
    """The names that hold a clock's time and a few seconds."""
    return {
        name
        for names, given in assignments(function)
        if isinstance(given, ast.BinOp) and isinstance(given.op, ast.Add)
        if (asks(given.left, timed) and is_short(given.right)) or (asks(given.right, timed) and is_short(given.left))
        for name in names
    }


def hurried(source: ast.AST) -> list[int]:
    """The lines of assertions on elapsed time."""
    lines = set()
    for function in ast.walk(source):
        if not isinstance(function, Function):
            continue
        timed = timed_names(function)
        near = near_deadlines(function, timed)
        for node in ast.walk(function):
            if not isinstance(node, ast.Assert):
                continue
            for compared in ast.walk(node.test):
                if not isinstance(compared, ast.Compare):
                    continue
                sides = [compared.left, *compared.comparators]
                bound = any(is_short(side) or (isinstance(side, ast.Name) and side.id in near) for side in sides)
                if bound and any(asks(side, timed - near) for side in sides):
                    lines.add(node.lineno)
    return sorted(lines)


def test_no_test_asserts_how_long_something_took() -> None:
    assert not [f"{name}:{line}" for name in ours(".py") if name.startswith("tests/") for line in hurried(tree(name))]


@pytest.mark.parametrize(
    "planted",
    [
        "began = time.monotonic(); work(); assert time.monotonic() - began < 1",
        "began_s = time.perf_counter(); work(); assert 1 < time.perf_counter() - began_s < 4",
        "began = time.process_time(); work(); took = time.process_time() - began; assert took < 0.15",
        "began = loop.time(); work(); assert loop.time() - began < 15, 'slow'",
        "began = asyncio.get_running_loop().time(); assert 3 > asyncio.get_running_loop().time() - began",
        "last, longest = time.monotonic(), 0.0; longest = max(longest, time.monotonic() - last); assert longest < 0.7",
        "began = monotonic(); longest: float = monotonic() - began; assert found and longest <= 29.9",
        "began = time.monotonic_ns(); assert (time.monotonic_ns() - began) / 1e9 < 2",
        "began = time.monotonic(); assert (took := time.monotonic() - began) < 1, took",
        "began = time.monotonic(); work(); assert time.monotonic() - began >= 0.2",
        "deadline = time.monotonic() + 5; assert time.monotonic() < deadline",
        "deadline = 5 + time.monotonic(); assert not late() and deadline > time.monotonic()",
    ],
)
def test_planted_haste_is_seen(planted: str) -> None:
    body = "".join(f"    {line.strip()}\n" for line in planted.split(";"))
    assert hurried(ast.parse(f"async def test() -> None:\n{body}"))
    assert hurried(ast.parse(f"def test():\n    async def inner():\n{body.replace('    ', '        ')}"))


@pytest.mark.parametrize(
    "planted",
    [
        "deadline = time.monotonic() + 60; assert time.monotonic() < deadline",
        "deadline_s = time.monotonic() + timeout_s; assert time.monotonic() < deadline_s, said()",
        "began = time.monotonic(); work(); assert time.monotonic() - began < 60",
        "began = time.monotonic(); print(time.monotonic() - began); assert count < 3",
        "assert abs(found.modified - time.time()) < 60",
        "assert deadlines.remaining_s(100) > 9",
        "assert clock.seconds >= 0.06",
        "clock = StoreClock(monotonic=lambda: monotonic[0]); assert count() < 3",
    ],
)
def test_what_is_no_haste_is_let_be(planted: str) -> None:
    body = "".join(f"    {line.strip()}\n" for line in planted.split(";"))
    assert not hurried(ast.parse(f"async def test() -> None:\n{body}"))
