"""The demo's footage is what its module says, and the look at a finished video sees what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from devstack import checks, footage


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.generated(tmp_path_factory.mktemp("footage") / "small.mp4", seconds=1)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0)]


def test_the_recording_is_real_and_its_pictures_are_untouched(tmp_path: Path) -> None:
    made = footage.with_sound(tmp_path)
    assert packets(made) == packets(footage.recording(footage.FILE_NAME))
    seen = checks.look(made)
    assert (seen.width, seen.height, seen.fps, seen.frames) == (footage.WIDTH, footage.HEIGHT, footage.FPS, 280)
    assert seen.faststart and seen.moved > 10 and min(seen.loudness[:27]) > 0.005
    assert seen.sound_s == pytest.approx(footage.DURATION_S, abs=0.05)
    before = made.stat().st_mtime_ns
    assert footage.with_sound(tmp_path).stat().st_mtime_ns == before


def test_the_telephones_recording_has_the_sound_that_it_recorded(tmp_path: Path) -> None:
    path = footage.by_phone(tmp_path)
    assert path.read_bytes() == footage.recording("realshort.mp4").read_bytes()
    seen = checks.look(path)
    assert (seen.width, seen.height, seen.frames) == (320, 240, 36)
    assert max(seen.loudness) > 0.0005


def test_a_recording_that_is_not_there_says_what_to_install() -> None:
    with pytest.raises(FileNotFoundError, match=r"requirements/local\.txt"):
        footage.recording("other.mp4")


def test_a_look_counts_measures_and_reads_the_layout(small: Path) -> None:
    seen = checks.look(small)
    assert (seen.frames, seen.width, seen.height, seen.fps, seen.video_s) == (25, 320, 180, 25, 1.0)
    assert not seen.faststart and seen.bright > 40 and seen.moved > 1 and seen.loudness[0] > 0.01


def test_pictures_are_those_shown_at_a_time(small: Path) -> None:
    first, same, last = checks.pictures(small, [0.0, 0.039, 0.99])
    assert np.array_equal(first, same) and not np.array_equal(first, last)


def test_a_difference_tells_a_window_from_its_neighbour_at_any_size(small: Path) -> None:
    [picture] = checks.pictures(small, [0.5])
    here = checks.window(picture, 0.2, 0.2, 0.5, 0.5)
    doubled = np.kron(here, np.ones((2, 2))).astype(np.float64)
    assert checks.difference(here, doubled) < 3
    assert checks.difference(here, checks.window(picture, 0.3, 0.2, 0.5, 0.5)) > 10
