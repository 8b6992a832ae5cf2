"""What tells the outside how a run went, and that nothing of it delays, fails or betrays a run."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import re
import smtplib
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from backend.app.followups import send
from backend.app.models import CronRun, OAuthGrant
from backend.app.monitoring import alert, metrics, ping, watch
from backend.app.monitoring.alert import Standing, judge
from backend.app.runtime import LogFormatter
from backend.app.store.gauges import Gauges
from tests.conftest import DIRECTORY, EmbeddedImapServer, EmbeddedSmtpServer
from tests.installation import Installation, mail
from tests.operate.conftest import Manage
from tests.servers.databases import Database, migrated
from tests.servers.shared import SharedServers

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECRET_PATH = "/0b2c-secret-path"


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """SQLite alone: nothing here depends on the database."""
    with migrated(SharedServers(request.config.stash[DIRECTORY]), "sqlite", tmp_path) as made:
        yield made


class Asked:
    """A server that is asked; `paths` in their order. hold: it answers when this is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        asked = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.paths.append(self.path)
                asked.hold.wait(20)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{SECRET_PATH}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.hold.set()
    made.server.shutdown()
    made.server.server_close()


def broken_rules(installation: Installation) -> None:
    """So that the next run of either script ends with status 1 or more."""
    installation.extra["SYNC_WORKERS"] = "many"


def test_a_run_tells_its_start_and_its_end(installation: Installation, asked: Asked) -> None:
    installation.extra["PING_URL_SYNC"] = asked.url
    assert installation.as_cron("sync")[0] == 0
    installation.as_cron("followups")  # has no URL
    broken_rules(installation)
    status, said = installation.as_cron("sync")
    assert status == 78
    # Start and end are asked side by side, in whatever order they arrive.
    assert sorted(asked.paths[:2]) == [SECRET_PATH, f"{SECRET_PATH}/start"]
    assert sorted(asked.paths[2:]) == [f"{SECRET_PATH}/fail", f"{SECRET_PATH}/start"]
    assert SECRET_PATH not in said


def test_a_server_that_hangs_delays_no_run(
    installation: Installation, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping, "SECONDS", 0.2)
    asked.hold.clear()
    installation.extra["PING_URL_SYNC"] = asked.url
    assert installation.as_cron("sync")[0] == 0
    assert installation.rows(CronRun)[0].finished_at is not None


def test_a_server_that_is_gone_is_said_without_its_url(installation: Installation) -> None:
    installation.extra["PING_URL_SYNC"] = f"http://127.0.0.1:1{SECRET_PATH}"
    status, said = installation.as_cron("sync")
    assert status == 0
    assert "ping event=start failed: ConnectionRefusedError" in said
    assert SECRET_PATH not in said


@contextmanager
def talker(words: Iterable[bytes], pause: threading.Event) -> Iterator[int]:
    """The port of a server that says these words to whoever comes, one at a time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    for word in words:
                        connection.sendall(word)
                        pause.wait(0.05)

    threading.Thread(target=talk, daemon=True).start()
    yield listener.getsockname()[1]
    pause.set()
    listener.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}{path}", "http://127.0.0.1:1 2{path}"])
def test_what_is_no_http_and_what_is_no_url_is_said_in_one_line_without_it(
    installation: Installation, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with talker([b"220 this is no web server\r\n\r\n"], threading.Event()) as port:
        installation.extra["PING_URL_SYNC"] = url.format(port=port, path=SECRET_PATH)
        status, said = installation.as_cron("sync")
    assert status == 0
    assert said.count("ping event=start failed: ") == 1
    everything_said = said + capfd.readouterr().err
    assert SECRET_PATH not in everything_said
    assert "Traceback" not in everything_said


def test_a_run_goes_on_where_no_thread_can_be_started(
    installation: Installation, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ping.Ping, "tell", refuse)
    installation.extra["PING_URL_SYNC"] = asked.url
    status, said = installation.as_cron("sync")
    assert (status, said.count("monitoring failed: RuntimeError")) == (0, 2)


def test_a_mail_server_that_never_ends_its_greeting_keeps_no_run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ALERT_SECONDS", 0.5)
    broken_rules(installation)
    stop = threading.Event()
    endless = iter(lambda: b"" if stop.is_set() else b"220-wait\r\n", b"")
    with talker(endless, stop) as port:
        url = f"smtp://127.0.0.1:{port}"
        installation.extra |= {"ALERT_EMAIL": "o@example.test", "ALERT_SMTP_URL": url}
        status, said = installation.as_cron("sync")
    assert status == 78
    assert "monitoring failed: timeout: the alert" in said


def test_the_alerts_password_goes_over_no_network_in_the_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    class Plain:
        """A server, or somebody before it, that offers no STARTTLS."""

        def __init__(self, *_: object, **__: object) -> None: ...

        def has_extn(self, _name: str) -> bool:
            return False

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: said.append(name)

    monkeypatch.setattr(smtplib, "SMTP", Plain)
    with pytest.raises(OSError, match="STARTTLS"):
        alert.send("smtp://me:secret@mail.example.test:587", "o@example.test", "fails", "text")
    assert "login" not in said
    alert.send("smtp://me:secret@127.0.0.1:587", "o@example.test", "fails", "text")
    assert "login" in said


def test_the_file_for_node_exporter_is_whole_and_for_all_to_read(
    installation: Installation, tmp_path: Path
) -> None:
    directory = tmp_path / "textfile"
    directory.mkdir()
    installation.extra["METRICS_DIR"] = str(directory)
    for script in ("sync", "followups"):
        assert installation.as_cron(script)[0] == 0
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == ["relance_followups.prom", "relance_sync.prom"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}
    text = files[1].read_text()
    assert 'relance_run_exit_status{script="sync"} 0\n' in text
    assert "relance_quarantined_mails 0\n" in text
    lines = [line for file in files for line in file.read_text().splitlines()]
    samples = [re.sub(r" \S+$", "", line) for line in lines]
    named = [line for line in samples if not line.startswith("#")]
    assert len(named) == len(set(named))  # the collector refuses a sample that is there twice


def test_a_directory_that_is_not_there_fails_no_run(installation: Installation) -> None:
    installation.extra["METRICS_DIR"] = "/nonexistent"
    status, said = installation.as_cron("sync")
    assert (status, said.count("monitoring failed: FileNotFoundError")) == (0, 1)


def test_the_exposition_format() -> None:
    run = metrics.RunFacts("sync", 1764061200.0, 1.5, 1, {"stored": 3, 'a"b': 1})
    text = metrics.render(run, Gauges(2, 1, 61.5, 0, 4, 1, 0))
    assert 'relance_run_items{script="sync",item="a\\"b"} 1\n' in text
    assert 'relance_mailboxes{state="failing"} 1\n' in text
    assert text.count("# TYPE relance_mailboxes gauge\n") == 1
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|[a-z_]+(\{.*\})? [0-9.e+-]+", line)
    assert "relance_mailboxes" not in metrics.render(run, None)


@pytest.mark.parametrize(
    ("before", "status", "after", "news"),
    [
        (Standing(), 0, Standing(), None),
        (Standing(), 75, Standing(NOW.isoformat(), True), "failing"),
        (Standing(), 1, Standing(NOW.isoformat()), None),
        (Standing((NOW - 14 * MINUTE).isoformat()), 1, None, None),
        (Standing((NOW - 15 * MINUTE).isoformat()), 1, None, "failing"),
        (Standing((NOW - 90 * MINUTE).isoformat(), True), 1, None, None),
        (Standing((NOW - 90 * MINUTE).isoformat(), True), 75, None, None),
        (Standing((NOW - 5 * MINUTE).isoformat()), 0, Standing(), None),
        (Standing((NOW - 90 * MINUTE).isoformat(), True), 0, Standing(), "recovered"),
    ],
)
def test_when_the_operator_is_told(
    before: Standing, status: int, after: Standing | None, news: str | None
) -> None:
    found, told = judge(before, status, NOW)
    assert told == news
    assert after is None or found == after
    assert status == 0 or found.since is not None


def test_one_mail_when_it_fails_and_one_when_it_works_again(
    installation: Installation, embedded_smtp: EmbeddedSmtpServer
) -> None:
    operator = f"operator-{id(installation)}@example.test"
    url = f"smtp://me:embedded%20secret@127.0.0.1:{embedded_smtp.port}?from=relance@example.test"
    installation.extra |= {"ALERT_EMAIL": operator, "ALERT_SMTP_URL": url}
    broken_rules(installation)
    for _ in range(3):
        status, said = installation.as_cron("sync")
        assert status == 78
        assert "embedded" not in said
    [told] = [message_from_bytes(raw) for raw in embedded_smtp.delivered(operator)]
    assert told["Subject"].endswith("sync fails")
    assert told["From"] == "relance@example.test"
    assert b"SYNC_WORKERS must be a whole number" in told.get_payload(decode=True)  # type: ignore[operator]
    del installation.extra["SYNC_WORKERS"]
    for _ in range(2):
        installation.as_cron("sync")
    subjects = [message_from_bytes(r)["Subject"] for r in embedded_smtp.delivered(operator)]
    assert len(subjects) == 2
    assert subjects[1].endswith("sync works again")


def test_an_alert_that_cannot_go_out_is_tried_by_the_next_run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    refuse = [True]

    def deliver(_url: str, _to: str, subject: str, _text: str) -> None:
        if refuse.pop() if refuse else False:
            raise OSError("no route")
        sent.append(subject)

    monkeypatch.setattr(alert, "send", deliver)
    installation.extra |= {"ALERT_EMAIL": "o@example.test", "ALERT_SMTP_URL": "smtp://x"}
    broken_rules(installation)
    assert "monitoring failed: OSError" in installation.as_cron("sync")[1]
    installation.as_cron("sync")
    installation.as_cron("sync")
    assert len(sent) == 1


def test_sentry_gets_no_values_and_is_asked_for_where_it_is_missing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.extra["SENTRY_DSN"] = "https://the-dsn@sentry.example/1"
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    status, said = installation.as_cron("sync")
    assert status == 0
    assert "requirements-sentry.txt" in said
    assert "the-dsn" not in said
    calls: dict[str, Any] = {}
    fake = types.ModuleType("sentry_sdk")
    fake.init = lambda **options: calls.update(options)  # type: ignore[attr-defined]
    fake.set_tag = lambda *_: None  # type: ignore[attr-defined]
    fake.flush = lambda timeout: calls.update(flushed=timeout)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentry_sdk", fake)
    installation.as_cron("sync")
    assert (calls["include_local_variables"], calls["send_default_pii"]) == (False, False)
    assert calls["flushed"] == 3.0


def test_all_lines_of_a_run_bear_its_number_and_json_says_the_same(
    installation: Installation, embedded_imap: EmbeddedImapServer
) -> None:
    account = embedded_imap.add_user()
    installation.add_mailbox(installation.add_company(), account, embedded_imap)
    embedded_imap.append(account, mail(sender="jean@client.test", to=account.address))
    text = installation.as_cron("sync")[1].splitlines()
    [run] = installation.rows(CronRun)
    assert len(text) == 2
    assert all(line.endswith(f" run={run.id}") for line in text)
    embedded_imap.append(account, mail(sender="jean@client.test", to=account.address))
    installation.extra["LOG_FORMAT"] = "json"
    stored, done = map(json.loads, installation.as_cron("sync")[1].splitlines())
    assert stored["run"] == done["run"] == str(run.id + 1)
    assert (stored["level"], stored["script"], stored["uid"]) == ("INFO", "sync", "102")
    assert done["message"] == "done mailboxes=1 stored=1"


def test_a_servers_words_cannot_change_what_the_line_is_about() -> None:
    formatter = LogFormatter("json")
    words = "integration=1 failed error=NO integration=2 level=INFO time=x\nrun=9"
    record = logging.LogRecord("relance.sync", logging.ERROR, "", 0, words, (), None)
    found = json.loads(formatter.format(record))
    assert (found["integration"], found["level"], found["run"]) == ("1", "ERROR", None)
    assert "\n" not in formatter.format(record)


# -- secrets ---------------------------------------------------------------------------------

CANARIES = {
    "imap password": "canary-imap-password",
    "smtp password": "canary-smtp-password",
    "refresh token": "canary-refresh-token",
    "ping url": "canary-ping-url",
    "sentry dsn": "canary-sentry-dsn",
    "alert password": "canary-alert-password",
    "oauth secret": "canary-oauth-secret",
    "body": "canary-body-of-a-mail",
    "reminder": "canary-text-of-a-reminder",
}


def tempt(
    installation: Installation, imap: EmbeddedImapServer, smtp: EmbeddedSmtpServer
) -> Callable[[], None]:
    """A company in which every secret and every text is met on a path that goes wrong.

    Returns what makes one more mail and one more reminder.
    """
    said = CANARIES
    seal = installation.vault.encrypt
    company = installation.add_company()
    good, bad, granted = imap.add_user(), imap.add_user(), imap.add_user()
    sound = installation.add_mailbox(company, good, imap, smtp)
    wrong = {"secret": seal(said["imap password"]), "smtp_username": "u"}
    refused = installation.add_mailbox(
        company, bad, imap, smtp, **wrong, smtp_secret=seal(said["smtp password"])
    )
    by_token = installation.add_mailbox(company, granted, imap, secret="")
    token = seal(said["refresh token"])
    grant = {"integration_id": by_token, "company_id": company, "provider": "custom"}
    installation.change(lambda s: s.add(OAuthGrant(**grant, refresh_token=token)))
    for number in range(3):
        text = f"{said['body']} {number}\r\n"
        imap.append(good, mail(sender=f"a{number}@client.test", to=good.address, text=text))
    for name in ("refused", "deferred", "rejected", "spam", "later", "fine"):
        client = installation.add_client(company, f"{name}-{good.address}")
        installation.add_followup(
            company, client, source_label=said["reminder"], integration_id=sound
        )
    other = installation.add_client(company, f"other-{good.address}")
    installation.add_followup(company, other, integration_id=refused)
    installation.make_fresh(refused, company)
    installation.extra |= {
        "PING_URL_SYNC": f"http://127.0.0.1:1/{said['ping url']}",
        "SENTRY_DSN": f"https://{said['sentry dsn']}@sentry.example/1",
        "ALERT_EMAIL": "o@example.test",
        "ALERT_SMTP_URL": f"smtp://u:{said['alert password']}@127.0.0.1:1",
        "OAUTH_CUSTOM_TOKEN_URL": "https://127.0.0.1:1/token",
        "OAUTH_CUSTOM_CLIENT_ID": "id",
        "OAUTH_CUSTOM_CLIENT_SECRET": said["oauth secret"],
    }

    def one_more() -> None:
        imap.append(good, mail(sender="b@client.test", to=good.address, text=said["body"]))
        client = installation.add_client(company, f"more-{good.address}")
        installation.add_followup(company, client, source_label=said["reminder"])

    return one_more


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_and_no_mails_text_is_ever_logged_or_shown(
    installation: Installation,
    embedded_imap: EmbeddedImapServer,
    embedded_smtp: EmbeddedSmtpServer,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    one_more = tempt(installation, embedded_imap, embedded_smtp)
    installation.extra["LOG_FORMAT"] = form
    shown = [installation.as_cron("sync", verbose=True)[1]]
    shown += [installation.as_cron("followups", verbose=True)[1]]

    def stumble(*arguments: object, **more: object) -> None:
        raise RuntimeError("a mistake of ours")

    one_more()
    with monkeypatch.context() as broken:
        broken.setattr("backend.app.inbox.prepare.prepare", stumble)
        broken.setattr(send, "claim_followup", stumble)
        shown += [installation.as_cron(script, verbose=True)[1] for script in ("sync", "followups")]
    manage = Manage(installation)
    for json_too in ([], ["--json"]):
        shown.append(manage("doctor", "--no-dns", *json_too, status=1).output)
        shown.append(manage("status", *json_too).output)
    everything = "\n".join(shown)
    assert "stored" in everything
    assert "kind=credentials" in everything or '"kind": "credentials"' in everything
    assert "a mistake of ours" in everything
    for name, canary in {**CANARIES, "key": installation.key}.items():
        assert canary not in everything, name
