import json

import pytest

from aurora_trl.cli.main import main


def test_synth_writes_a_data_set_once(tmp_path, capsys):
    arguments = ["synth", str(tmp_path / "data"), "--clips", "2", "--seed", "5", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {"root": str(tmp_path / "data"), "clips": 2, "seed": 5}
    written = (tmp_path / "data" / "metadata.csv").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (tmp_path / "data" / "metadata.csv").stat().st_mtime_ns == written


def test_a_users_mistake_is_one_line_and_no_success(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("not a data set")
    assert main(["synth", str(tmp_path), "--clips", "2"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aurora-trl: ")
    assert "Traceback" not in error
    assert (tmp_path / "mine.txt").read_text() == "not a data set"


def test_evaluate_reports(policy, processor, data_root, tmp_path, capsys):
    policy.save_pretrained(tmp_path / "policy")
    processor.save_pretrained(tmp_path / "policy")
    arguments = ["evaluate", str(tmp_path / "policy"), "--data", str(data_root), "--split", "test_n"]
    assert main([*arguments, "--out", str(tmp_path / "report"), "--max-new-tokens", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])  # the fixtures' libraries have written to stdout too
    assert {"S", "J", "category_accuracy", "report", "protocol"} <= set(result)


@pytest.mark.parametrize("arguments", [["--help"], ["synth", "--help"], ["evaluate", "--help"]])
def test_help_teaches(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: aurora-trl" in capsys.readouterr().out
