"""Error texts: what was given, what is allowed, what to do next; always one line."""

from __future__ import annotations

import pytest

from tokbench.errors import LONGEST_MESSAGE, TokbenchError, missing_extra, unknown_name


def test_a_message_is_one_line() -> None:
    assert str(TokbenchError("a long\n    message \t here ")) == "a long message here"


@pytest.mark.parametrize("given", ["x" * 5000, "x y " * 1250, "\x1b[31m" * 1000, "\u65e5" * 5000, "/".join(["folder"] * 800)])
def test_what_is_given_is_not_repeated_at_any_length(given: str) -> None:
    for error in (unknown_name("tokenizer", given, ["vqgan"], hint="See: tokbench list"), TokbenchError(f"no file at {given}; see --help")):
        assert len(str(error)) <= LONGEST_MESSAGE
        assert str(error).startswith(("unknown tokenizer", "no file at"))
        assert str(error).endswith(("See: tokbench list", "see --help"))
        assert "..." in str(error)


def test_a_long_path_is_named_whole() -> None:
    path = "/".join(["folder"] * 80)
    assert str(TokbenchError(f"no file at {path}; give one")) == f"no file at {path}; give one"


def test_near_names_are_proposed() -> None:
    error = unknown_name("tokenizer", "vqgam", ["vqgan", "vqvae", "pixel"], hint="See: tokbench list")
    assert str(error) == "unknown tokenizer 'vqgam'; did you mean vqgan or vqvae? See: tokbench list"


def test_without_a_near_name_few_are_listed_and_many_counted() -> None:
    assert str(unknown_name("metric", "zzz", ["psnr", "fid"])) == "unknown metric 'zzz'; allowed: fid, psnr."
    assert str(unknown_name("metric", "zzz", [])) == "unknown metric 'zzz'; allowed: none."
    many = (f"name{i:02d}" for i in range(20))
    assert str(unknown_name("metric", "?", many)) == "unknown metric '?'; there are 20, such as name00, name01, name02, name03, name04."


def test_a_missing_package_comes_with_the_command_that_installs_it() -> None:
    assert str(missing_extra("datasets", "hf", "a Hugging Face data set")) == (
        "a Hugging Face data set needs the package datasets, which is not installed; install it with: pip install 'tokbench[hf]'"
    )
