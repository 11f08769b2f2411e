"""`DataReport`: what `check` found, as objects, as a table, and as an error where need be."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cnnkit._files import atomic_path
from cnnkit.errors import CnnkitWarning, DataError
from cnnkit.types import PathLike

__all__ = ["DataReport", "Finding", "PartSummary", "Sample", "Severity", "counted"]

#: "error": figures measured on this data would be wrong. "warning": they may be. "note": worth
#: knowing.
Severity = Literal["error", "warning", "note"]

_FORMAT = 1
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_SHOWN = 3  # examples of each finding in a table or message; `groups` has all


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun.

    Example:
        >>> counted(1, "image"), counted(1200, "image"), counted(2, "class", "classes")
        ('1 image', '1,200 images', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


@dataclass(frozen=True)
class Sample:
    """One sample that a finding is about.

    Args:
        part: The name of its part or data set.
        index: Where it stands in the whole that the part was split from.
        label: Its class.
        path: Its file, where there is one.
        remark: What there is to say of it alone: why it cannot be read, its size, its mode.
    """

    part: str
    index: int
    label: str
    path: str | None = None
    remark: str = ""

    def __str__(self) -> str:
        name = f"{self.part}[{self.index}]" if self.path is None else f"{self.part}: {self.path}"
        return f"{name} ({self.label})" + (f", {self.remark}" if self.remark else "")


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Args:
        severity: "error", "warning" or "note".
        kind: A short name, such as "unreadable" or "same image across parts".
        message: What is the matter, in numbers, and what to do.
        groups: The samples concerned. Where it is about copies a group is one picture, else each
            group is one sample.
    """

    severity: Severity
    kind: str
    message: str
    groups: tuple[tuple[Sample, ...], ...] = ()

    def lines(self) -> list[str]:
        """The message, and the first of the samples below it."""
        sign = " ≈ " if self.kind.startswith("near") else " = "
        examples = [sign.join(map(str, group[:_SHOWN])) for group in self.groups[:_SHOWN]]
        more = len(self.groups) - len(examples)
        return [
            f"{self.kind}: {self.message}",
            *(f"    {example}" for example in examples),
            *([f"    … and {more:,} more"] if more else []),
        ]


@dataclass(frozen=True)
class PartSummary:
    """One part or data set that was checked.

    Args:
        name: "train", "val", "test", the name it was given, or "data set 1", ….
        images: How many samples it has.
        classes: How many classes it names.
        unreadable: How many of its samples cannot be read.
    """

    name: str
    images: int
    classes: int
    unreadable: int


class DataReport:
    """What `check` found; printing it gives a table.

    Args:
        parts: What was checked.
        findings: What was found.
        groups: For each sample, in the order of the parts, a number that is equal for copies of
            one picture.

    Example:
        >>> twice = Sample("train", 3, "cat"), Sample("test", 8, "cat")
        >>> found = Finding("error", "same image across parts", "1 picture.", (twice,))
        >>> report = DataReport([PartSummary("train", 10, 2, 0)], [found], range(10))
        >>> print(report)
        part          images  classes  unreadable
        train             10        2           0
        <BLANKLINE>
        error    same image across parts: 1 picture.
                     train[3] (cat) = test[8] (cat)
        1 error, 0 warnings, 0 notes
        >>> report.ok, [finding.kind for finding in report.errors]
        (False, ['same image across parts'])
    """

    def __init__(
        self,
        parts: Sequence[PartSummary],
        findings: Sequence[Finding],
        groups: Sequence[int],
    ) -> None:
        self.parts = tuple(parts)
        self.findings = tuple(
            finding for level in _SEVERITIES for finding in findings if finding.severity == level
        )
        #: Hand those of a whole data set to ``train_val_split(ds, groups=...)``: copies then go to
        #: the same part.
        self.groups = list(groups)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes figures wrong that are measured on this data."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may make them wrong."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return self._of("note")

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings."""
        return not self.errors

    def raise_for_errors(self) -> None:
        """Stop here where the data has errors; warn of what is suspicious.

        Raises:
            DataError: There are errors; the message lists them with the first samples of each.
        """
        if self.errors:
            lines = [line for finding in self.errors for line in finding.lines()]
            raise DataError(
                f"the data has errors of {counted(len(self.errors), 'kind')} (`errors` of the "
                "report has every sample, printing it shows warnings as well):\n" + "\n".join(lines)
            )
        if self.warnings:
            found = "; ".join(f"{finding.kind}: {finding.message}" for finding in self.warnings)
            warnings.warn(f"check found {found}", CnnkitWarning, stacklevel=2)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like, with every sample of every finding."""
        return {
            "format": _FORMAT,
            "ok": self.ok,
            "parts": [asdict(part) for part in self.parts],
            "findings": [
                {
                    "severity": finding.severity,
                    "kind": finding.kind,
                    "message": finding.message,
                    "groups": [[asdict(sample) for sample in group] for group in finding.groups],
                }
                for finding in self.findings
            ],
            "groups": self.groups,
        }

    def to_json(self, path: PathLike | None = None) -> str:
        """The report as JSON text, also written to `path` where one is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        if path is not None:
            with atomic_path(path) as temporary:
                # The names of files need not be text: JSON has an escape for what is none.
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        return text

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def __str__(self) -> str:
        width = max([12, *(len(part.name) for part in self.parts)])
        lines = [f"{'part':{width}} {'images':>7} {'classes':>8} {'unreadable':>11}"]
        lines += [
            f"{part.name:{width}} {part.images:>7,} {part.classes:>8} {part.unreadable:>11}"
            for part in self.parts
        ]
        lines.append("")
        for finding in self.findings:
            first, *rest = finding.lines()
            lines += [f"{finding.severity:8} {first}", *(f"{'':8} {line}" for line in rest)]
        numbers = (counted(len(self._of(level)), level) for level in _SEVERITIES)
        return "\n".join([*lines, ", ".join(numbers)])

    def __repr__(self) -> str:
        numbers = (f"{level}s={len(self._of(level))}" for level in _SEVERITIES)
        return f"DataReport({', '.join(numbers)})"
