"""Large JSON files without loading them: where every record lies, and one record at a time."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError

CHUNK_BYTES = 1 << 20
# A single record above this is no record of any of these data sets.
MAX_RECORD_BYTES = 1 << 28
_SPACE = re.compile(r"[ \t\r\n]*")


def load_json(path: Path) -> Any:
    """A small JSON file.

    Raises:
        UserError: missing, or not valid JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is --data-path the right folder?") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); fetch it again.") from None


class Spans:
    """The elements of a JSON list, or of the lists that are the values of a JSON object, read one at a time.

    Args:
        path: the file; one pass over it finds the places, 16 bytes of memory per record.
        note: what to remember of each record (its id, say).

    Attributes:
        groups: key of the list that each record is in, None in a file that is one list.
        notes: value of ``note`` for each record.

    Raises:
        UserError: missing, or neither form.
    """

    def __init__(self, path: Path, note: Callable[[Any], Any] = lambda record: None) -> None:
        self.path = path
        self.groups: list[str | None] = []
        self.notes: list[Any] = []
        self._starts, self._sizes = array("Q"), array("Q")
        try:
            for group, start, size, value in _scan(path):
                self.groups.append(group)
                self.notes.append(note(value))
                self._starts.append(start)
                self._sizes.append(size)
        except FileNotFoundError:
            raise UserError(f"{path} is missing; is --data-path the right folder?") from None
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON ({error}); fetch it again.") from None

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: int) -> Any:
        with self.path.open("rb") as stream:
            stream.seek(self._starts[i])
            return json.loads(stream.read(self._sizes[i]))


class LineSpans(Sequence[Any]):
    """The same for a file with one JSON value per line; empty lines are skipped.

    Raises:
        UserError: missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q")
        at = 0
        try:
            with path.open("rb") as stream:
                for line in stream:
                    if line.strip():
                        self._starts.append(at)
                    at += len(line)
        except FileNotFoundError:
            raise UserError(f"{path} is missing; is --data-path the right folder?") from None

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: Any) -> Any:
        with self.path.open("rb") as stream:
            stream.seek(self._starts[i])
            try:
                return json.loads(stream.readline())
            except ValueError:
                raise UserError(f"{self.path.name}, record {i + 1}: not valid JSON; fetch the file again.") from None


class _Text:
    """A window on a file, as Latin-1 text: one character is one byte, and JSON's own signs are ASCII."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self.text, self.base, self.at, self.ended = "", 0, 0, False

    def close(self) -> None:
        self._stream.close()

    def more(self) -> bool:
        """Drop what lies behind, read on; False at the end of the file."""
        chunk = self._stream.read(max(CHUNK_BYTES, len(self.text) - self.at))
        self.ended = not chunk
        self.base += self.at
        self.text = self.text[self.at :] + chunk.decode("latin-1")
        self.at = 0
        return not self.ended

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def expect(self, sign: str) -> None:
        """Step over one character.

        Raises:
            ValueError: another one stands there.
        """
        found = self.peek()
        if found != sign:
            raise ValueError(f"expected {sign!r} at byte {self.base + self.at}, found {found or 'the end'!r}")
        self.at += 1

    def value(self) -> tuple[Any, int, int]:
        """The next value, its first byte and its length in bytes.

        Raises:
            ValueError: no valid JSON.
        """
        self.peek()
        decoder = json.JSONDecoder()
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:  # a number at the edge could go on
                    break
                if not self.more():
                    continue
            except (ValueError, RecursionError) as error:
                if len(self.text) - self.at > MAX_RECORD_BYTES or not self.more():
                    raise ValueError(f"no value at byte {self.base + self.at}: {error}") from None
        start, size = self.base + self.at, end - self.at
        written = self.text[self.at : end]
        if not written.isascii():
            value = json.loads(written.encode("latin-1"))
        self.at = end
        return value, start, size


def _scan(path: Path) -> Iterator[tuple[str | None, int, int, Any]]:
    text = _Text(path)
    try:
        if text.peek() == "[":
            yield from ((None, *element) for element in _elements(text))
        else:
            text.expect("{")
            while text.peek() != "}":
                key, _, _ = text.value()
                text.expect(":")
                yield from ((str(key), *element) for element in _elements(text))
                if text.peek() == ",":
                    text.at += 1
            text.expect("}")
        if text.peek():
            raise ValueError(f"text after the end, at byte {text.base + text.at}")
    finally:
        text.close()


def _elements(text: _Text) -> Iterator[tuple[int, int, Any]]:
    text.expect("[")
    if text.peek() == "]":
        text.at += 1
        return
    while True:
        value, start, size = text.value()
        yield start, size, value
        if text.peek() != ",":
            break
        text.at += 1
    text.expect("]")
