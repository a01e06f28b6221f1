"""An independent judge of a simulation.

It knows nothing of SQLite or of the protocol: it reads which idempotency keys the log holds in which order, has what
those operations mean replayed on plain dictionaries, and holds every answer against that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dbsync.conflicts import Conflict
from dbsync.requests import CommitKind, CommitResult, Head, PastCommit, RowChange
from tests.dbsync.sim_log import Step
from tests.dbsync.sim_past import Past
from tests.dbsync.sim_record import Looked, Read, Record, Row, State, Write, expect

MUTANT_FAILED = "a mutant says that it failed"
PASSING = {"requirement_unmet", "constraint"}  # what is so now, and may not be so later
OVERTAKEN = "retries refused while an earlier try was under way that was done later"


class Judge:
    """Holds what the clients of one database were answered against its log."""

    def __init__(self, record: Record, steps: Sequence[Step], seen: Counter[str]) -> None:
        """Replays the log; Violation. `seen` counts what was judged."""
        self.record = record
        self.past = Past(record, steps)
        self._seen = seen

    def verdict(self) -> None:
        """Violation when an answer was wrong."""
        for write in self.record.writes:
            self._judge_write(write)
        for read in self.record.reads:
            self._judge_read(read)
        for looked in self.record.looks:
            self._judge_look(looked)
        for version, digests in self.record.digests.items():
            expect(len(digests) == 1, f"the bytes of version {version} differ: {digests}")
        if self.record.deleted:
            expect(self.past.terminal == self.record.deleted, "a deletion was acknowledged and is not in the log")

    def _judge_write(self, write: Write) -> None:
        answer = write.answer
        if isinstance(answer, CommitResult):
            self._judge_done(write, answer)
        elif isinstance(answer, Conflict):
            expect(self._not_done(write, reason=""), "a stale write is in the log")
            self._judge_conflict(write, answer)
        elif answer == "database_deleted":
            expect(0 < self.past.terminal <= write.ceiling, "a database was said to be deleted, and is not")
        elif answer in ("database_corrupt", "version_gone"):
            expect(self.record.damaged, "a log was said to be damaged, and is not")
        elif answer is not None:
            expect(self._not_done(write, answer), f"a write was refused ({answer}) and is there")
            self._judge_refusal(write, answer)

    def _not_done(self, write: Write, reason: str) -> bool:
        """Whether a write that was refused is not in the log.

        One thing is excused, and counted: a try that had no answer is still under way in one process when a retry is
        refused by another, for a reason that passes, and is done once that has passed.
        """
        if write.key not in self.past.places or write.first is not None:
            return True
        later = self.past.steps[self.past.places[write.key]].version > write.ceiling
        passing = reason in PASSING or (not reason and write.meaning.undo is not None)
        if write.unclear and later and passing:
            self._seen[OVERTAKEN] += 1
            return True
        return False

    def _judge_done(self, write: Write, answer: CommitResult) -> None:
        past = self.past
        expect(not write.twisted, "a key was taken for another request's")
        expect(answer.version <= write.ceiling, "a write was acknowledged before its version was there")
        if write.meaning.idle:
            expect(write.key not in past.places, "a write that changed nothing is in the log")
            expect(answer.version >= write.floor, "a write that changed nothing was answered from the past")
            self._judge_base(write, answer)
            return
        expect(write.key in past.places, "an acknowledged write is not in the log")
        own = past.places[write.key]
        expect(past.steps[own].version == answer.version, "an acknowledged write is in another version")
        if write.meaning.restore is None:
            expect(answer.commit_id == past.steps[own].commit_id, "an acknowledged write has another id")
        known = None if write.first is None else write.first.answer
        if isinstance(known, CommitResult):
            same = (known.version, known.base_version, known.results)
            expect(answer.replayed, "a write ran again under a key that was known")
            expect((answer.version, answer.base_version, answer.results) == same, "a retry got another answer")
        if write.first is not None:
            return
        expect(answer.replayed or answer.version > write.floor, "a write got a version below one that was known before")
        self._judge_fresh(write, answer, own)

    def _judge_fresh(self, write: Write, answer: CommitResult, own: int) -> None:
        """Nothing that it met made it stale."""
        past, others = self.past, self.past.others(write, own)
        if write.meaning.migrate is not None:
            return
        if write.strict or write.meaning.restore is not None:
            expect(not others, "a stale write was accepted over another version")
        expect(not past.restored(write, own), "a stale write was accepted over a restored version")
        clashes = past.clashes(write, {effect[0] for effect in past.effects[own]} | write.meaning.needed, own)
        expect(not clashes, f"a stale write was accepted over {clashes}")
        if write.meaning.restore is None and write.meaning.undo is None:
            counted = [result.rows.rows[0][0] for result in answer.results if result.rows.rows]
            bumped = [effect[2] for effect in past.effects[own] if effect[0][0] == "counters"]
            expect(counted == bumped, f"a write was told {counted} and left {bumped}")
        if write.meaning.restore is None:
            self._judge_base(write, answer)

    def _judge_base(self, write: Write, answer: CommitResult) -> None:
        """The author has read all up to its new base: no other author's commit is in between, or beside it."""
        if write.base is None:
            return
        others = self.past.others(write, self.past.ends[answer.version])
        expect(
            answer.base_version == (write.base if others else answer.version),
            f"base {answer.base_version} was answered for {write.base}, version {answer.version}",
        )

    def _judge_conflict(self, write: Write, answer: Conflict) -> None:
        head, past = answer.head_version, self.past
        expect(write.floor <= head <= write.ceiling, f"a conflict is of version {head}, not of {write.floor} or later")
        target = past.target(write)
        if target is not None and self._stands_against(target, answer):
            self._seen["conflicts: an undo's values"] += 1
            return
        expect(answer.base_version == write.base, "a conflict names another base")
        others = past.others(write, past.ends[head])
        if (
            write.strict
            or write.meaning.restore is not None
            or (past.restored(write, past.ends[head]) and not answer.clashes)
        ):
            self._seen["conflicts: the whole database"] += 1
            self._related(bool(others))
            return
        self._seen["conflicts: rows"] += 1
        expect(not past.restored(write, past.ends[head - 1]), "a restored version was not said to be why")
        rows = write.meaning.rows if target is None else {effect[0] for effect in past.effects[target]}
        self._judge_rows(write, answer, rows)

    def _related(self, holds: bool) -> None:
        if not holds:
            self._seen["unrelated edits answered as stale"] += 1
        expect(holds, "a write was refused as stale, and nothing of it had changed")

    def _judge_rows(self, write: Write, answer: Conflict, rows: set[Row]) -> None:
        """Every row that is named had changed, was changed last by whom it is said, and none is left out."""
        head, past, needed = answer.head_version, self.past, write.meaning.needed
        possible = past.clashes(write, rows | needed, past.ends[head])
        self._related(bool(possible))
        named = {(clash.row.table.lower(), clash.row.key[0]): clash for clash in answer.clashes}
        expect(set(named) <= set(possible), f"rows were named for nothing: {set(named) - set(possible)}")
        # What is put may be there already, and then nothing changes.
        certain = rows - {("notes", number) for number, _ in write.meaning.puts}
        # What it depends on is looked at before its statements run.
        sure = past.clashes(write, needed, past.ends[head - 1])
        if not sure and not set(named) <= needed:
            sure = past.clashes(write, certain, past.ends[head - 1])
        expect(set(sure) <= set(named), f"rows were not named: {set(sure) - set(named)}")
        for row, clash in named.items():
            expect(sure.get(row, 0) <= clash.version <= possible[row], f"{row} was not changed last in {clash.version}")
            authors = {past.steps[number].author for number in past.of(clash.version) if row in past.steps[number].rows}
            expect(clash.author in authors, f"{row} was not changed by {clash.author}")

    def _stands_against(self, target: int, answer: Conflict) -> bool:
        """Whether an undo was refused, as it had to be, because rows no longer hold what its target left."""
        past, head = self.past, answer.head_version
        if answer.base_version != past.steps[target].version or past.why_not(target):
            return False
        named = {(clash.row.table.lower(), clash.row.key[0]) for clash in answer.clashes}
        found = False
        for number in range(past.ends[head - 1], past.ends[head] + 1):
            rows = past.states[number].rows
            other = {row for row, _, left in past.effects[target] if rows.get(row) != left}
            found = found or (bool(other) and other == named)
        return found

    def _judge_refusal(self, write: Write, reason: str) -> None:
        """At some moment between the question and the answer it was so."""
        meaning, met, past = write.meaning, self.past.met(write), self.past
        if reason == MUTANT_FAILED:
            return
        if write.twisted:
            expect(reason == "key_mismatch", f"a key was used for another request, and the answer was {reason}")
            return
        target, so = past.target(write), False
        if reason == "schema_mismatch":
            so = any(state.schema_version != write.schema for state in met) or meaning.restore is not None
        elif reason == "schema_newer":
            so = any(state.schema_version > (meaning.migrate or write.schema) for state in met)
        elif reason == "requirement_unmet":
            so = any(("marks", mark) not in state.rows for state in met for mark in meaning.drops)
        elif reason == "constraint":
            so = any(("marks", mark) in state.rows for state in met for mark in meaning.adds)
        elif reason == "no_such_version":
            version = meaning.restore or (meaning.undo or (0,))[0]
            so = not 0 < version <= write.floor
        elif reason == "no_such_commit":
            so = target is None
        elif reason == "not_undoable" and target is not None:
            made = past.states[past.ends[past.steps[target].version]].schema_version
            so = past.why_not(target) or any(state.schema_version != made for state in met)
        else:
            so = reason == "invalid_argument" and meaning.fails
        expect(so, f"a write was refused without reason: {reason}")

    def _judge_read(self, read: Read) -> None:
        seen, past = read.seen, self.past
        expect(
            read.bound <= seen.version <= read.ceiling, f"a read saw version {seen.version} of {read.bound} or later"
        )
        expect(seen.version != past.terminal or not seen.version, "a read saw a database after its end")
        state = past.states[past.ends[seen.version]]
        expect(seen.schema_version == state.schema_version, f"a read of version {seen.version} saw another schema")
        if isinstance(seen, Head):
            expect(seen.author == past.steps[past.ends[seen.version] - 1].author, "the head is said to be another's")
            return
        expect(seen.rows == state.rows, f"a read of version {seen.version} saw other rows")
        expect(seen.tables == max(0, state.schema_version - 1), f"a read of version {seen.version} saw other tables")

    def _judge_look(self, looked: Looked) -> None:
        """A page of the history says what the log says, without a gap."""
        page, asked, past = looked.page, looked.asked, self.past
        expect(looked.floor <= page.head_version <= looked.ceiling, "a history of the past was answered")
        newest = min(asked.before_version - 1, page.head_version) if asked.before_version else page.head_version
        oldest = page.next_before_version or 1
        expect(newest - asked.page_size < oldest <= max(1, newest), "a page of the history has another size")
        wanted = None if asked.row is None else (asked.row.table.lower(), asked.row.key[0])
        versions = [
            version
            for version in range(newest, oldest - 1, -1)
            if wanted is None or any(wanted in past.steps[number].rows for number in past.of(version))
        ]
        if self.record.damaged:
            versions = [one.version for one in page.versions if one.commits]
        got = [one for one in page.versions if one.commits or not self.record.damaged]
        expect([one.version for one in got] == versions, "the history has another order, or a gap")
        present = past.states[past.ends[page.head_version]]
        for one in got:
            state = past.states[past.ends[one.version]]
            expect(one.schema_version == state.schema_version, "the history says another schema")
            numbers = [n for n in past.of(one.version) if wanted is None or wanted in past.steps[n].rows]
            expect(len(numbers) == len(one.commits), "the history has other commits")
            for number, commit in zip(numbers, one.commits, strict=True):
                self._judge_commit(number, commit, state, present)

    def _judge_commit(self, number: int, commit: PastCommit, state: State, present: State) -> None:
        past, step = self.past, self.past.steps[number]
        kinds = {
            CommitKind.RESTORE: step.restores > 0,
            CommitKind.UNDO: bool(step.undoes),
            CommitKind.MIGRATION: step.migration,
            CommitKind.SYSTEM: step.quiet and not step.migration,
        }
        kind = next((kind for kind, so in kinds.items() if so), CommitKind.WRITE)
        said = (commit.commit_id, commit.author, commit.kind, commit.undoes, commit.restores)
        expect(said == (step.commit_id, step.author, kind, step.undoes, step.restores), f"the history says {said}")
        changes = {row: _change(before, after) for row, before, after in past.effects[number]}
        told = {(row.table.lower(), row.key[0]): change for row, change in commit.rows}
        expect(told == changes and commit.row_count == len(changes), f"the history says {told} for {changes}")
        undoable = not past.why_not(number) and state.schema_version == present.schema_version
        expect(commit.undoable == undoable, "the history says wrongly what can be undone")


def _change(before: object, after: object) -> RowChange:
    if before is None:
        return RowChange.INSERT
    return RowChange.DELETE if after is None else RowChange.UPDATE
