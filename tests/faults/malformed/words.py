"""What comes from outside of ingest.yml: the command line, the environment, and `.env`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.malformed.case import GOOD, NEW, Case

_SECRET = "canary-of-the-environment"
_WITH_VARIABLE = GOOD.replace("database: shop.db", 'database: "${SHOP}"')
_ARGUMENTS: dict[tuple[str, ...], str] = {
    ("nothing",): "No such command",
    ("--nothing",): "No such option",
    ("run", "--nothing"): "No such option",
    ("run", "nowhere.yml"): "nowhere.yml",
    ("run", "."): "directory",
    ("run", "/"): "directory",
    ("run", "/dev/null"): "null",
    ("run", "ingest.yml/x"): "ingest.yml/x",
    ("run", "x" * 5000): "too long|no file",
    ("run", ""): "no file|cannot|directory",
    ("run", "-"): "no file|-",
    ("run", "ingest.yml", "nobody"): "nobody",
    ("run", "ingest.yml", "R"): "unknown resource",
    ("run", "ingest.yml", "r; DROP TABLE victim"): "r; DROP",
    ("run", "ingest.yml", "../r"): r"\.\./r",
    ("run", "ingest.yml", ""): "resource",
    ("run", "ingest.yml", "r", "nobody"): "nobody",
    ("run", "ingest.yml", "--limit", "0"): "limit",
    ("run", "ingest.yml", "--limit", "-1"): "limit",
    ("run", "ingest.yml", "--limit", "x"): "limit",
    ("run", "ingest.yml", "--limit", "1.5"): "limit",
    ("run", "ingest.yml", "--limit"): "argument",
    ("run", "ingest.yml", "--limit", "1"): "limit",
    ("run", "ingest.yml", "--output", "xml"): "output",
    ("run", "ingest.yml", "--output", ""): "output",
    ("run", "ingest.yml", "--output"): "argument",
    ("run", "ingest.yml", "--from", "1"): "--from and --to",
    ("run", "ingest.yml", "--to", "1"): "--from and --to",
    ("run", "ingest.yml", "--from", "1", "--to", "2"): "merge",
    ("run", "ingest.yml", "--from", "x", "--to", "y"): "merge",
    ("run", "ingest.yml", "--full-refresh", "nobody"): "nobody",
    ("run", "ingest.yml", "--full-refresh"): "argument",
    ("plan", "ingest.yml", "nobody"): "nobody",
    ("plan", "ingest.yml", "--limit", "1"): "limit",
    ("plan", "--output", "yaml"): "output",
    ("check", "ingest.yml", "r"): "unexpected",
    ("check", "nowhere.yml"): "nowhere.yml",
    ("state",): "Usage|command",
    ("state", "nothing"): "nothing",
    ("state", "show", "nobody"): "nobody",
    ("state", "show", "-f", "nowhere.yml"): "nowhere.yml",
    ("state", "set", "r"): "VALUE",
    ("state", "set", "r", "x", "--yes"): "x",
    ("state", "set", "r", "1.5", "--yes"): "1.5",
    ("state", "set", "r", "0'; DROP TABLE victim; --", "--yes"): "DROP",
    ("state", "set", "r", "", "--yes"): "r",
    ("state", "set", "r", "9" * 5000, "--yes"): "9999|r",
    ("state", "set", "r", "NaN", "--yes"): "NaN",
    ("state", "set", "r", "1e5", "--yes"): "1e5",
    ("state", "set", "nobody", "5", "--yes"): "nobody",
    ("state", "set", "r", "1"): "yes",
    ("state", "reset", "r"): "yes",
    ("state", "reset", "nobody", "--yes"): "nobody",
    ("state", "reset"): "RESOURCE",
    ("state", "adopt", "nobody", "--yes"): "nobody",
    ("state", "move", "a", "b", "--yes"): "a|b",
    ("state", "move", "r", "r", "--yes"): "r",
    ("state", "move", "r"): "NEW",
    ("init", "ingest.yml"): "ingest.yml|file",
    ("init", "."): "exists already",
    ("schema", "x"): "unexpected",
    ("run", "--help=x"): "help",
    ("run", "ingest.yml", "\udcff"): "resource|there is|r",
    ("--debug=1", "run"): "debug",
    ("run", "ingest.yml", "\x1b[31mr"): "r",
}
_VARIABLES = (
    "",
    "no/such/folder/shop.db",
    ":memory:",
    "x" * 300,
    "x" * 10_000,
    "../../../../../../etc/passwd",
    "/",
    ".",
    "shop.db\n",
    "shop.db\r\n",
    " shop.db",
    "shop.db\nmode: replace",
    "shop.db' # ",
    "${SHOP}",
    "${HOME}",
    "$(touch pwned)",
    "`touch pwned`",
    "!!python/name:os.system",
    "*alias",
    "{a: b}",
    "[x]",
    "\x1b]0;x\x07",
    "\u202e",
    "shop.db?mode=rwc",
    "file:shop.db",
    "\udcff\udcfe",
    "ｓhop.db",
    "~/shop.db",
    "con",
    "0",
)
_DOTENV: dict[str, bytes] = {
    "nothing": b"",
    "no value": b"SHOP\n",
    "another name": b"SHOPS=shop.db\n",
    "a line of rubbish": b"?? rubbish ??\nSHOP=shop.db\n",
    "an open quote": b'SHOP="shop.db\n',
    "an open single quote": b"SHOP='shop.db\n",
    "latin-1": b"SHOP=caf\xe9.db\n",
    "UTF-16": "SHOP=shop.db\n".encode("utf-16"),
    "NULs": b"SHOP=\0\0\n",
    "random": bytes(range(128, 256)),
    "a NUL in the name": b"SH\0OP=shop.db\n",
    "too large": b"# " + b"x" * 1_100_000,
    "YAML": b"SHOP: shop.db\n",
    "a program": b"#!/bin/sh\nexport SHOP=$(pwd)/nowhere.db\n",
    "an expansion": b"A=shop.db\nSHOP=${A}\n",
    "a command": b"SHOP=$(touch pwned)\n",
    "empty": b"SHOP=\n",
    "a name with a dot": b"SH.OP=shop.db\n",
    "spaces": b"  = \n",
    "an equals sign": b"=\n",
}


def cases() -> Iterator[Case]:
    """Arguments, variables, and files of variables."""
    for arguments, says in _ARGUMENTS.items():
        name = " ".join(argument[:30] for argument in arguments)
        yield Case(f"conduit {name!a} {len(name)}", arguments=arguments, codes=(2, 3, 4), says=(f"(?i){says}",))
    for number, value in enumerate(_VARIABLES):
        laid = {"SHOP": value}
        yield Case(
            f"variable {number}",
            _WITH_VARIABLE,
            environment=laid,
            codes=(2, 3),
            says=(r"shop|ingest\.yml:\d+: sources\[0\]",),
        )
        secret = f"{value}{_SECRET}"
        typed = GOOD.replace("type: sqlite", 'type: "${KIND}"', 1)
        yield Case(
            f"type from variable {number}",
            typed,
            environment={"KIND": secret},
            says=(r"ingest\.yml:\d+: ",),
            never=(_SECRET,),
        )
        port = NEW.replace("type: sqlite\n    database: shop.db", 'type: postgresql\n    port: "${PORT}"', 1)
        yield Case(
            f"port from variable {number}",
            port,
            environment={"PORT": secret},
            says=(r"ingest\.yml:\d+: ",),
            never=(_SECRET,),
        )
    for name, content in _DOTENV.items():
        told = (r"SHOP|\.env:\d+: |there is no file|names",)
        yield Case(f".env: {name}", _WITH_VARIABLE, {".env": content}, codes=(2, 3), says=told)
    yield Case(
        "a crash outside of a test",
        environment={"CONDUIT_TESTING": "0", "CONDUIT_CRASH_AT": "run.locked:1"},
        says=("not a test",),
    )
