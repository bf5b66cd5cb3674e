"""Channels in the settings: no secret, no channel; statements on the command line: a mistake is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.errors import WrongUsageError
from api.cli.payments import read_statement
from api.settings import Payments, Settings, SettingsError, load_settings
from twin.payments import StatementRow

SECRET = "s" * 32


def settings_of(folder: Path, text: str) -> Settings:
    file = folder / "twinmeter.toml"
    file.write_text(f'[payments.we-chat]\nsite = "park-1"\nmerchant = "m"\n{text}', encoding="utf-8")
    return load_settings(config=str(file))


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'n' * 32}\n{SECRET}\n")
    channel = settings_of(tmp_path, f'secret_file = "{keys}"\nanswer = "text"').payment_channels()["we-chat"]
    assert (channel.site, channel.merchant, channel.secrets) == ("park-1", "m", ("n" * 32, SECRET))
    assert (channel.window_s, channel.answer) == (300, "text")
    monkeypatch.setenv("TWINMETER_PAYMENT_WE_CHAT_SECRET", "e" * 32)
    assert settings_of(tmp_path, "").payment_channels()["we-chat"].secrets == ("e" * 32,)


@pytest.mark.parametrize(
    ("secret", "said"), [("", "it has no secret; give TWINMETER_PAYMENT_WE_CHAT_SECRET"), ("short", "32 characters")]
)
def test_a_channel_without_a_secret_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, said: str
) -> None:
    monkeypatch.setenv("TWINMETER_PAYMENT_WE_CHAT_SECRET", secret)
    with pytest.raises(SettingsError, match=said):
        settings_of(tmp_path, "").payment_channels()


def test_a_secret_does_not_stand_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown field `secret`"):
        settings_of(tmp_path, f'secret = "{SECRET}"')
    assert SECRET not in str(settings_of(tmp_path, "").shown())


def test_names_are_such_as_the_ledger_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINMETER_PAYMENT_A_B_SECRET", SECRET)
    with pytest.raises(SettingsError, match="small letters"):
        Payments("park-1", "m").channel("A b")


def test_a_statement_is_read(tmp_path: Path) -> None:
    file = tmp_path / "statement.csv"
    file.write_text("\ufefftransaction,tenant,amount_fen,note\n42,t-001,5000,x\n", encoding="utf-8")
    assert read_statement(file) == [StatementRow("42", "t-001", 5_000)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,tenant\n", "the first line must be transaction,tenant,amount_fen"),
        ("transaction,tenant,amount_fen\n1,t-001,50.00\n", "line 2"),
        ("transaction,tenant,amount_fen\n1,t-001,5\n2,t-001,-5\n", "line 3"),
        ("transaction,tenant,amount_fen\n1,t-001\n", "line 2"),
    ],
)
def test_a_mistake_in_a_statement_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "statement.csv"
    file.write_text(text)
    with pytest.raises(WrongUsageError, match=said):
        read_statement(file)
