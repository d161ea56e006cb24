"""Downloads against a server on this machine: announced, resumed, verified; clear when offline."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from camwidgets.course import download
from camwidgets.course.download import fetch, unpack

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Serves CONTENT; each answer may break off (`breaks`), and ranges may be ignored."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "BLOCK", 10_000)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = SimpleNamespace(asked=[], breaks=[], ranges=True, content=CONTENT, status=200)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked[6:-1]) if asked and state.ranges else 0
            size = len(state.content)
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(206 if asked and state.ranges else 200)
            if asked and state.ranges:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            stop = start + state.breaks.pop(0) if state.breaks else size
            self.wfile.write(state.content[start:stop])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{running.server_port}/cells.zip"
        yield state
        running.shutdown()


def test_it_says_what_how_large_and_where_to(server, tmp_path, capsys) -> None:
    path = fetch(server.url, tmp_path / "new" / "cells.zip", what="the cells", checksum=SHA)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["cells.zip"]
    out = capsys.readouterr().out
    assert out == f"Downloading the cells: 0.3 MB from {server.url[7:-10]} to {path}.\n"
    fetch(server.url, path, what="the cells")
    assert len(server.asked) == 1, "what is there is not fetched again"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_with(server, tmp_path, ranges, capsys) -> None:
    server.breaks, server.ranges = [100_000, 50_000], ranges
    path = fetch(server.url, tmp_path / "cells.zip", what="the cells", checksum=SHA)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", f"bytes={150_000 if ranges else 50_000}-"]
    assert (
        "Going on with the cells: 0.1 MB of 0.3 MB are here." in capsys.readouterr().out
    ) == ranges


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path) -> None:
    server.breaks = [40_000, 0, 0, 0]
    with pytest.raises(ConnectionError, match=r"the cells broke off 4 times.*kept: run the same"):
        fetch(server.url, tmp_path / "cells.zip", what="the cells")
    assert (tmp_path / "cells.zip.part").stat().st_size == 40_000
    server.asked.clear()
    assert fetch(server.url, tmp_path / "cells.zip", what="the cells").read_bytes() == CONTENT
    assert server.asked == ["bytes=40000-"]


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_as_long_as_the_file_or_longer(server, tmp_path, extra) -> None:
    (tmp_path / "cells.zip.part").write_bytes(CONTENT + b"x" * extra)
    assert fetch(server.url, tmp_path / "cells.zip", what="the cells").read_bytes() == CONTENT
    assert len(server.asked) == (1 if extra == 0 else 2)


def test_another_file_than_the_checksum_is_of(server, tmp_path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match=r"What arrived is not the cells: its sha256.*deleted"):
        fetch(server.url, tmp_path / "cells.zip", what="the cells", checksum=SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_moved(server, tmp_path) -> None:
    server.status = 404
    with pytest.raises(ConnectionError, match=r"answers 404 .*the cells may have moved"):
        fetch(server.url, tmp_path / "cells.zip", what="the cells")
    assert len(server.asked) == 1


def test_without_a_network(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for url in ("http://127.0.0.1:9/cells.zip", "http://nowhere.invalid/cells.zip"):
        with pytest.raises(ConnectionError, match="the cells cannot be fetched: is there"):
            fetch(url, tmp_path / "cells.zip", what="the cells")
    (tmp_path / "cells.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(ConnectionError, match=r"0\.0 MB are here; the same line goes on"):
        fetch("http://127.0.0.1:9/cells.zip", tmp_path / "cells.zip", what="the cells")


def test_a_full_disk_is_noticed_before_the_first_byte(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"too little room for 0\.3 MB"):
        fetch(server.url, tmp_path / "cells.zip", what="the cells")


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def test_unpacking_is_complete_or_nothing(tmp_path) -> None:
    path = archive(tmp_path / "a.zip", **{"a/b.txt": b"1", "c.txt": b"2"})
    folder = unpack(path, tmp_path / "a", what="the cells")
    assert (folder / "a" / "b.txt").read_bytes() == b"1"
    for name in ("../out.txt", "/out.txt"):
        bad = archive(tmp_path / "bad.zip", **{name: b"1"})
        with pytest.raises(ValueError, match="lead out of"):
            unpack(bad, tmp_path / "bad", what="the cells")
    data = bytearray(archive(tmp_path / "c.zip", **{"x.txt": b"abcdef" * 9}).read_bytes())
    data[40] ^= 1
    (tmp_path / "c.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"c\.zip is damaged"):
        unpack(tmp_path / "c.zip", tmp_path / "c", what="the cells")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.zip", "bad.zip", "c.zip"]
