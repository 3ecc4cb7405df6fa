"""`regreen simulate`: reproducible by its seed, as a table, as JSON, as a picture."""

import json

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.domain.errors import ConfigError


@pytest.fixture
def simulate():
    """Return what the command prints for these options."""

    def simulate(*options):
        done = CliRunner().invoke(app, ["simulate", "--plays", "1", *options])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return simulate


def test_the_same_seed_gives_the_same_report(simulate):
    options = ("--scenario", "flapping", "--json")
    assert simulate(*options, "--seed", "4") == simulate(*options, "--seed", "4")
    assert simulate(*options, "--seed", "4") != simulate(*options, "--seed", "5")


def test_the_report_holds_the_measures_and_the_targets(simulate):
    report = json.loads(simulate("--scenario", "outage", "--json"))
    (by_strategy,) = report["strategies"].values()
    measures = by_strategy["scenarios"]["outage"]
    assert measures == by_strategy["all"]
    assert measures["done"] == measures["tasks"] > 300
    assert 0.99 < measures["availability"] <= 1
    assert by_strategy["targets"] == {
        "availability": True,
        "completion": True,
        "switch_success": True,
        "mean_recovery_s": True,
        "needless_switches": True,
    }


def test_a_table_for_people(simulate):
    shown = simulate("--scenario", "outage")
    assert "outage" in shown
    assert "availability   ≥ 99.5%  met" in shown


def test_all_strategies_beside_one_another(simulate):
    shown = simulate("--scenario", "hang", "--strategy", "all", "--json")
    assert len(json.loads(shown)["strategies"]) == 7
    for_people = simulate("--scenario", "calm", "--strategy", "all", "--plays", "1")
    assert "…" not in for_people, "figures are whole on a terminal of 80 columns"


def test_the_settings_of_a_file_are_played(simulate, tmp_path):
    config = tmp_path / "llm_config.toml"
    config.write_text("[fallback_system]\npreventive = false\n")
    options = ("--scenario", "creep", "--json")
    added = [
        json.loads(shown)["strategies"]["intelligent_primary_secondary"]["all"]["added_time"]
        for shown in (simulate(*options), simulate(*options, "--config", str(config)))
    ]
    assert added[0] < added[1]


def test_a_report_is_written(simulate, tmp_path):
    simulate("--scenario", "calm", "--out", str(tmp_path / "new"))
    assert json.loads((tmp_path / "new" / "report.json").read_text())["seed"] == 1
    assert "calm" in (tmp_path / "new" / "report.txt").read_text()


def test_a_picture_is_drawn(simulate, tmp_path):
    pytest.importorskip("matplotlib", reason="a picture needs the extra `plot`")
    simulate("--scenario", "flapping", "--plot", str(tmp_path / "fleet.png"))
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_folder_that_is_not_there_is_named(simulate, tmp_path):
    pytest.importorskip("matplotlib", reason="a picture needs the extra `plot`")
    with pytest.raises(ConfigError, match=r"fleet\.png cannot be written: No such file"):
        simulate("--scenario", "calm", "--plot", str(tmp_path / "no" / "fleet.png"))


def test_an_unknown_scenario_is_told_the_known_ones(simulate):
    with pytest.raises(ConfigError, match=r'no scenario "storm": all, calm, outage, '):
        simulate("--scenario", "storm")
