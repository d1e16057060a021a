"""Errors on the command line."""

from palimpsest.cli import main


def test_an_error_of_the_operating_system_is_one_line(tmp_path, capsys):
    assert main(["table", "--eval-all", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: Is a directory\n"
