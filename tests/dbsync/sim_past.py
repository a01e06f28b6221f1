"""The history of one database in a simulation, replayed on plain dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from tests.dbsync.sim_log import Step
from tests.dbsync.sim_record import Effect, Record, Row, State, Write, expect


class Past:
    """What each step of the log did, and the database after each."""

    def __init__(self, record: Record, steps: Sequence[Step]) -> None:
        """Replays the log; Violation when something is in it that cannot be."""
        self.steps = steps
        self.writes = {write.key: write for write in record.writes if write.first is None}
        self.states = [State()]  # before the first step, and after each
        self.effects: list[list[Effect]] = []
        self.places: dict[bytes, int] = {}
        self.ends = [0]  # how many steps there are up to a version
        self.terminal = 0  # the version that ended the database
        for number, step in enumerate(steps):
            expect(not self.terminal, f"version {step.version} came after the end")
            self._replay(number, step)
            while len(self.ends) <= step.version:
                self.ends.append(self.ends[-1])
            self.ends[step.version] = number + 1

    @property
    def head(self) -> int:
        """The newest version."""
        return len(self.ends) - 1

    def of(self, version: int) -> range:
        """The steps of a version."""
        return range(self.ends[version - 1], self.ends[version])

    def met(self, write: Write) -> list[State]:
        """The states that a write may have met between its question and its answer."""
        return self.states[self.ends[min(write.floor, self.head)] : self.ends[min(write.ceiling, self.head)] + 1]

    def target(self, write: Write) -> int | None:
        """The step that an undo is of."""
        if write.meaning.undo is None:
            return None
        version, commit_id = write.meaning.undo
        if not 0 < version <= self.head:
            return None
        return next((number for number in self.of(version) if self.steps[number].commit_id == commit_id), None)

    def why_not(self, number: int) -> bool:
        """Whether a step can never be undone."""
        step = self.steps[number]
        return step.quiet or step.restores > 0 or not self.effects[number]

    def others(self, write: Write, stop: int) -> list[int]:
        """The steps after the write's base and before `stop` that could make its author stale."""
        if write.base is None:
            return []
        return [
            number
            for number in range(self.ends[min(write.base, self.head)], stop)
            if not self.steps[number].quiet
            and (self.steps[number].restores or not write.author or self.steps[number].author != write.author)
        ]

    def clashes(self, write: Write, rows: set[Row], stop: int) -> dict[Row, int]:
        """The rows that others changed after the base, and the version in which they did last."""
        return {
            effect[0]: self.steps[number].version
            for number in self.others(write, stop)
            for effect in self.effects[number]
            if effect[0] in rows
        }

    def restored(self, write: Write, stop: int) -> bool:
        """Whether a version was restored after the base."""
        return any(self.steps[number].restores for number in self.others(write, stop))

    def _replay(self, number: int, step: Step) -> None:
        state, effects = self.states[-1], list[Effect]()
        if step.terminal:
            self.terminal = step.version
        else:
            expect(step.key not in self.places, f"version {step.version} repeats a key")
            expect(step.key in self.writes, f"version {step.version} is nobody's")
            self.places[step.key] = number
            write = self.writes[step.key]
            state, effects = self._done(step, write, state)
            quiet = write.system or write.meaning.migrate is not None
            expect(step.quiet == quiet, f"version {step.version} says that it is another's")
            expect(step.author == write.author, f"version {step.version} says that it is {step.author}'s")
        self.effects.append(effects)
        self.states.append(state)

    def _done(self, step: Step, write: Write, state: State) -> tuple[State, list[Effect]]:
        meaning = write.meaning
        if meaning.migrate is not None:
            expect(not meaning.fails, f"a migration that cannot work is version {step.version}")
            expect(
                meaning.migrate == state.schema_version + 1, f"version {step.version} migrates {state.schema_version}"
            )
            return state.migrated(meaning.migrate), []
        if meaning.restore is not None:
            expect(step.restores == meaning.restore < step.version, f"version {step.version} restores {step.restores}")
            old = self.states[self.ends[meaning.restore]]
            expect(old.schema_version <= state.schema_version, f"version {step.version} restores a newer schema")
            return old.migrated(state.schema_version).keeping(meaning.keeps, state), []
        effects = self._undone(step, write, state) if meaning.undo is not None else state.effects(meaning)
        effects = [effect for effect in effects if effect[1] != effect[2]]
        changed = {effect[0] for effect in effects}
        expect(step.rows == changed, f"version {step.version} changed {changed} and says {set(step.rows)}")
        return state.after(effects), effects

    def _undone(self, step: Step, write: Write, state: State) -> list[Effect]:
        target = self.target(write)
        if target is None:
            raise AssertionError(f"version {step.version} undoes what is not there")
        expect(step.undoes == self.steps[target].commit_id, f"version {step.version} says that it undoes another")
        expect(not self.why_not(target), f"version {step.version} undoes what cannot be undone")
        made = self.states[self.ends[self.steps[target].version]].schema_version
        expect(made == state.schema_version, f"version {step.version} undoes a commit of another schema")
        for row, _, left in self.effects[target]:
            held = state.rows.get(row)
            expect(held == left, f"version {step.version} undoes {row}, which holds {held} and was left {left}")
        return [(row, left, before) for row, before, left in self.effects[target]]
