"""What time takes away: uploads nobody finished, and objects past their bucket's lifecycle rule."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from objectstore import lifecycle, records
from objectstore.store import Store

BATCH = 500
log = logging.getLogger(__name__)


def _rules(db: sqlite3.Connection) -> dict[str, list[lifecycle.Rule]]:
    rows = db.execute("SELECT name, lifecycle FROM buckets").fetchall()
    return {name: lifecycle.from_text(text) if text else [] for name, text in rows}


def _uploads(db: sqlite3.Connection, store: Store) -> list[str]:
    freed: list[str] = []
    rules = _rules(db)
    for upload_id, bucket, key, created_ms in db.execute("SELECT id, bucket, key, created_ms FROM uploads").fetchall():
        if created_ms + lifecycle.upload_ends_ms(rules[bucket], key, store.settings.upload_days) < store.now_ms:
            freed += records.remove_upload(db, upload_id)
    return freed


def _expired(db: sqlite3.Connection, store: Store, bucket: str, rule: lifecycle.Rule) -> tuple[int, list[str]]:
    """Removes at most BATCH objects that have outlived the rule; returns how many, and the blobs that this frees."""
    if rule.expire_days is None:
        return 0, []
    rows = db.execute(
        "SELECT key FROM objects WHERE bucket = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2"
        " AND modified_ms < ?3 LIMIT ?4",
        (bucket, rule.prefix, store.now_ms - rule.expire_days * lifecycle.DAY_MS, BATCH),
    ).fetchall()
    return len(rows), [blob for (key,) in rows for blob in records.remove_object(db, bucket, key)]


async def _expire(store: Store, bucket: str, rule: lifecycle.Rule) -> None:
    count = BATCH
    while count == BATCH:
        # In batches, so that no write waits long behind a sweep.
        count, freed = await store.index.write(lambda db: _expired(db, store, bucket, rule))
        await store.remove_blobs(freed)


async def once(store: Store) -> None:
    """Removes what is overdue."""
    await store.remove_blobs(await store.index.write(lambda db: _uploads(db, store)))
    for bucket, rules in (await store.read(_rules)).items():
        for rule in rules:
            if rule.enabled:
                await _expire(store, bucket, rule)


async def forever(store: Store) -> None:
    """Sweeps at once and then in the interval of the settings, until cancelled."""
    while True:
        try:
            await once(store)
        except Exception:
            log.exception("the sweep failed; it runs again later")
        await asyncio.sleep(store.settings.sweep_interval_s)
