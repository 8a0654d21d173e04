"""Frozen dataclasses as configuration: change fields by dotted name, from text or values; turn them into plain JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tokbench.errors import TokbenchError, unknown_name


def with_overrides(config: Any, overrides: Mapping[str, object]) -> Any:
    """Copy a frozen dataclass with some fields changed.

    Args:
        config: The dataclass; nested dataclasses are reached by dots.
        overrides: New values by dotted field name; text is parsed according to the field's type.

    Returns:
        The changed copy; its own validation has run.

    Raises:
        TokbenchError: If a field is unknown, or a value does not fit its type or the dataclass refuses it.
    """
    return _replace(config, {tuple(key.split(".")): (key, value) for key, value in overrides.items()})


def _replace(config: Any, overrides: dict[tuple[str, ...], tuple[str, object]]) -> Any:
    """Apply overrides by path; each comes with the key as it was given. What belongs together is changed and checked at once."""
    if not overrides:
        return config
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        path, (key, _) = next(iter(overrides.items()))
        raise TokbenchError(f"{key!r} cannot be set: {path[0]!r} is not part of a configuration")
    fields = [field.name for field in dataclasses.fields(config)]
    new: dict[str, object] = {}
    for name in dict.fromkeys(path[0] for path in overrides):
        below = {path[1:]: given for path, given in overrides.items() if path[0] == name}
        if name not in fields:
            path, (key, _) = next((path, given) for path, given in overrides.items() if path[0] == name)
            above = key.removesuffix(".".join(path))
            raise unknown_name("setting", key, [above + known for known in (*fields, *flat(plain(config)))])
        if ("kind",) in below and _kinds(get_type_hints(type(config))[name]):
            below[()] = below.pop(("kind",))
        if () in below:
            key, value = below.pop(())
            if value is None or value != getattr(getattr(config, name), "kind", None):  # else it is of that kind, and keeps its settings
                new[name] = _parse(value, get_type_hints(type(config))[name], key)
        if below:
            base = new.get(name, getattr(config, name))
            new[name] = _replace(_of_defaults(get_type_hints(type(config))[name]) if base is None else base, below)
    try:
        return dataclasses.replace(config, **new)
    except ValueError as error:
        given = ", ".join(f"{key}={value}" for key, value in overrides.values())
        raise TokbenchError(f"{given} is refused: {error}") from error


def _parse(value: object, kind: Any, key: str) -> object:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        for choice in args:
            if str(choice) == str(value):
                return choice
        raise TokbenchError(f"{key} is one of {', '.join(map(str, args))}; got {value!r}")
    if choices := _kinds(kind):
        if isinstance(value, tuple(choices.values())):
            return value
        if isinstance(value, str) and value in choices:
            return choices[value]()
        raise unknown_name(key, str(value), choices, hint=f"Its settings: {key}.NAME=VALUE")
    if origin in (types.UnionType, Union):
        if type(None) in args and (value is None or str(value).lower() == "none"):
            return None
        return _parse(value, _member(args, listed=isinstance(value, list | tuple)), key)
    if origin is tuple:
        parts = [part for part in value.strip("()[] ").split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise TokbenchError(f"{key} takes values separated by commas, got {value!r}")
        kinds = [args[0]] * len(parts) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(parts):
            raise TokbenchError(f"{key} takes {len(kinds)} values, got {len(parts)}")
        return tuple(_parse(part.strip() if isinstance(part, str) else part, item, key) for part, item in zip(parts, kinds, strict=True))
    return _scalar(value, kind, key)


def _of_defaults(hint: Any) -> Any:
    """What an optional dataclass is before its fields are set; None for any other type, and one that cannot be without them."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    if len(parts) != 1 or not dataclasses.is_dataclass(parts[0]) or not isinstance(parts[0], type):
        return None
    needed = [field for field in dataclasses.fields(parts[0]) if field.default is field.default_factory is dataclasses.MISSING]
    return None if needed else parts[0]()


def _member(parts: tuple[Any, ...], *, listed: bool) -> Any:
    """The type of a union that a value is read as: a tuple where several values are listed and the union has one, else the first."""
    given = [part for part in parts if part is not type(None)]
    tuples = [part for part in given if get_origin(part) is tuple]
    return tuples[0] if listed and tuples else given[0]


def _kinds(hint: Any) -> dict[str, type]:
    """The dataclasses of a union that tell themselves apart by their field ``kind``, by that; empty for any other type."""
    parts = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else ()
    return {str(part.kind): part for part in parts} if parts and all(hasattr(part, "kind") for part in parts) else {}


def _scalar(value: object, kind: Any, key: str) -> object:
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise TokbenchError(f"{key} takes true or false, got {value!r}")
    if kind in (int, float, str):
        try:
            parsed = kind(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TokbenchError(f"{key} takes a value of type {kind.__name__}, got {value!r}") from error
        if isinstance(value, bool) or (isinstance(value, float) and parsed != value):  # int(3.7) is 3
            raise TokbenchError(f"{key} takes a value of type {kind.__name__}, got {value!r}")
        return parsed
    if isinstance(value, kind):
        return value
    raise TokbenchError(f"{key} cannot be set as a whole; set its fields, e.g. {key}.field=value")


UNLESS_DEFAULT = {"unless_default": True}
"""Metadata of a field that is left out where it has its default: files without it are what they were before there was the field."""


def plain(value: Any) -> Any:
    """Turn dataclasses and tuples into what JSON can hold; infinity becomes the string ``inf``, NaN ``nan``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if not _left_out(field, value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _left_out(field: dataclasses.Field[Any], value: Any) -> bool:
    return bool(field.metadata.get("unless_default")) and getattr(value, field.name) == field.default


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested settings with dotted names, as ``with_overrides`` takes them; lists become text with commas."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found


def differences(there: Any, here: Any) -> str:
    """Name what differs between two values of one kind.

    Args:
        there: A dataclass or mapping.
        here: Another one.

    Returns:
        Up to four settings with both values; empty if they are equal.
    """
    old, new = flat(plain(there)), flat(plain(here))
    longer = max(old, new, key=len)  # names what only one of them has where it belongs
    different = [key for key in dict.fromkeys([*longer, *old, *new]) if old.get(key) != new.get(key)]
    parts = [f"{key} is {_short(old.get(key))} there and {_short(new.get(key))} here" for key in different[:4]]
    more = len(different) - len(parts)
    return "; ".join(parts) + (f"; {more} more" if more else "")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


def canonical_json(value: Any) -> str:
    """One line of JSON that is equal for equal values, for digests."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def build(kind: Any, value: Any, where: str = "") -> Any:
    """Make a value of some annotated type from plain JSON, the reverse of ``plain``; objects may hold more than their dataclass knows.

    Args:
        kind: A dataclass, or the type of a field: a plain type, a literal, an optional, a tuple, or a dict of text to one of these.
        value: What JSON held.
        where: What to call it in errors.

    Returns:
        The value; whatever validates a dataclass at birth has run.

    Raises:
        ValueError: If something is missing, of another type, or refused by a dataclass; the text says which.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if choices := _kinds(kind):
        name = _of_kind(dict, value, where).get("kind")
        if name not in choices:
            raise ValueError(f"{_below(where, 'kind')} is {str(name)[:40]!r}, not one of {', '.join(choices)}")
        return build(choices[name], value, where)
    if origin in (types.UnionType, Union):
        return None if value is None and type(None) in args else build(_member(args, listed=type(value) is list), value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, _of_kind(dict, value, where), where)
    if origin is tuple:
        items = _of_kind(list, value, where)
        kinds = [args[0]] * len(items) if args[-1] is Ellipsis else args
        if len(kinds) != len(items):
            raise ValueError(f"{where or 'it'} has {len(items)} values, not {len(kinds)}")
        return tuple(build(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(kinds, items, strict=True)))
    if origin is dict:
        return {key: build(args[1], item, _below(where, key)) for key, item in _of_kind(dict, value, where).items()}
    if origin is Literal:
        if _of_kind(type(args[0]), value, where) not in args:
            raise ValueError(f"{where} is {str(value)[:40]!r}, not {' or '.join(map(repr, args))}")
        return value
    if kind is float and value in ("inf", "-inf", "nan"):
        return float(value)
    if kind is float and type(value) is int:
        return float(value)
    return _of_kind(kind, value, where)


def _build_dataclass(kind: type, values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    for field in fields:
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"it has no {_below(where, field.name)}")
    found = {
        field.name: build(hints[field.name], values[field.name], _below(where, field.name)) for field in fields if field.name in values
    }
    try:
        return kind(**found)
    except ValueError as error:
        words = str(error) if len(str(error)) <= MOST_WORDS else f"{str(error)[:MOST_WORDS]}..."
        raise ValueError(f"{where}: {words}" if where else words) from error


MOST_WORDS = 300
"""Characters of what a dataclass says when it refuses its values, which it may repeat."""


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _of_kind(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:
        given = repr(value) if isinstance(value, int | float) else _WORDS.get(type(value), type(value).__name__)
        raise ValueError(f"{where or 'it'} is {given}, not {_WORDS.get(kind, kind.__name__)}")
    return value
