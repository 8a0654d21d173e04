"""Pickles read as data: an own machine for pickle's instructions, which never imports, calls or builds what a file names.

    bytes -> instructions -> stack -> plain containers, numbers, text
                               |
                               |-- a name of ``Vocabulary``: this package's own constant or function
                               +-- any other name: a Global; whatever the file makes of one: an Inert

Python's own unpickler, even with ``find_class`` restricted, calls what the file asks for with the file's arguments. Here a name
is only text: REDUCE, NEWOBJ and BUILD look it up in a fixed table, and outside of it they make a lifeless stand-in.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from tokbench.weights.torchfile.words import (
    ARMED,
    CONTAINERS,
    MAX_ARGUMENTS,
    PLAIN,
    Global,
    Inert,
    Unreadable,
    Vocabulary,
    kind_of,
    plain_key,
    printable,
)

MAX_STEPS = 5_000_000
"""Instructions a pickle may have: a tensor takes some 35, one with its optimizer's state 130."""


def read_pickle(data: bytes | bytearray | mmap, start: int, end: int, words: Vocabulary = PLAIN) -> tuple[Any, int]:
    """Read one pickle of protocol 2 to 5.

    Args:
        data: Holds the pickle.
        start: Where it begins.
        end: It must end before.
        words: Names with a meaning; all others are inert.

    Returns:
        The content, and where the pickle ended. Keys of mappings and members of sets that are no plain scalars become inert.

    Raises:
        Unreadable: If it is damaged, longer than ``MAX_STEPS``, or names what only an attack would name.
    """
    machine = _Machine(data, start, end, words)
    try:
        return machine.run(), machine.position
    except Unreadable:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, struct.error) as error:
        raise Unreadable(f"its pickle is damaged at byte {machine.position - start}") from error


class _Machine:
    def __init__(self, data: bytes | bytearray | mmap, start: int, end: int, words: Vocabulary) -> None:
        self.data, self.position, self.end, self.words = data, start, end, words
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, object] = {}
        self.steps = MAX_STEPS

    def run(self) -> Any:
        while True:
            self.spend(1)
            code = self.take(1)[0]
            if code == pickle.STOP[0]:
                return self.stack[-1]
            if code not in _STEPS:
                raise Unreadable(f"its pickle has an instruction (0x{code:02x}) that weights do not need")
            _STEPS[code](self)

    def spend(self, count: int) -> None:
        self.steps -= count
        if self.steps < 0:
            raise Unreadable(f"its pickle has more than {MAX_STEPS} instructions")

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > self.end:
            raise Unreadable("its pickle ends early")
        return bytes(self.data[start : self.position])

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_to_mark()

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def bundle(self, count: int) -> None:
        self.stack[-count:] = [_of(self.stack, count)]

    def frame(self) -> None:
        self.take(8)

    def protocol(self) -> None:
        if self.take(1)[0] > 5:
            raise Unreadable("its pickle has a protocol above 5")

    def name(self, module: str, name: str) -> None:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if ARMED.fullmatch(full):
            raise Unreadable(f"it names {printable(full)}, which has no place in a weights file")
        if full not in self.globals:
            self.globals[full] = self.words.constants[full] if full in self.words.constants else Global(full)
        self.push(self.globals[full])

    def line(self) -> str:
        stop = self.data.find(b"\n", self.position, self.end)
        return self.take(stop + 1 - self.position)[:-1].decode() if stop >= 0 else self.take(self.end).decode()

    def global_lines(self) -> None:
        self.name(self.line(), self.line())

    def global_stack(self) -> None:
        module, name = _of(self.stack, 2)
        if type(module) is not str or type(name) is not str:
            raise Unreadable("its pickle has a name that is no text")
        del self.stack[-2:]
        self.name(module, name)

    def call(self) -> None:
        function, arguments = _of(self.stack, 2)
        self.stack[-2:] = [self.result(function, arguments)]

    def call_with_names(self) -> None:
        function, arguments, named = _of(self.stack, 3)
        plain = type(named) is dict and not named
        self.stack[-3:] = [self.result(function, arguments) if plain else Inert(kind_of(function))]

    def result(self, function: object, arguments: object) -> object:
        if type(function) is not Global or type(arguments) is not tuple or len(arguments) > MAX_ARGUMENTS:
            return Inert(kind_of(function))
        if function.name in CONTAINERS:
            self.spend(sum(len(value) for value in arguments if type(value) in (list, tuple, dict)))
            return CONTAINERS[function.name](*arguments)
        if function.name in self.words.functions:
            return self.words.functions[function.name](*arguments)
        return Inert(function.name)

    def build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is Inert:  # state of anything else, such as the metadata of a state dict, is not needed
            self.stack[-1].state = state

    def persistent(self) -> None:
        self.push(self.words.persistent(self.stack.pop()))

    def append(self, items: list[Any]) -> None:
        self.only(list, lambda target: target.extend(items))

    def add(self, items: list[Any]) -> None:
        self.only(set, lambda target: target.update(map(plain_key, items)))

    def set_items(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        self.only(dict, lambda target: target.update((plain_key(key), value) for key, value in pairs))

    def only(self, kind: type, change: Callable[[Any], None]) -> None:
        target = self.stack[-1]
        if type(target) is kind:
            change(target)
        elif type(target) is not Inert:
            raise Unreadable(f"its pickle fills a {type(target).__name__} as a {kind.__name__}")

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def last(self, count: int) -> list[Any]:
        items = list(_of(self.stack, count))
        del self.stack[-count:]
        return items


def _of(stack: list[Any], count: int) -> tuple[Any, ...]:
    if len(stack) < count:
        raise Unreadable("its pickle takes more than it has")
    return tuple(stack[-count:])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _old_text(data: bytes) -> str:
    return data.decode("latin-1")  # of Python 2: names are ASCII, the rest is of no interest


def _constant(make: Callable[[], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(make())


def _number(form: str) -> Callable[[_Machine], None]:
    reader = struct.Struct(form)
    return lambda machine: machine.push(reader.unpack(machine.take(reader.size))[0])


def _sized(size: int, decode: Callable[[bytes], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(decode(machine.take(int.from_bytes(machine.take(size), "little"))))


def _recall(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.memo[int.from_bytes(machine.take(size), "little")])


def _store(size: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.remember(int.from_bytes(machine.take(size), "little"))


_STEPS: dict[int, Callable[[_Machine], None]] = {
    code[0]: step
    for code, step in (
        (pickle.PROTO, _Machine.protocol),
        (pickle.FRAME, _Machine.frame),
        (pickle.NONE, _constant(lambda: None)),
        (pickle.NEWTRUE, _constant(lambda: True)),
        (pickle.NEWFALSE, _constant(lambda: False)),
        (pickle.EMPTY_TUPLE, _constant(tuple)),
        (pickle.EMPTY_LIST, _constant(list)),
        (pickle.EMPTY_DICT, _constant(dict)),
        (pickle.EMPTY_SET, _constant(set)),
        (pickle.BININT, _number("<i")),
        (pickle.BININT1, _number("<B")),
        (pickle.BININT2, _number("<H")),
        (pickle.BINFLOAT, _number(">d")),
        (pickle.LONG1, _sized(1, pickle.decode_long)),
        (pickle.LONG4, _sized(4, pickle.decode_long)),
        (pickle.SHORT_BINUNICODE, _sized(1, _text)),
        (pickle.BINUNICODE, _sized(4, _text)),
        (pickle.BINUNICODE8, _sized(8, _text)),
        (pickle.SHORT_BINSTRING, _sized(1, _old_text)),
        (pickle.BINSTRING, _sized(4, _old_text)),
        (pickle.SHORT_BINBYTES, _sized(1, bytes)),
        (pickle.BINBYTES, _sized(4, bytes)),
        (pickle.BINBYTES8, _sized(8, bytes)),
        (pickle.BYTEARRAY8, _sized(8, bytes)),
        (pickle.BINGET, _recall(1)),
        (pickle.LONG_BINGET, _recall(4)),
        (pickle.BINPUT, _store(1)),
        (pickle.LONG_BINPUT, _store(4)),
        (pickle.MEMOIZE, lambda machine: machine.remember(len(machine.memo))),
        (pickle.MARK, _Machine.mark),
        (pickle.POP, _Machine.pop),
        (pickle.POP_MARK, _Machine.drop_to_mark),
        (pickle.DUP, lambda machine: machine.push(machine.stack[-1])),
        (pickle.TUPLE1, lambda machine: machine.bundle(1)),
        (pickle.TUPLE2, lambda machine: machine.bundle(2)),
        (pickle.TUPLE3, lambda machine: machine.bundle(3)),
        (pickle.TUPLE, lambda machine: machine.push(tuple(machine.pop_to_mark()))),
        (pickle.FROZENSET, lambda machine: machine.push(frozenset(map(plain_key, machine.pop_to_mark())))),
        (pickle.APPEND, lambda machine: machine.append(machine.last(1))),
        (pickle.APPENDS, lambda machine: machine.append(machine.pop_to_mark())),
        (pickle.ADDITEMS, lambda machine: machine.add(machine.pop_to_mark())),
        (pickle.SETITEM, lambda machine: machine.set_items(machine.last(2))),
        (pickle.SETITEMS, lambda machine: machine.set_items(machine.pop_to_mark())),
        (pickle.GLOBAL, _Machine.global_lines),
        (pickle.STACK_GLOBAL, _Machine.global_stack),
        (pickle.REDUCE, _Machine.call),
        (pickle.NEWOBJ, _Machine.call),
        (pickle.NEWOBJ_EX, _Machine.call_with_names),
        (pickle.BUILD, _Machine.build),
        (pickle.BINPERSID, _Machine.persistent),
    )
}
