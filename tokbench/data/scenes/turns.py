"""Instructions as people give them in turns, put into the words of edits by rule: ``now larger`` names no thing, so it is of the one before.

::

    a small red circle at the top    ->                                    speaks of the red circle
    make the circle green            -> make the circle green              speaks of the green circle
    now larger                       -> make the green circle larger       speaks of the green circle
    add a large blue cross           -> add a large blue cross             speaks of the blue cross
    to the left                      -> put the blue cross at the left     speaks of the blue cross
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokbench.data.scenes.asked import LONGEST, SYNONYMS
from tokbench.data.scenes.scene import COLOURS, EXTENTS, FILLS, GROUNDS, PLACES, SHAPES
from tokbench.data.scenes.words import place_words
from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class Spoken:
    """A thing as it is spoken of.

    Args:
        colour: Its colour; None where it was not said.
        shape: Its shape; None where it was not said.

    Raises:
        ValueError: If neither was said.
    """

    colour: str | None = None
    shape: str | None = None

    def __post_init__(self) -> None:
        if self.colour is None and self.shape is None:
            raise ValueError("a thing is spoken of by its colour, its shape or both, got neither")

    @property
    def name(self) -> str:
        """What instructions call it: ``the red circle``, ``the circle`` or ``the red one``."""
        return " ".join(filter(None, ("the", self.colour, self.shape or "one")))


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation about a picture.

    Args:
        instruction: What is asked, in the words of edits.
        spoken: The things it speaks of, as they are called when it is done.
    """

    instruction: str
    spoken: tuple[Spoken, ...]


def spoken_in(text: str) -> tuple[Spoken, ...]:
    """Say which things a sentence names, in order and each once.

    Args:
        text: The sentence; what it says of their sizes, places and fills is passed over.
    """
    return _named_in(_plain(text))


def take_turn(instruction: str, spoken: Sequence[Spoken] = (), *, seen: Callable[[], Sequence[Spoken]] = lambda: ()) -> Turn:
    """Put an instruction into the words of edits, and say which things it speaks of.

    An instruction that names its thing stays as it is, without ``now`` or ``and`` before it. One that names none is of the thing of the turn
    before: ``now larger``, ``make it green``, ``to the top left``, ``remove it``. Where no thing was spoken of, it is of the only one in the
    picture. A new ground is of no thing. ``like the first image`` is of all of them.

    Args:
        instruction: What is asked.
        spoken: Things of the turn before, see ``Turn``; for a picture that was drawn from words, ``spoken_in`` of these.
        seen: Gives the things in the picture; called where none was spoken of.

    Raises:
        TokbenchError: If it is longer than ``LONGEST``. If it names no thing, and could be of several or of none, asks for more than one
            change, or has words that are none of this world.
    """
    said, spoken = instruction.strip(), tuple(spoken)
    if len(said) > LONGEST:
        raise TokbenchError(f"an instruction has at most {LONGEST} characters, got {len(said)}; shorten it")
    plain = _plain(said)
    if _LIKE.search(plain):
        return Turn(said, tuple(dict.fromkeys(Spoken(shape=thing.shape) for thing in spoken if thing.shape)))
    bare = _BEFORE.sub("", plain)
    if _PRONOUN.search(bare) and _BETWEEN.search(bare) and _named_in(bare):  # such as ``swap it and the square``
        bare = _PRONOUN.sub(_one_of(said, spoken or tuple(seen())).name, bare, count=1)
    if named := _named_in(bare):
        return _naming(said, bare, named)
    if re.search(r"\bground\b", bare) or _ON.match(bare):
        return Turn(_grounded(said, bare), spoken)
    return _of_the_one_before(said, bare, lambda: spoken or tuple(dict.fromkeys(seen())))


CHANGES = f"a colour ({', '.join(COLOURS)}), larger or smaller, a place ({', '.join(PLACES)}), remove it, or on a plain grey ground"
"""What may be asked of a thing that is not named, for errors."""

NAME_IT = "name the thing, as in 'make the circle green'"

_MEANT = frozenset((*SHAPES, *COLOURS, *EXTENTS, *GROUNDS, "middle", "ground"))
_WORDS = {
    **{word: meant for word, meant in SYNONYMS.items() if meant in _MEANT},
    **dict.fromkeys(("bigger", "greater"), "larger"),
    **dict.fromkeys(("tinier", "littler"), "smaller"),
    **dict.fromkeys(("delete", "erase"), "remove"),
    **dict.fromkeys(("upper",), "top"),
    **dict.fromkeys(("lower",), "bottom"),
}
"""Other words for those of instructions."""

_COLOUR, _SHAPE, _LOOK = "|".join(COLOURS), "|".join(SHAPES), "|".join((*EXTENTS, *FILLS))
_NAMED = re.compile(
    rf"\b(?P<article>(?:the|an?|another|one) )?(?:(?:{_LOOK}) )*"
    rf"(?:(?:(?P<colour>{_COLOUR}) )?(?:(?:{_LOOK}) )*(?P<shape>{_SHAPE})s?|(?P<hue>{_COLOUR}) one)\b"
)
"""A thing: an article, what it looks like, and its shape or ``one``."""

_BEFORE = re.compile(r"^(?:(?:and|now|then|next|so|but|please|also|ok|okay) )+")
"""What people say before an instruction."""

_LIKE = re.compile(r"\b(?:first|second) (?:image|picture)\b")
_PRONOUN = re.compile(r"\bit\b")
_SWAP = re.compile(r"\b(?:swap|exchange|trade)\b")
_BETWEEN = re.compile(r"\b(?:swap|exchange|trade|left of|right of|above|below|over|under)\b")
_REMOVE = re.compile(r"\b(?:remove|take\b.*\baway|leave\b.*\bout)\b")
_VERB = re.compile(r"\b(?:make|change|paint|colour|color|turn|move|put|let|swap|exchange|add|draw|give|should|remove|take|leave)\b")
_RESHAPE = re.compile(rf"\b(?:make|change|turn)\b.* (?:an?|another) (?:(?:{_LOOK}|{_COLOUR}) )*(?:{_SHAPE})\b")
_ON = re.compile(rf"on (?:an? )?(?:plain )?(?:{'|'.join(GROUNDS)}|photo)\b")
_PLACE = re.compile(rf"\b(?:(?:to|at|in|on|into) )?(?:the )?({'|'.join(sorted(PLACES, key=len, reverse=True))})\b")
_SIZE = re.compile(r"\b(?:larger|smaller|large|small)\b")
_FILLERS = frozenset(
    re.findall(
        r"[a-z]+",
        "it that this them both thing one the a an to at in on of with each other make paint turn colour color change move put give let get should "
        "be is become swap exchange trade places bit little much even and now then also again please too",
    )
)
"""Words beside a change that say nothing of what it is."""


def _plain(text: str) -> str:
    """Words in small letters, by the names that this world has for them."""
    return " ".join(_WORDS.get(word, word) for word in re.findall(r"[a-z]+", text.lower()))


def _named_in(plain: str) -> tuple[Spoken, ...]:
    found = (Spoken(match["colour"] or match["hue"], match["shape"]) for match in _NAMED.finditer(plain))
    return tuple(dict.fromkeys(found))


def _naming(said: str, bare: str, named: tuple[Spoken, ...]) -> Turn:
    """A turn whose instruction names its thing.

    Raises:
        TokbenchError: If it asks for another shape, which no edit gives.
    """
    if _RESHAPE.search(bare):
        raise TokbenchError(
            f"{_short(said)} asks for another shape, and things keep theirs; remove the thing and add another, or say {CHANGES}"
        )
    rest = " ".join(_NAMED.sub(" ", bare).split())
    if not _VERB.search(bare):  # such as ``a blue square at the top``, or ``the circle larger``
        new = _NAMED.match(bare)
        bare = f"add {bare}" if new is not None and new["article"] not in (None, "the ") else f"make {bare}"
    told = said if bare == _plain(said) else bare
    if _REMOVE.search(bare):
        return Turn(told, ())
    if len(named) > 1:
        return Turn(told, named if _SWAP.search(bare) or not _BETWEEN.search(bare) else named[:1])
    colour = next((word for word in rest.split() if word in COLOURS), named[0].colour)
    return Turn(told, (Spoken(colour, named[0].shape),))


def _grounded(said: str, bare: str) -> str:
    """The instruction for another ground.

    Raises:
        TokbenchError: If its colours are not told.
    """
    colours = [word for word in bare.split() if word in GROUNDS]
    if len(colours) == 1:
        return f"put it on a plain {colours[0]} ground"
    if len(colours) == 2:
        return f"put it on a ground that goes from {colours[0]} to {colours[1]}"
    raise TokbenchError(
        f"{_short(said)} does not say which ground; say one or two of {', '.join(GROUNDS)}, as in 'on a plain grey ground' or "
        "'on a ground that goes from grey to sand'"
    )


def _of_the_one_before(said: str, bare: str, things: Callable[[], tuple[Spoken, ...]]) -> Turn:
    """A turn whose instruction names no thing.

    Raises:
        TokbenchError: If it is not clear of which thing it is, or what it asks for.
    """
    elsewhere = _PLACE.sub(" ", bare)
    colours, places, sizes = [word for word in elsewhere.split() if word in COLOURS], _PLACE.findall(bare), _SIZE.findall(elsewhere)
    removes, swaps = bool(_REMOVE.search(bare)), bool(_SWAP.search(bare))
    known = {*_FILLERS, *colours, *sizes} | ({"remove", "take", "away", "leave", "out"} if removes else set())
    unknown = list(dict.fromkeys(word for word in elsewhere.split() if word not in known))
    changes = len(colours) + len(places) + len(sizes) + removes + swaps
    if unknown or not changes:
        why = f"{_listed(list(map(repr, unknown[:3])), 'and')} cannot be understood" if unknown else "it asks for no change"
        raise TokbenchError(f"{_short(said)} names no thing, and {why}; say {CHANGES}; or {NAME_IT}")
    if changes > 1:
        raise TokbenchError(f"{_short(said)} asks for {changes} changes; ask for one at a time")
    found = things()
    if swaps:
        if len(found) != 2:
            raise TokbenchError(f"{_short(said)} does not say which two things; name them, as in 'swap the red circle and the blue square'")
        return Turn(f"swap {found[0].name} and {found[1].name}", found)
    thing = _one_of(said, found)
    if removes:
        return Turn(f"remove {thing.name}", ())
    if colours:
        return Turn(f"make {thing.name} {colours[0]}", (Spoken(colours[0], thing.shape),))
    if sizes:
        return Turn(f"make {thing.name} {sizes[0]}", (thing,))
    return Turn(f"put {thing.name} {place_words(places[0])}", (thing,))


def _one_of(said: str, things: Sequence[Spoken]) -> Spoken:
    """The only thing.

    Raises:
        TokbenchError: If there are several, or none.
    """
    if len(things) > 1:
        raise TokbenchError(f"{_short(said)} does not say which thing: {_listed([thing.name for thing in things], 'or')}; {NAME_IT}")
    if not things:
        raise TokbenchError(f"{_short(said)} names no thing, and none is found in the picture; {NAME_IT}")
    return things[0]


def _listed(words: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _short(said: str) -> str:
    return repr(said if len(said) <= 60 else f"{said[:57]}...")
