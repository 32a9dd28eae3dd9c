"""What can be wrong with a data set: found case by case, reported all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from unimiss.data.cases import Case
from unimiss.errors import InputError

_TOLD = 50  # of one kind; a data set of the wrong masks has thousands

Acceptable = Literal["empty masks", "duplicates"]
Fault = Literal[
    "missing",
    "damaged",
    "unlabelled",
    "repeated",
    "patients",
    "entries",
    "dimensions",
    "geometry",
    "labels",
    "splits",
    Acceptable,
]
_LEFT_OUT: frozenset[Fault] = frozenset({"missing", "damaged", "unlabelled", "repeated", "patients"})


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Attributes
    ----------
    fault : str
        Its kind.
    text : str
        A sentence that names the file and says what was found.
    case : Case or None
        What is left out where the problem does not refuse the data set.
    """

    fault: Fault
    text: str
    case: Case | None = None


def refuse(name: object, problems: Sequence[Problem], accept: Collection[Acceptable]) -> None:
    """Refuse a data set with a list of everything that is wrong with it.

    Cases that are missing, damaged, without a label or repeated are no reason, for one bad case never stops
    the others; nor are lines that name no patient, nor faults in `accept`.

    Raises
    ------
    InputError
        One line for each problem.
    """
    serious = [one for one in problems if one.fault not in _LEFT_OUT and one.fault not in accept]
    if not serious:
        return
    lines = _told(serious)
    count = f"{len(serious)} problems" if len(serious) > 1 else "1 problem"
    raise InputError(f"{name} cannot be used, {count}:\n" + "\n".join(f"- {line}" for line in lines))


def leave_out(problems: Sequence[Problem], warn: Callable[[str], None]) -> frozenset[Case]:
    """Say what is left out, or accepted, and why; return the cases."""
    for line in _told(problems):
        warn(line)
    return frozenset(one.case for one in problems if one.case is not None)


def _told(problems: Sequence[Problem]) -> list[str]:
    """Sentences, of many alike only the first."""
    counts: Counter[Fault] = Counter()
    lines = []
    for one in problems:
        counts[one.fault] += 1
        if counts[one.fault] <= _TOLD:
            lines.append(one.text)
    more = {fault: count - _TOLD for fault, count in counts.items() if count > _TOLD}
    return lines + [f"and {count} more of the same kind ({fault})" for fault, count in more.items()]
