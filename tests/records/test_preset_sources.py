"""What is said of presets: a source for every setting that is not this package's own, and marks where they repeat mistakes."""

from dataclasses import fields

import pytest

from tokbench.records.preset_sources import HERE, PRESET_INFOS, preset_facts
from tokbench.records.protocol import PRESETS, Protocol

OWN = ("photos-64", "tokbench-256", "tokbench-512")
SETTINGS = {field.name for field in fields(Protocol)}


def test_every_preset_is_described_once_and_in_order():
    assert list(PRESET_INFOS) == list(PRESETS)
    assert len({info.purpose for info in PRESET_INFOS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_sources_bugs_and_doubts_are_of_settings_that_there_are(name):
    info = PRESET_INFOS[name]
    named = [setting for origin in info.origins for setting in origin.settings]
    assert set(named) <= SETTINGS
    assert len(named) == len(set(named))
    assert info.bugs.keys() <= set(named)
    for origin in info.origins:
        assert origin.verified == (not origin.why)
    assert bool(info.repository) == (name not in OWN)
    if name in OWN:
        assert not info.bugs
        assert not info.origins


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in OWN])
def test_whatever_differs_from_the_clean_default_has_a_source(name):
    clean, info = PRESETS["tokbench-256"], PRESET_INFOS[name]
    differing = {key for key in SETTINGS if getattr(PRESETS[name], key) != getattr(clean, key)} - {"name", "version", "data", "lpips_nets"}
    assert not [key for key in differing if info.origin(key).file == HERE]
    facts = preset_facts(name)
    assert facts["settings"].keys() == SETTINGS - {"name", "version"}
    assert facts["bug_compatible"].keys() == {key for key, value in facts["settings"].items() if value["bug"]}
    assert "@" in facts["repository"]
