"""`modelyard apply` and `export` with schedules, against a running Modelyard."""

import pytest

FILE = """
schedules:
  - name: {name}
    model: SmolLM2/Q8_0
    host: local
    recipes:
      - options: {{type: Q4_K_M, requantise: true}}
      - options: {{type: Q5_K_M, requantise: true}}
    cron: "0 2 * * *"
    zone: Europe/Berlin
    window_start: "22:00"
    window_end: "06:00"
    measure: {{chunks: 8}}
    gate: {{max_kl_divergence: 0.05}}
    keep_last: 3
"""


@pytest.fixture
def name(request):
    return request.node.name.replace("_", "-")[:30]


@pytest.fixture
def path(home, name):
    path = home / "modelyard.yaml"
    path.write_text(FILE.format(name=name))
    return path


def test_a_schedule_is_made_once_changed_exported_and_pruned(ada, path, name):
    done = ada("apply", "-f", str(path))
    assert done.code == 0, done.err
    assert f"+ schedule research/{name}  create" in done.out
    again = ada("apply", "-f", str(path), "--dry-run", "--exit-code")
    assert (again.code, "1 unchanged" in again.out) == (0, True), again.out
    path.write_text(path.read_text().replace("keep_last: 3", "keep_last: 5"))
    changed = ada("apply", "-f", str(path))
    assert "keep_last: 3 -> 5" in changed.out, changed.err
    path.write_text(ada("export").out)
    exported = ada("apply", "-f", str(path), "--dry-run", "--exit-code")
    assert exported.code == 0, exported.out + exported.err
    path.write_text(FILE.format(name="other"))
    pruned = ada("apply", "-f", str(path), "--prune", "--yes")
    assert f"- schedule research/{name}  delete" in pruned.out, pruned.err


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("keep_last: 3", "keep_first: 3", "'keep_first' is not known"),
        ('"22:00"', "22:00", "a time in quotes"),
        ("local", "nowhere", "nowhere"),
        ("SmolLM2/Q8_0", "Nothing/Q1", "Nothing/Q1"),
        ("    host: local\n", "", "host is missing"),
    ],
)
def test_a_mistake_is_told_with_its_line_before_anything_is_done(ada, path, old, new, word):
    path.write_text(path.read_text().replace(old, new))
    refused = ada("apply", "-f", str(path))
    assert (refused.code, word in refused.err) == (2, True), refused.err
    assert "modelyard.yaml:" in refused.err


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("0 2 * * *", "0 2 31 2 *", "no such date"),
        ("Europe/Berlin", "Europe/Atlantis", "There is no time zone"),
        ("type: Q5_K_M", "kind: Q5_K_M", "kind"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(ada, path, old, new, word):
    good = path.read_text()
    for is_there in (False, True):
        path.write_text(good.replace(old, new))
        dry, real = ada("apply", "-f", str(path), "--dry-run"), ada("apply", "-f", str(path))
        assert (dry.code, word in dry.err) == (1, True), dry
        assert dry.err.partition("\n  request ")[0] in real.err
        path.write_text(good)
        # A good file is not refused, and the second time round there is something to change.
        if not is_there:
            assert [ada("apply", "-f", str(path), *more).code for more in (["--dry-run"], [])] == [0, 0]
