"""Which Modelyard, as whom."""

import stat

import pytest

from webapp.interfaces.cli import profiles
from webapp.interfaces.cli.errors import Usage
from webapp.interfaces.cli.profiles import Profile, choose, load, save

HOME = Profile("http://home:8000", "my_home")
WORK = Profile("https://lab", "my_work")


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "deep" / "config.toml"
    save(file, "home", {"home": HOME, "wo rk": WORK})
    return file


def test_what_was_saved_is_loaded_and_only_its_owner_may_read_it(file):
    assert load(file) == ("home", {"home": HOME, "wo rk": WORK})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("wanted", "url", "environment", "chosen"),
    [
        ("", "", {}, HOME),
        ("wo rk", "", {}, WORK),
        ("", "", {"MODELYARD_PROFILE": "wo rk"}, WORK),
        ("", "", {"MODELYARD_API_KEY": "my_env"}, Profile(HOME.url, "my_env")),
        ("", "", {"MODELYARD_URL": "http://env", "MODELYARD_API_KEY": "my_env"}, Profile("http://env", "my_env")),
        ("wo rk", "", {"MODELYARD_URL": "http://env", "MODELYARD_API_KEY": "my_env"}, WORK),
        # A key goes to its own address only.
        ("", "", {"MODELYARD_URL": "http://elsewhere"}, Profile("http://elsewhere", "")),
        ("", "http://elsewhere/", {}, Profile("http://elsewhere", "")),
        ("wo rk", "http://elsewhere", {}, Profile("http://elsewhere", "")),
        ("", "https://lab/", {}, WORK),
    ],
)
def test_what_is_typed_wins_then_the_environment_then_the_file(file, wanted, url, environment, chosen):
    assert choose(file, wanted, url, environment) == chosen


def test_without_any_file_it_is_this_machine(tmp_path):
    assert choose(tmp_path / "none", environment={}) == Profile(profiles.DEFAULT_URL, "")


def test_a_broken_file_and_an_unknown_profile_are_said(file):
    with pytest.raises(Usage, match=r"no profile 'x' .*home, wo rk"):
        choose(file, "x", environment={})
    file.write_text("default = ")
    with pytest.raises(Usage, match="cannot be read"):
        load(file)


def test_a_key_is_not_shown_by_accident():
    assert "my_home" not in repr(HOME)
