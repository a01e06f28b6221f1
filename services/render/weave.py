"""Interlaced footage, as camcorders make it: two moments woven into one frame, taken apart by FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Iterator

import av


class Unweaver:
    """Frames in, the same number of whole ones out, a little later and at their own times; others stay as they are."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None

    def through(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What comes out when a frame goes in, or, with None, at the end."""
        if self._graph is None:
            if frame is None:
                return
            self._graph = _graph(frame)
        self._graph.push(frame)
        while True:
            try:
                out = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(out, av.VideoFrame)
            yield out


def _graph(like: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
    nodes = [source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph
