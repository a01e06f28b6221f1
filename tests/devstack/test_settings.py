"""What `make run` is told, and what it says when it cannot start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from devstack import keys, settings, table
from devstack.settings import CannotStart


def test_defaults_are_the_ports_that_the_readme_names() -> None:
    read = settings.read({})
    assert read.ports["gateway"] == 8000 and read.web_origin == "http://localhost:5173"
    assert read.data == settings.ROOT / ".data"


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as caught:
        settings.read({"REEL_PORT_WEB": "80a", "REEL_PORT_STORAGE": "70000", "REEL_PORT_RENDER": "8000"})
    for word in ("REEL_PORT_WEB", "'80a'", "REEL_PORT_STORAGE", "the same port"):
        assert word in str(caught.value)


def test_several_dbsyncs_have_ports_beside_the_first(tmp_path: Path) -> None:
    read = settings.read({"REEL_DBSYNCS": "3", "REEL_PORT_DBSYNC": "7000"})
    assert {name: read.ports[name] for name in read.dbsyncs} == {"dbsync": 7000, "dbsync-2": 7010, "dbsync-3": 7020}
    parts = {part.name: part for part in table.parts(read, keys.load(tmp_path))}
    assert len({parts[name].environ["CACHE_DIR"] for name in read.dbsyncs}) == 3
    for name in ("gateway", "render"):
        assert parts[name].environ["DBSYNC_ADDRESS"] == "127.0.0.1:7000,127.0.0.1:7010,127.0.0.1:7020"
    with pytest.raises(CannotStart, match="REEL_DBSYNCS must be 1 to 9, not '0'"):
        settings.read({"REEL_DBSYNCS": "0"})
    with pytest.raises(CannotStart, match="the same port"):
        settings.read({"REEL_DBSYNCS": "2", "REEL_PORT_WEB": "8112"})


def test_a_taken_port_is_named_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    config = settings.free(tmp_path)
    with socket.socket() as taken:
        taken.bind((settings.HOST, config.ports["render"]))
        taken.listen()
        with pytest.raises(CannotStart, match=f"port {config.ports['render']} for render .* REEL_PORT_RENDER"):
            settings.check(config)
    settings.check(config)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="REEL_DATA"):
        settings.check(settings.free(tmp_path / "file/data"))


def test_free_ports_are_apart_and_out_of_the_way_of_outgoing_connections(tmp_path: Path) -> None:
    ports = settings.free(tmp_path).ports
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports.values())) == len(settings.DEFAULT_PORTS)
    assert max(ports.values()) < lowest_outgoing
