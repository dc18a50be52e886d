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


@pytest.fixture
def folder(policy, processor, tmp_path):
    policy.save_pretrained(tmp_path / "policy")
    processor.save_pretrained(tmp_path / "policy")
    return str(tmp_path / "policy")


def test_evaluate_reports_and_reports_again(folder, data_root, tmp_path, capsys):
    data = ["--data", str(data_root), "--split", "test_n", "--resamples", "3", "--json"]
    out = tmp_path / "report"
    assert main(["evaluate", folder, *data, "--out", str(out), "--max-new-tokens", "2"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])  # the fixtures' libraries have written to stdout too
    assert {"S", "J", "category_accuracy", "report", "protocol"} <= set(result)
    assert main(["evaluate", "--predictions", str(out / "predictions.jsonl"), "--out", str(out)]) == 2
    capsys.readouterr()
    again = ["evaluate", "--predictions", str(out / "predictions.jsonl"), *data, "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out) == {**result, "report": str(tmp_path / "again" / "report.json")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny"], "give --data ROOT"),
        ([], "either a CHECKPOINT"),
        (["tiny", "--predictions", "x"], "either a CHECKPOINT"),
        (["tiny", "--data", "nowhere"], "is no data root"),
        (["tiny", "--data", "DATA", "--batch-size", "0"], "at least 1"),
        (["tiny", "--data", "DATA", "--split", "test_s,test_s"], "each once"),
        (["--predictions", "nowhere.jsonl"], "There is no nowhere.jsonl"),
        (["--predictions", "nowhere.jsonl", "--force-seg"], "force_seg change how answers are made"),
        (["--predictions", "nowhere.jsonl", "--split", "test_s"], "give --data, too"),
        (["--predictions", "nowhere.jsonl", "--protocol", "best"], "nowhere.jsonl"),
    ],
)
def test_mistakes_in_evaluate_are_named(arguments, message, data_root, tmp_path, capsys):
    arguments = [str(data_root) if argument == "DATA" else argument for argument in arguments]
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "report")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_doctor_finds_the_generated_data_healthy(data_root, capsys):
    assert main(["doctor", str(data_root), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["is_healthy"]
    assert [finding["code"] for finding in result["findings"]] == []
    assert main(["doctor", "--metadata", str(data_root / "metadata.csv")]) == 0
    assert "Nothing stops training." in capsys.readouterr().out


def test_the_doctor_fails_on_a_damaged_folder(data_root, tmp_path, capsys):
    (tmp_path / "metadata.csv").write_text((data_root / "metadata.csv").read_text())
    assert main(["doctor", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out
    assert main(["doctor"]) == 2
    assert main(["doctor", str(tmp_path / "metadata.csv")]) == 2
    assert "--metadata" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["convert", "--help"],
        ["merge", "--help"],
        ["synth", "--help"],
        ["doctor", "--help"],
        ["evaluate", "--help"],
    ],
)
def test_help_teaches(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: aurora-trl" in capsys.readouterr().out
