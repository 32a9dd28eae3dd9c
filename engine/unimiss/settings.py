"""Typed configuration: one model validates YAML, the command line and the viewer's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from unimiss.errors import InputError

Auto = Literal["auto"]
"""A setting that is resolved from data and device, and then written down."""

T = TypeVar("T")


class Settings(BaseModel):
    """Base of all configurations; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def build(cls, values: dict[str, Any], source: str = "the settings") -> Self:
        """Validate `values`.

        Raises
        ------
        InputError
            One sentence that lists every setting that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            by_setting: dict[str, list[Any]] = {}
            for problem in error.errors():
                by_setting.setdefault(str((*problem["loc"], "")[0]), []).append(problem)
            told = "; ".join(_problem(problems, values) for problems in by_setting.values())
            raise InputError(f"{source} cannot be used: {told}") from error


def known(value: T | Auto) -> T:
    """Return the value of a setting that was resolved before."""
    if value == "auto":
        raise AssertionError("an 'auto' setting was used before it was resolved")
    return value


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises
    ------
    InputError
        It is missing, not YAML, or not a mapping of names to values.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{path} must hold settings as 'name: value' lines")
    return value or {}


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Turn ``name=value`` texts into settings; values are read as YAML."""
    values: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {text}: write it as name=value")
        try:
            values[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text}: the value is not valid YAML") from error
    return values


def _problem(problems: list[Any], values: dict[str, Any]) -> str:
    """Say what is wrong with one setting.

    A union reports each of its members: the one that was meant got furthest into the value, lacking
    nothing.
    """
    meant = [p for p in problems if p["loc"][-1:] != ("literal['auto']",)] or problems
    meant = [p for p in meant if p["type"] != "missing"] or meant
    problem = max(meant, key=lambda p: len(p["loc"]))
    name = _place(problem["loc"], values)
    if problem["type"] == "extra_forbidden":
        return f"there is no setting '{name}'"
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = f", found {problem['input']!r}"
    return f"{name}: {message[:1].lower()}{message[1:]}{found}" if name else message


def _place(location: tuple[int | str, ...], values: dict[str, Any]) -> str:
    """Name what a problem is about, without the names of types that a union puts between."""
    name, value = "", values  # type: str, Any
    for part in location:
        if isinstance(part, int):
            name, value = f"{name}[{part}]", value[part] if part < len(value) else None
        elif not name:
            name, value = part, values.get(part)
        elif isinstance(value, dict) and (part in value or part is location[-1]):
            name, value = f"{name}.{part}", value.get(part)
    return name
