"""Downloads that say what they fetch, show how far they are, and go on where they broke off."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.auto import tqdm

TRIES = 4
PAUSE = 2.0
TIMEOUT = 30.0
BLOCK = 1 << 20


def fetch(url: str, path: str | Path, *, what: str, checksum: str | None = None) -> Path:
    """Download a file, unless it is there already; what, how large and where to is printed first.

    What arrives is kept in `path` + ".part" until it is complete. A connection that breaks is
    tried again, and a later call goes on from the part that is there, if the server can do that.

    Args:
        url: http or https.
        path: the file to make.
        what: what is fetched, for the reader, such as "the NIH malaria cells".
        checksum: "md5:…" or "sha256:…" as the publisher gives it.

    Raises:
        ConnectionError: no network, a server that refuses, or a connection that keeps breaking.
        ValueError: the file that arrived is not the one that the checksum is of; it is deleted.
        OSError: the disk is too full.
    """
    path = Path(path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(TRIES):
        time.sleep(PAUSE * (attempt > 0))
        try:
            if _receive(url, part, path, what):
                break
        except urllib.error.HTTPError as error:
            raise ConnectionError(
                f"{urlsplit(url).netloc} answers {error.code} ({error.reason}) for {url}: {what} "
                f"may have moved. If you find it elsewhere, put it at {path}."
            ) from error
        except urllib.error.URLError as error:
            raise ConnectionError(
                f"{urlsplit(url).netloc} cannot be reached, so {what} cannot be fetched: is there "
                f"a network? You can fetch {url} on another machine and put it at {path}."
                + f" {_mb(_size(part))} are here; the same line goes on from there."
                * part.exists()
            ) from error
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            pass  # it broke off
    else:
        raise ConnectionError(
            f"The download of {what} broke off {TRIES} times, the last time at "
            f"{_mb(_size(part))}. What arrived is kept: run the same line again to go on."
        )
    if checksum is not None:
        _verify(part, checksum, what)
    return part.replace(path)


def unpack(archive: str | Path, folder: str | Path, *, what: str) -> Path:
    """Unpack a zip file into a folder that appears once it is complete.

    Raises:
        ValueError: the archive is damaged, or holds names that lead out of the folder.
    """
    archive, folder = Path(archive), Path(folder)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    print(f"Unpacking {what} into {folder}.")
    try:
        with zipfile.ZipFile(archive) as files:
            names = files.namelist()
            if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
                raise ValueError(f"{archive} holds names that lead out of {folder}: not unpacked.")
            for name in tqdm(names, desc="unpacking", leave=False):
                files.extract(name, unfinished)
    except (zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ValueError(f"{archive} is damaged: delete it and download it again.") from error
    return unfinished.replace(folder)


def _receive(url: str, part: Path, path: Path, what: str) -> bool:
    """Append what is missing to `part`; whether it is complete now."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()  # more is there than the server has: another file, so from the start
        return False
    with answer:
        if answer.status != 206 or not _goes_on_at(answer, have):
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        size = _mb(total) if total else "of unknown size"
        if have:
            print(f"Going on with {what}: {_mb(have)} of {size} are here.")
        else:
            print(f"Downloading {what}: {size} from {urlsplit(url).netloc} to {path}.")
        if total and total - have > shutil.disk_usage(part.parent).free:
            raise OSError(f"There is too little room for {size} on the disk of {part.parent}.")
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, leave=False) as progress,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
                progress.update(len(block))
    return total is None or _size(part) >= total


def _goes_on_at(answer: http.client.HTTPResponse, place: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {place}-")


def _verify(part: Path, checksum: str, what: str) -> None:
    kind, _, wanted = checksum.partition(":")
    with part.open("rb") as file:
        digest = hashlib.new(kind, usedforsecurity=False)
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != wanted.lower():
        part.unlink()
        raise ValueError(
            f"What arrived is not {what}: its {kind} checksum is {digest.hexdigest()}, and the "
            f"publisher gives {wanted}. It was deleted; try again, perhaps on another network."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"
