"""The shape of the house: what the import contracts of pyproject.toml cannot see."""

import ast

import pytest
from django.apps import apps

from tests import imports

# Django and Celery take names where they set up what is imported next; the rest are programs that are started.
_MAY_NAME_MODULES = {"webapp/settings.py": "Django's settings", "workers/launcher/": "programs that are started"}
_IMPORTERS = {"import_string", "import_module", "__import__", "get_model", "autodiscover_modules"}


def _place(path, node):
    return f"{path.relative_to(imports.ROOT)}:{node.lineno}"


def test_no_module_is_imported_by_a_name_in_a_string():
    found = []
    for path in imports.sources():
        for node in ast.walk(imports.tree(path)):
            called = {ast.Name: "id", ast.Attribute: "attr"}.get(type(node))
            if called and getattr(node, called) in _IMPORTERS:
                found.append(_place(path, node))
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                if names & {"importlib", "django.utils.module_loading"}:
                    found.append(_place(path, node))
    assert not found


def _is_ours(text):
    """Whether a string names one of our modules, or something in one."""
    parts = text.partition(":")[0].split(".")
    return (
        parts[0] in ("webapp", "workers")
        and len(parts) > 1
        and any(".".join(parts[:end]) in imports.modules() for end in (len(parts), len(parts) - 1))
    )


def test_no_string_names_a_module_of_ours():
    found = []
    for path in imports.sources():
        if str(path.relative_to(imports.ROOT)).startswith(tuple(_MAY_NAME_MODULES)):
            continue
        allowed = {_app_name(node) for node in ast.walk(imports.tree(path))} | _settings_and_programs(path)
        for node in ast.walk(imports.tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in allowed:
                found += [f"{_place(path, node)} {node.value}"] if _is_ours(node.value) else []
    assert not found


def _app_name(node):
    """The constant in `name = "webapp.x"` of an AppConfig, which is how Django knows an app."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "name":
        return id(node.value)
    return None


def _settings_and_programs(path):
    """Constants that say which settings Django shall use, which logging class to make, name a log, or stand
    behind `-m`."""
    found = set()
    for node in ast.walk(imports.tree(path)):
        if isinstance(node, ast.Constant) and node.value == "webapp.settings":
            found.add(id(node))
        if isinstance(node, ast.Dict):
            found |= {id(value) for key, value in zip(node.keys, node.values, strict=True) if _says(key, "()")}
        if isinstance(node, ast.List):
            pairs = zip(node.elts, node.elts[1:], strict=False)
            found |= {id(value) for flag, value in pairs if _says(flag, "-m")}
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
            found |= {id(argument) for argument in node.args}
    return found


def _says(node, text):
    return isinstance(node, ast.Constant) and node.value == text


def test_no_files_import_each_other_in_a_circle():
    edges = {imports.name(path): imports.imported(path) for path in imports.sources()}
    assert imports.circles(edges) == []


def test_the_folders_of_the_gateway_do_not_depend_on_each_other_in_a_circle():
    """Files may stand in no circle while their folders do, and then no folder can be read alone."""
    edges = {}
    for path in imports.sources():
        folder = imports.folder_of(imports.name(path), "webapp.gateway")
        if folder:
            others = {imports.folder_of(module, "webapp.gateway") for module in imports.imported(path)}
            edges.setdefault(folder, set()).update(others - {folder, None})
    assert {"process", "http", "routing", "admission", "inference", "relay", "ledger"} <= set(edges)
    assert imports.circles(edges) == []


def test_the_gateway_holds_folders_its_start_and_its_settings_alone():
    files = {path.name for path in (imports.ROOT / "webapp" / "gateway").iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "settings.py"}


def test_a_circle_would_be_seen():
    assert imports.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_the_root_of_webapp_holds_settings_addresses_and_folders_alone():
    files = {path.name for path in (imports.ROOT / "webapp").iterdir() if path.is_file()}
    assert files == {"__init__.py", "settings.py", "urls.py", "asgi.py"}


@pytest.mark.parametrize("app", [app for app in apps.get_app_configs() if app.name.startswith("webapp.")])
def test_moved_apps_keep_their_labels_and_tables(app):
    """Stored installations know tables and migrations by these names."""
    assert app.label == app.name.rpartition(".")[2]
    for model in app.get_models(include_auto_created=True):
        assert model._meta.db_table == f"{app.label}_{model._meta.model_name}"


def test_the_labels_are_the_ones_that_stored_installations_know():
    with_tables = {app.label for app in apps.get_app_configs() if app.name.startswith("webapp.") and app.models}
    assert with_tables == {
        "accounts", "catalog", "deployments", "events", "idempotency", "inventory", "jobs", "operations",
        "quantisation", "samples", "schedules", "usage",
    }  # fmt: skip
