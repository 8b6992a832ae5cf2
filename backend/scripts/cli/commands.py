"""What the commands share: options, examples in the help, and errors as exit statuses."""

from __future__ import annotations

import getpass
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from backend.app.errors import (
    EXIT_CONFIGURATION,
    EXIT_DATABASE_UNREACHABLE,
    EXIT_SOME_FAILED,
    BadInput,
    ConfigurationError,
    DatabaseUnreachable,
    RelanceError,
)
from backend.scripts.cli.terminal import say

EXIT_USAGE = 2
FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)


class RowId(click.ParamType[int]):
    """What a primary key can hold. Not an IntRange, since the help would print its bounds."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        typed = str(value).strip()
        number = int(typed) if re.fullmatch(r"[0-9]{1,19}", typed) else 0
        if not 1 <= number < 2**63:
            self.fail(f"{typed!r} is not an id: give its number, such as 12", param, ctx)
        return number


ROW_ID = RowId()
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(message: str, status: int = EXIT_SOME_FAILED) -> NoReturn:
    """One line on standard error, and the exit status."""
    say(f"Error: {message}", err=True)
    raise click.exceptions.Exit(status)


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is asked for.

    lazy: name -> (module of this package, one line of help).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module = importlib.import_module(f"backend.scripts.cli.{self._lazy[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in self._lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadInput as error:
            fail(str(error), EXIT_USAGE)
        except ConfigurationError as error:
            fail(f"configuration: {error}", EXIT_CONFIGURATION)
        except DatabaseUnreachable as error:
            fail(f"database: {error}", EXIT_DATABASE_UNREACHABLE)
        except RelanceError as error:
            fail(str(error))


def examples(*lines: str) -> str:
    """The last part of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  manage.py {line}" for line in lines)


def company_option(*, required: bool = False) -> Callable[[FC], FC]:
    """`--company ID`: the company it is for, or the only one to look at."""
    words = "The company." if required else "Only this company's."
    return click.option(
        "--company", "company_id", type=ROW_ID, metavar="ID", required=required, help=words
    )


def id_argument(name: str) -> Callable[[FC], FC]:
    return click.argument(name, metavar="ID", type=ROW_ID)


def limit_option(default: int = 100) -> Callable[[FC], FC]:
    return click.option(
        "--limit",
        type=click.IntRange(1, 100_000),
        default=default,
        show_default=True,
        help="At most so many.",
    )


def by_option() -> Callable[[FC], FC]:
    return click.option(
        "--by", default=login_name, metavar="NAME", help="Who says so.  [default: your login]"
    )


def login_name() -> str:
    """The user's name on this host, '' where it has none (a container with a bare uid)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def tell_if_cut(shown: int, limit: int) -> None:
    """A list that ends at its limit may have more behind it: said beside the list, not in it."""
    if shown == limit:
        say(f"only the first {limit} are shown; see --limit", err=True)


@contextmanager
def database_errors() -> Iterator[None]:
    """A database that goes away, in our words. Anything else that it says is a mistake of ours."""
    from sqlalchemy.exc import SQLAlchemyError

    from backend.app import db

    try:
        yield
    except SQLAlchemyError as error:
        fault = db.fault_of(error)
        if fault is None:
            raise
        raise DatabaseUnreachable(fault) from error
