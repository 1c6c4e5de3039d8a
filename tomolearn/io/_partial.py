"""What stands beside a target while it is written: the partial output and the journal of the blocks that are done."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

from tomolearn.exceptions import FileFormatError

try:
    import fcntl
except ImportError:  # not every system has it; there two runs on one output are not told apart
    fcntl = None  # type: ignore[assignment]  # its users ask for None first

__all__ = ["Journal", "Partial"]

OURS = re.compile(r"slice_\d+\.tif|metadata\.json|zarr\.json|\.zarray|\.zattrs|\.zgroup|c|\d+(\.\d+)*")


class Partial:
    """The places of an output: ``target``, ``data`` beside it until it is whole, and the journal's ``record``."""

    def __init__(self, target):
        self.target = Path(target)
        self.data = self.target.with_name(self.target.name + ".part")
        self.record = self.target.with_name(self.target.name + ".part.json")
        self._lock_path, self._lock = self.target.with_name(self.target.name + ".part.lock"), None

    def check(self, need, overwrite, *, is_folder=False):
        """Is there a folder with room for ``need`` bytes, and nothing in the way? ``is_folder``: of the output."""
        folder = self.target.absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"the folder {folder} of the output {self.target} does not exist; make it first.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"nothing can be written to the folder {folder} of the output {self.target}.")
        if self.target.exists() and not overwrite:
            raise FileExistsError(f"the output {self.target} exists; choose another name, or overwrite=True.")
        if self.target.is_dir():
            self._check_folder(is_folder)
        free = shutil.disk_usage(folder).free
        if need > free:
            unit, name = (1e9, "GB") if need >= 1e9 else (1e6, "MB")
            raise OSError(f"{self.target} needs {need / unit:.2f} {name}; {folder} has {free / unit:.2f} {name} left.")

    def _check_folder(self, is_folder):
        """A folder is only replaced by one, and only where nothing stands in it that a volume does not consist of."""
        if not is_folder:
            raise IsADirectoryError(f"the output {self.target} is a folder; choose another name.")
        others = sorted(name for name in os.listdir(self.target) if not OURS.fullmatch(name))
        if others:
            raise FileExistsError(
                f"the folder {self.target} holds other things than a volume ({', '.join(others[:3])}), which would be "
                "lost; choose another name."
            )

    def claim(self):
        """Keep other processes from this output, until `release` or the end of the process."""
        while fcntl is not None and self._lock is None:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(self._lock_path)):
                    self._lock = lock
                    return
            except FileNotFoundError:  # the other run has just ended and removed it
                pass
            except (BlockingIOError, PermissionError):
                os.close(lock)
                raise FileExistsError(
                    f"another run writes the output {self.target} now; wait for it, or choose another name."
                ) from None
            except OSError:  # a file system without locks
                os.close(lock)
                return
            os.close(lock)

    def release(self):
        """Let others have this output."""
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def clear(self):
        """Remove what an earlier run left."""
        remove(self.data)
        remove(self.record)

    def finish(self):
        """The partial output becomes the target, in one step where the target was not a folder."""
        if self.data.is_dir() and self.target.exists():
            remove(self.target)
        os.replace(self.data, self.target)
        remove(self.record)
        self.release()


def remove(path):
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Journal:
    """Which blocks of a partial output are done, and what was counted in them.

    The file is replaced whole after each block, so that a process that is killed leaves a true account: a block stands
    in it only when all its bytes are with the system.
    """

    def __init__(self, path, content):
        self._path, self._content = path, content

    @classmethod
    def new(cls, path, run, blocks):
        journal = cls(path, {"run": run, "blocks": [list(map(int, block)) for block in blocks], "done": {}})
        journal._save()
        return journal

    @classmethod
    def load(cls, path, run):
        """The journal of an earlier run of the same kind, or an error that says in what it differs."""
        try:
            content = json.loads(path.read_text())
            stored, blocks = content["run"], [tuple(map(int, block)) for block in content["blocks"]]
            content["done"] = {str(int(index)): dict(counts) for index, counts in content["done"].items()}
            whole = all(0 <= int(index) < len(blocks) for index in content["done"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"{path} is not the record of a partial output ({type(error).__name__}); run without resume."
            ) from error
        differing = sorted(key for key in {*stored, *run} if stored.get(key) != json.loads(json.dumps(run.get(key))))
        if differing or not whole:
            raise ValueError(
                f"{path} belongs to another run (it differs in {', '.join(differing) or 'its blocks'}); resume with "
                "the same input and parameters, or run without resume to start anew."
            )
        return cls(path, content)

    @property
    def blocks(self):
        return [tuple(block) for block in self._content["blocks"]]

    @property
    def done(self):
        """Index of each finished block -> its counts."""
        return {int(index): counts for index, counts in self._content["done"].items()}

    def mark(self, index, counts):
        self._content["done"][str(index)] = {what: int(count) for what, count in counts.items()}
        self._save()

    def _save(self):
        draft = self._path.with_name(self._path.name + ".new")
        try:
            draft.write_text(json.dumps(self._content))
            os.replace(draft, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
