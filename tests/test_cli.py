"""The command line's answer to what goes wrong."""

from palimpsest.cli import main


def test_what_the_system_refuses_is_one_line(tmp_path, capsys):
    assert main(["table", "--eval-all", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: Is a directory\n"
