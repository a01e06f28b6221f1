"""Every route of the API."""

from __future__ import annotations

from gateway.http.handlers import accounts, clips, exports, games, health, history, reels, videos

ROUTES = (
    *health.ROUTES,
    *accounts.ROUTES,
    *games.ROUTES,
    *videos.ROUTES,
    *clips.ROUTES,
    *reels.ROUTES,
    *exports.ROUTES,
    *history.ROUTES,
)
