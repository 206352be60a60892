"""What a slow look at each of many files gave, kept until the file or the code that looks changes.

Kept in ``.cache/scores/NAME-HASH``, a file each; what is missing is made by a few processes at low priority.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "scores"
PROCESSES = 2
NICENESS = 10
KEPT = 40
"""Folders kept; those unused for longest go."""


def remembered(
    name: str,
    look: Callable[[Path], bytes],
    files: Sequence[Path],
    code: str,
    cache: Path = CACHE,
    processes: int = PROCESSES,
) -> list[bytes]:
    """`look` of each file, in the order of `files`; `code` is the hash of what it depends on besides the file.

    `look` must be a module's function, or a partial of one: it runs in other processes, except where there is only
    one. What it raises comes through.
    """
    folder = cache / f"{name}-{code}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    _forget(cache)
    kept = [folder / _name(file) for file in files]
    missing = [at for at, path in enumerate(kept) if not path.exists()]
    if processes == 1:
        for at in missing:
            _keep(look, files[at], kept[at])
    elif missing:
        start = min(processes, len(missing)), get_context("spawn"), os.nice, (NICENESS,)
        with ProcessPoolExecutor(*start) as pool:
            jobs = [pool.submit(_keep, look, files[at], kept[at]) for at in missing]
            for job in jobs:
                job.result()
    return [path.read_bytes() for path in kept]


def hash_of(parts: Iterable[Path], root: Path) -> str:
    """16 hexadecimal digits of all code, and its data in JSON, in these files and folders."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        for file in [part] if part.is_file() else sorted(part.rglob("*")):
            if file.suffix in (".py", ".json") and file.is_file():
                found.update(str(file.relative_to(root)).encode())
                found.update(file.read_bytes())
    return found.hexdigest()


def _keep(look: Callable[[Path], bytes], file: Path, path: Path) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(look(file))
    unfinished.replace(path)


def _name(file: Path) -> str:
    """The file's name, and what changes with its content."""
    state = file.stat()
    told = f"{file.resolve()}:{state.st_size}:{state.st_mtime_ns}"
    return f"{file.stem}-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}.kept"


def _forget(cache: Path) -> None:
    folders = sorted(
        (path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for folder in folders[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
