"""One finaliser: however often and from wherever an export is ended, its result is visible once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from chassis.faults import Fault, Kind
from gateway.domain.jobs import JobState
from tests.fakes.gateway_databases import FakeDatabases, Kept
from tests.gateway.api import USER, Api, running


async def open_export(api: Api) -> str:
    """An export that was submitted, with nobody watching it."""
    story = await api.story()
    export_id = (await api.page.post("/api/exports", {"kind": "annotate", "game_id": story.game_id})).body["id"]
    for task in list(api.tasks):
        task.cancel()
    await asyncio.gather(*api.tasks, return_exceptions=True)
    return str(export_id)


def visible(databases: FakeDatabases) -> tuple[int, int, int]:
    """Outputs, finished exports, and commits that touched the outputs."""
    touching = [
        one for one in databases.databases[USER].history if any(row.table == "export_outputs" for row in one.rows)
    ]
    outputs = databases.rows(USER, "SELECT count(*) FROM export_outputs")[0][0]
    finished = databases.rows(USER, "SELECT count(*) FROM exports WHERE state = 'succeeded'")[0][0]
    assert isinstance(outputs, int) and isinstance(finished, int)
    return outputs, finished, len(touching)


async def test_many_finalisers_at_once_make_it_visible_once(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    job = api.renderer.jobs[USER, export_id]
    finaliser = api.gateway.parts.exports.finaliser
    api.databases.delay_s = 0.001
    exports = await asyncio.gather(*(finaliser.finish(USER, export_id, job) for _ in range(25)))
    assert {(export.state, len(export.outputs)) for export in exports} == {(JobState.SUCCEEDED, 2)}
    assert visible(api.databases) == (2, 1, 1)


class Forgetful(dict[str, Kept]):
    """Keys that are never remembered: what holds without them."""

    def __setitem__(self, key: str, value: Kept) -> None:
        return


async def test_the_statements_guard_themselves_where_keys_are_forgotten(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    job = api.renderer.jobs[USER, export_id]
    cancelled = replace(job, state=JobState.CANCELLED, outputs=())
    api.databases.databases[USER].keys = Forgetful()
    finaliser = api.gateway.parts.exports.finaliser
    ends = [finaliser.finish(USER, export_id, one) for one in (job, cancelled) * 5]
    exports = await asyncio.gather(*ends)
    assert {(export.state, len(export.outputs)) for export in exports} == {(JobState.SUCCEEDED, 2)}
    assert visible(api.databases) == (2, 1, 1)


async def test_two_gateways_and_reads_at_once(api: Api) -> None:
    export_id = await open_export(api)
    async with running(databases=api.databases) as second:
        second.gateway.parts.exports.finaliser._renderer = api.renderer
        await api.renderer.succeed(USER, export_id)
        answers = await asyncio.gather(
            *(page.get(f"/api/exports/{export_id}") for page in (api.page, second.page) for _ in range(6)),
            *(page.get("/api/library") for page in (api.page, second.page)),
        )
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["state"] for answer in answers[:12]} == {"succeeded"}
    assert visible(api.databases) == (2, 1, 1)


async def test_a_key_that_was_forgotten_does_not_make_it_twice(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    job = api.renderer.jobs[USER, export_id]
    finaliser = api.gateway.parts.exports.finaliser
    await finaliser.finish(USER, export_id, job)
    api.databases.databases[USER].keys.clear()
    again = await finaliser.finish(USER, export_id, job)
    assert again.state is JobState.SUCCEEDED and visible(api.databases) == (2, 1, 1)


@pytest.mark.parametrize("reason", ["key_expired", "key_mismatch"])
async def test_an_export_older_than_its_key_still_ends(api: Api, reason: str) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    original, refused = api.databases.commit, Fault(Kind.PRECONDITION, reason, "old")

    async def first_refused(commit: object) -> object:
        api.databases.commit = original  # type: ignore[method-assign]
        raise refused

    api.databases.commit = first_refused  # type: ignore[assignment, method-assign]
    assert (await api.page.get(f"/api/exports/{export_id}")).body["state"] == "succeeded"
    assert visible(api.databases) == (2, 1, 1)


async def test_a_lost_submission_is_repeated_by_a_read_with_the_same_plan(api: Api) -> None:
    export_id = await open_export(api)
    spec = api.renderer.specs[USER, export_id]
    api.renderer.lose(USER, export_id)
    base = (await api.page.get("/api/library")).version
    (clip,) = (await api.page.get("/api/library")).body["clips"]
    await api.page.patch(f"/api/clips/{clip['id']}", {"end_ms": 9000}, match=base)
    assert (await api.page.get(f"/api/exports/{export_id}")).body["state"] in ("queued", "running")
    assert api.renderer.specs[USER, export_id] == spec


async def test_a_lost_answer_of_the_final_commit_is_healed_by_the_next_read(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    api.databases.lost_answers = 1
    first = await api.page.get(f"/api/exports/{export_id}")
    assert first.status == 200 and first.body["state"] != "failed"
    assert (await api.page.get(f"/api/exports/{export_id}")).body["state"] == "succeeded"
    assert visible(api.databases) == (2, 1, 1)


async def test_unknown_is_not_failed(api: Api) -> None:
    export_id = await open_export(api)
    api.renderer.unreachable = True
    for _ in range(3):
        assert (await api.page.get(f"/api/exports/{export_id}")).body["state"] == "queued"
    assert api.databases.rows(USER, "SELECT state FROM exports") == [("queued",)]


async def test_a_success_without_its_videos_is_a_failure(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    job = api.renderer.jobs[USER, export_id]
    object.__setattr__(job, "outputs", job.outputs[:1])
    seen = (await api.page.get(f"/api/exports/{export_id}")).body
    assert (seen["state"], seen["error"]["code"]) == ("failed", "outputs_missing") and seen["outputs"] == []


async def test_an_export_that_was_deleted_while_it_ran_stays_deleted(api: Api) -> None:
    export_id = await open_export(api)
    await api.renderer.succeed(USER, export_id)
    job = api.renderer.jobs[USER, export_id]
    version = (await api.page.get("/api/games")).version
    await api.page.delete(f"/api/exports/{export_id}", match=version)
    with pytest.raises(Fault):
        await api.gateway.parts.exports.finaliser.finish(USER, export_id, job)
    assert visible(api.databases) == (0, 0, 0)
