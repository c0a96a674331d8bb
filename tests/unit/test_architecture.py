"""The arrows between the layers: iceframe knows no conduit, nothing goes round in a circle, nothing heavy is early."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import conduit
from conduit import faults

SOURCE = Path(__file__).parents[2] / "src"
HEAVY = (
    "pyarrow", "duckdb", "sqlglot", "polars", "pyiceberg", "psycopg2", "pgpq", "rich", "adbc_driver_manager",
    "adbc_driver_postgresql", "adbc_driver_sqlite", "numpy", "pandas", "ray", "pytest", "iceframe",
)  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of both packages, by its dotted name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports anywhere in it, for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {node.module}
    return {name for name in found if name in MODULES and name != module}


GRAPH = {module: imports(module) for module in MODULES}


def test_iceframe_never_imports_conduit() -> None:
    guilty = {
        m: found for m, found in GRAPH.items() if m.split(".")[0] == "iceframe" and any("conduit" in f for f in found)
    }
    assert guilty == {}


def test_no_imports_go_round_in_a_circle() -> None:
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_a_connector_is_imported_by_its_own_folder_and_the_registry_only() -> None:
    guilty = []
    for module, found in GRAPH.items():
        for name in found:
            parts = name.split(".")
            if parts[:2] == ["conduit", "connectors"] and len(parts) > 3 and not module.startswith(".".join(parts[:3])):
                guilty.append((module, name))
    allowed = [(m, n) for m, n in guilty if m.startswith("conduit.connectors.memory") and ".duckdb." in n]
    assert [pair for pair in guilty if pair not in allowed] == []


def test_relative_imports_are_not_used() -> None:
    relative = [
        m
        for m, p in MODULES.items()
        for n in ast.walk(ast.parse(p.read_text()))
        if isinstance(n, ast.ImportFrom) and n.level
    ]
    assert relative == []


OF_A_RUN = ("conduit.run", "conduit.job", "conduit.config.load", "msgspec", "yaml", "filelock", "sqlite3")
"""What a run imports and `--help` does not."""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["-h"]])
def test_version_and_help_import_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['conduit', *{arguments!r}]\n"
        "from conduit.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {(*HEAVY, *OF_A_RUN)!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY []")


@pytest.mark.parametrize(
    "type_", ["postgresql", "sqlite", "duckdb", "csv", "json", "parquet", "iceberg", "memory", "python"]
)
def test_the_keys_of_a_connector_are_known_without_its_driver(type_: str) -> None:
    script = (
        "import sys\n"
        "from conduit.connectors import registry\n"
        f"found = registry.find({type_!r})\n"
        "registry.connection_model(found, 'source'); registry.connection_model(found, 'destination')\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "HEAVY []"


def test_the_door_holds_what_it_promises() -> None:
    assert sorted(conduit.__all__) == conduit.__all__
    assert callable(conduit.run)
    assert [name for name in conduit.__all__ if not hasattr(conduit, name)] == []
    assert set(conduit.__all__) <= set(dir(conduit))


def test_the_functions_of_the_door_stay_when_the_modules_of_their_names_are_imported() -> None:
    script = (
        "import conduit.run, conduit.plan, conduit\n"
        "from conduit import plan, run\n"
        "print(conduit.run is run, callable(run), conduit.plan is plan, callable(plan), 'run' in dir(conduit))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 5


def test_the_door_of_iceframe_opens_without_the_libraries_behind_it() -> None:
    script = (
        "import sys, iceframe\n"
        "print([name for name in ('polars', 'pyarrow', 'pyiceberg') if name in sys.modules])\n"
        "from iceframe import *\n"
        "print(sorted(iceframe.__all__) == iceframe.__all__, set(iceframe.__all__) <= set(dir(iceframe)))\n"
        "print(IceFrame.__name__, callable(load_catalog_config_from_env), hasattr(iceframe, 'Nothing'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True", "IceFrame True False"]


def test_every_crash_point_is_passed_somewhere_and_no_other() -> None:
    used = {
        node.args[0].value
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "crash_point"
        and isinstance(node.args[0], ast.Constant)
    }
    assert used == set(faults.CRASH_POINTS)


def test_modules_are_small_and_say_what_they_are_for() -> None:
    assert [m for m, p in MODULES.items() if not ast.get_docstring(ast.parse(p.read_text()))] == []
    assert [m for m, p in MODULES.items() if len(p.read_text().splitlines()) > 400] == []


def test_functions_are_short() -> None:
    long = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []
