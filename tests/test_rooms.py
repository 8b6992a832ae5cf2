"""Two rules of the floor plan: imports go down only; pure modules do no I/O and ask no clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.app.config import ROOT

APP = ROOT / "backend" / "app"
FOUNDATIONS = ("config", "credentials", "db", "errors")
# room -> the rooms that it may import; the lowest first. A module of its own is a room too.
MAY_IMPORT = {
    "errors": (),
    "mail": ("errors",),
    "channel": (),
    "models": ("channel", "mail"),
    "config": ("errors",),
    "credentials": ("errors",),
    "engines": ("errors",),
    "schema": ("config",),
    "db": ("config", "engines", "errors", "models", "schema"),
    "sms": ("errors", "mail"),
    "store": ("channel", "db", "errors", "mail", "models"),
    "tokens": (*FOUNDATIONS, "mail", "store"),
    "endpoints": ("config", "credentials", "errors", "mail", "store", "tokens"),
    "mark": (*FOUNDATIONS, "store"),
    "monitoring": (*FOUNDATIONS, "store"),
    "runtime": (*FOUNDATIONS, "mark", "monitoring", "store"),
    "inbox": (*FOUNDATIONS, "endpoints", "mail", "models", "runtime", "store"),
    "followups": (
        *FOUNDATIONS,
        "channel",
        "endpoints",
        "mail",
        "models",
        "runtime",
        "sms",
        "store",
    ),
    # What manage.py calls settles and explains follow-ups by the same rules as the sender.
    "operate": (
        *FOUNDATIONS,
        "channel",
        "endpoints",
        "followups",
        "inbox",
        "mail",
        "models",
        "sms",
        "schema",
        "store",
        "tokens",
    ),
    "scripts": (
        *FOUNDATIONS,
        "followups",
        "inbox",
        "mail",
        "operate",
        "runtime",
        "sms",
        "store",
        "tokens",
    ),
}

MAIL_EDGES = {"endpoint", "imap", "oauth", "sasl", "smtp", "web"}
PURE_FOLLOWUPS = (
    *("budgets", "calendar", "company_rules", "facts", "policy", "reasons", "schedule"),
    *("settings", "text_wording", "type_rules", "values", "wording"),
    *("late_payment", "letterhead", "own_templates", "group_wording"),
)
PURE = {
    *(f"backend.app.inbox.{name}" for name in ("plan", "placement", "filing", "rules", "backoff")),
    *(f"backend.app.followups.{name}" for name in PURE_FOLLOWUPS),
    *(
        f"backend.app.mail.{path.stem}"
        for path in (APP / "mail").glob("*.py")
        if path.stem not in (*MAIL_EDGES, "__init__")
    ),
    "backend.app.channel",
    "backend.app.errors",
    "backend.app.sms.numbers",
    "backend.app.sms.segments",
    "backend.app.store.records",
}
INPUT_OUTPUT = (
    "asyncio",
    "ftplib",
    "glob",
    "http",
    "imapclient",
    "imaplib",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "requests",
    "select",
    "shutil",
    "signal",
    "smtplib",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
)
# Stated one by one: what is taken from such a module does no I/O, or is done once at a known place.
EXCEPTIONS = {
    ("backend.app.mail.folder", "imapclient.imap_utf7"),  # the codec of folder names
    ("backend.app.followups.wording", "pathlib.Path"),  # reads its packaged templates
    ("backend.app.followups.text_wording", "pathlib.Path"),
}
CLOCK_CALLS = {
    "now",
    "utcnow",
    "today",
    "utc_now",
    "monotonic",
    "perf_counter",
    "time_ns",
    "getdate",
}
OPENING_CALLS = {"open", "input", "print", "read_text", "read_bytes", "write_text", "write_bytes"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`backend.app.inbox.plan` is in inbox, `backend.scripts.cli.root` in scripts."""
    parts = module.split(".")
    return parts[2] if parts[1] == "app" and len(parts) > 2 else parts[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything imported, with full names; inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def climbs(module: str, source: str) -> list[str]:
    """The imports of a module that do not go down."""
    room = room_of(module)
    return [
        name
        for name in imports(ast.parse(source))
        if name.startswith("backend.")
        if room_of(name) not in (*MAY_IMPORT[room], room)
    ]


def impurities(module: str, source: str) -> list[str]:
    """What a pure module may not do."""
    tree = ast.parse(source)
    return [*_impure_imports(module, tree), *_impure_calls(module, tree)]


def _impure_imports(module: str, tree: ast.AST) -> Iterator[str]:
    for name in imports(tree):
        within = name in PURE or name.rpartition(".")[0] in PURE or name == "backend.app.mail"
        outside = any(name == each or name.startswith(f"{each}.") for each in INPUT_OUTPUT)
        if (module, name) in EXCEPTIONS:
            continue
        if outside or (name.startswith("backend.") and not within):
            yield f"imports {name}"


def _impure_calls(module: str, tree: ast.AST) -> Iterator[str]:
    # A reference is as good as a call: `default_factory=datetime.now`.
    forbidden = CLOCK_CALLS | OPENING_CALLS
    if any(of == module and name.startswith("pathlib") for of, name in EXCEPTIONS):
        forbidden = CLOCK_CALLS
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in forbidden:
            yield f"uses .{node.attr}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in forbidden
        ):
            yield f"calls {node.func.id}"


def modules() -> dict[str, Path]:
    found = [*APP.rglob("*.py"), *(ROOT / "backend" / "scripts").rglob("*.py")]
    return {module_of(path): path for path in sorted(found)}


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(module) for module in modules()} - {"app"}
    assert rooms == set(MAY_IMPORT)
    order = list(MAY_IMPORT)
    assert [
        (room, below)
        for room, allowed in MAY_IMPORT.items()
        for below in allowed
        if order.index(below) >= order.index(room)
    ] == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down_only(module: str) -> None:
    if module == "backend.app":
        return  # the map: it holds words only
    assert climbs(module, modules()[module].read_text()) == []


def test_inbox_and_followups_never_import_each_other() -> None:
    assert "followups" not in MAY_IMPORT["inbox"]
    assert "inbox" not in MAY_IMPORT["followups"]


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_module_does_no_io_and_asks_no_clock(module: str) -> None:
    assert impurities(module, modules()[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backend.app.inbox.sync", "from backend.app.followups.policy import decide"),
        ("backend.app.followups.send", "import backend.app.inbox.sync"),
        ("backend.app.store.clients", "from backend.app.inbox import placement"),
        ("backend.app.models.inbox", "from backend.app.store import clients"),
        ("backend.app.mail.parse", "from backend.app.models import Client"),
        ("backend.app.mail.parse", "def f():\n    from backend.app import db"),
    ],
)
def test_upward_import_is_found(module: str, source: str) -> None:
    assert len(climbs(module, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "from time import time",
        "from sqlalchemy.orm import Session",
        "import imapclient",
        "from backend.app import db",
        "from backend.app.mail.smtp import open_smtp",
        "from backend.app.store.clients import find_client",
        "x = datetime.now(UTC)",
        "x = field(default_factory=datetime.now)",
        "x = date.today()",
        "x = utc_now()",
        "x = open('file')",
        "x = path.read_text()",
    ],
)
def test_impurity_is_found(source: str) -> None:
    assert len(impurities("backend.app.inbox.plan", source)) == 1
