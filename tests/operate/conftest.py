"""manage.py in this process, on a real installation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.scripts.cli.root import command
from tests.installation import Installation


class Manage:
    """`manage("company", "list")` runs the command and holds it to its exit status."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def __call__(
        self, *arguments: object, status: int = 0, stdin: str | bytes = "", **environment: str
    ) -> Result:
        result = CliRunner().invoke(
            command,
            [str(argument) for argument in arguments],
            input=stdin,
            env={**self.installation.environment, **environment},
            catch_exceptions=False,
        )
        assert result.exit_code == status, result.output
        return result

    def json(self, *arguments: object, **more: Any) -> Any:
        return json.loads(self(*arguments, "--json", **more).stdout)


@pytest.fixture
def manage(installation: Installation) -> Manage:
    return Manage(installation)


@pytest.fixture
def company_id(installation: Installation) -> int:
    return installation.add_company()
