"""One version of an object to a file: whole, or not there."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import closing
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.content.archive import amount
from aerodrome.content.s3 import S3, error_code, explain
from aerodrome.domain.products import Source
from aerodrome.errors import Permanent, Temporary
from aerodrome.files import sync_directory

_CHUNK = 1 << 20
# S3 about a version that isn't there, can't be one, or is a delete marker.
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "InvalidArgument", "MethodNotAllowed", "404", "405"})


def fetch(s3: S3, source: Source, target: Path, most: int, mode: int = 0o600, group: int | None = None) -> None:
    """Write the object to `target`, whose folder is there. `most`: bytes that it may have. Blocking.

    One call at a time for each target; what a call that was killed left is written over.

    Raises:
        Permanent: there is no such version, the role may not read it, or it is too large.
        Temporary: S3 is away, the connection broke, or the disk is full; StaleCredentials when they ran out.
    """
    aside = target.with_name(f".{target.name}.new")
    try:
        _download(s3, source, aside, most)
        aside.chmod(mode)
        if group is not None:
            os.chown(aside, 0, group)
        aside.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        free = " Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise Temporary(f"{source.key} can't be written to {target}: {error.strerror}.{free}", 10) from error
    finally:
        aside.unlink(missing_ok=True)


def _download(s3: S3, source: Source, aside: Path, most: int) -> None:
    where = f"version {source.version} of {source.bucket}/{source.key}"
    try:
        answer = s3.get_object(Bucket=source.bucket, Key=source.key, VersionId=source.version)
        size = int(answer["ContentLength"])
        if size > most:
            answer["Body"].close()
            raise Permanent(f"{source.key} was not fetched: it has {amount(size)}, and {amount(most)} is the most.")
        with closing(answer["Body"]) as body, aside.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            shutil.copyfileobj(body, file, _CHUNK)
            file.flush()
            os.fsync(file.fileno())
    except ClientError as error:
        if error_code(error) in _GONE:
            raise Permanent(f"There is no {where} any more; update the environment to one that exists.") from error
        if error_code(error) == "AccessDenied":
            raise Permanent(
                f"The execution role may not read {where}; allow s3:GetObject and s3:GetObjectVersion."
            ) from error
        raise explain(error, source.bucket) from error
    except BotoCoreError as error:
        raise explain(error, source.bucket) from error
    if aside.stat().st_size != size:
        raise Temporary(
            f"S3 sent {aside.stat().st_size} of {size} bytes of {source.bucket}/{source.key}; trying again."
        )
