"""The boot table: every process of the system, with its settings and how to know that it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.keys import Keys
from devstack.settings import HOST, Settings

BUCKET = "reel-ballers-users"
BEHIND_GATEWAY = ("storage", "dbsync", "render")
SERVICES = (*BEHIND_GATEWAY, "gateway")


@dataclass(frozen=True)
class Part:
    """One process: `python -m module` with exactly this environment.

    `ready` says how to know that it is: "grpc" asks its health service, a path such as "/readyz" must answer 200.
    """

    name: str
    module: str
    port: int
    ready: str
    environ: Mapping[str, str] = field(default_factory=dict)


def parts(settings: Settings, keys: Keys) -> tuple[Part, ...]:
    """The table, in the order of starting; the store comes first, the rest may start together."""
    ports, data = settings.ports, settings.data
    store = {
        "R2_ENDPOINT_URL": settings.store_origin,
        "R2_ACCESS_KEY_ID": keys.store_access_key,
        "R2_SECRET_ACCESS_KEY": keys.store_secret_key,
        "R2_BUCKET_NAME": BUCKET,
    }

    def at(name: str) -> str:
        return f"{HOST}:{ports[name]}"

    def base(name: str) -> dict[str, str]:
        return {
            "REEL_ENV": "local",
            "LISTEN": at(name),
            "SIGNING_KEY": keys.signing[name][0],
            "TRUSTED_KEYS": keys.trusted,
            "TRACE_DIR": str(data / "traces"),
        }

    dbsync = {**base("dbsync"), **store}
    inner = {"STORAGE_ADDRESS": at("storage"), "DBSYNC_ADDRESS": ",".join(at(name) for name in settings.dbsyncs)}
    return (
        Part(
            "objectstore",
            "objectstore",
            ports["objectstore"],
            "/-/health",
            {
                "LISTEN": at("objectstore"),
                "OBJECTSTORE_DATA": str(data / "objectstore"),
                "OBJECTSTORE_ACCESS_KEY": keys.store_access_key,
                "OBJECTSTORE_SECRET_KEY": keys.store_secret_key,
                "OBJECTSTORE_BUCKETS": BUCKET,
            },
        ),
        Part("storage", "storage", ports["storage"], "grpc", {**base("storage"), **store}),
        *(
            Part(name, "dbsync", ports[name], "grpc", {**dbsync, "LISTEN": at(name), "CACHE_DIR": str(data / name)})
            for name in settings.dbsyncs
        ),
        Part(
            "render", "render", ports["render"], "grpc", {**base("render"), **inner, "WORK_DIR": str(data / "render")}
        ),
        Part(
            "gateway",
            "gateway",
            ports["gateway"],
            "/readyz",
            {
                **base("gateway"),
                **inner,
                "RENDER_ADDRESS": at("render"),
                "APP_ORIGINS": origins(settings),
            },
        ),
        Part(
            "web",
            "devstack.site",
            ports["web"],
            "/",
            {"LISTEN": at("web"), "REEL_API_ORIGIN": settings.api_origin, "REEL_MEDIA_ORIGIN": settings.store_origin},
        ),
    )


def origins(settings: Settings) -> str:
    """APP_ORIGINS: where the app is served from."""
    return f"{settings.web_origin},http://{HOST}:{settings.ports['web']}"


def bucket_environ(settings: Settings, keys: Keys) -> dict[str, str]:
    """What deploy/r2/setup.py is told."""
    store = dict(parts(settings, keys)[1].environ)
    return {name: store[name] for name in store if name.startswith("R2_")} | {"APP_ORIGINS": origins(settings)}
