"""Values of options are replaced by the names of the options wherever they turn up."""

from __future__ import annotations

import json

import pytest

from aerodrome.domain.masking import mask, mask_all


def masked(text: str, **options: str) -> str:
    return mask(text, [(name.replace("__", "."), value) for name, value in options.items()])


def test_a_value_becomes_the_name_of_its_option() -> None:
    text = 'Failed to convert value to int. Current value: "correct horse".'
    expected = 'Failed to convert value to int. Current value: "<core.parallelism>".'
    assert masked(text, core__parallelism="correct horse") == expected


@pytest.mark.parametrize(
    "value", ["True", "none", "WARNING", "critical", "1234567890", "5,5", "0.5", "many", "utc", "webserver"]
)
def test_what_hides_nothing_is_told(value: str) -> None:
    assert masked(f"it is {value} here", core__thing=value) == f"it is {value} here"


@pytest.mark.parametrize(
    "option", ["smtp__smtp_password", "mine__api_token", "mine__dsn", "mine__secret", "fab__api_key"]
)
def test_of_an_option_that_speaks_of_a_secret_short_values_too(option: str) -> None:
    assert masked("it is hunt here", **{option: "hunt"}) == f"it is <{option.replace('__', '.')}> here"


def test_texts_within_json_and_passwords_within_urls() -> None:
    kwargs = json.dumps({"url": "https://vault.example", "nested": [{"token": "abcd"}], "aws": "x", "n": 12345678})
    found = masked("GET https://vault.example with abcd failed, x 12345678", secrets__backend_kwargs=kwargs)
    assert found == "GET <secrets.backend_kwargs> with <secrets.backend_kwargs> failed, x 12345678"
    assert masked("(pw12) refused", sentry__place="https://me:pw12@sentry.example/7") == "(<sentry.place>) refused"


def test_as_python_and_json_spell_them() -> None:
    value = 'back\\slash and "quotes"'
    for text in (value, repr(value)[1:-1], json.dumps(value)[1:-1]):
        assert masked(f"[{text}]", mine__thing=value) == "[<mine.thing>]"


def test_what_is_left_of_a_secret_that_was_cut() -> None:
    text = "last words: it was hunter2-and-then-s; it was hunter2-an"
    expected = "last words: it was <mine.password>; it was <mine.password>"
    assert masked(text, mine__password="hunter2-and-then-some") == expected
    assert masked("it was correct hor", mine__words="correct horse") == "it was correct hor", "no secret by its name"


def test_numbers_may_be_secrets() -> None:
    assert masked("it is 83920193", mine__token="83920193") == "it is <mine.token>"


def test_a_value_within_another_does_not_show_the_rest() -> None:
    found = masked("it was long-secret-one", mine__a="long-secret", mine__b="long-secret-one")
    assert found == "it was <mine.b>"


@pytest.mark.parametrize("value", ["{not json at all", "[" * 5000, "https://[broken", "", "   "])
def test_odd_values_break_nothing(value: str) -> None:
    assert masked("a text", mine__thing=value) == "a text"


def test_all_texts_in_data_but_not_their_names() -> None:
    data = {"detail": "it is swordfish-1", "steps": ["swordfish-1", 7, None], "swordfish-1": True}
    expected = {"detail": "it is <mine.a>", "steps": ["<mine.a>", 7, None], "swordfish-1": True}
    assert mask_all(data, [("mine.a", "swordfish-1")]) == expected
