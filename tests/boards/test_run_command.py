"""`wingbeat run`: its numbers, and what it refuses in one line. The simulated top of the ULX3S runs in the campaign."""

from contextlib import contextmanager
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from wingbeat.boards import run_command
from wingbeat.boards.run_command import run_board
from wingbeat.boards.ulx3s import Ulx3sTop
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.hw.errors import WingbeatError


def command(*arguments):
    """Exit code, or the fault."""
    app = typer.Typer()
    app.command()(run_board)
    result = CliRunner().invoke(app, list(arguments), standalone_mode=False)
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value, result.output


@contextmanager
def _model_as_board(monkeypatch, spoil=0):
    """Puts the integer model in the place of the board."""
    class Host:
        def __init__(self, bus, config):
            pass

        def run(self, compiled, inputs, report):
            report("loaded")
            results = compiled.execute_model(inputs).results
            results[0, 0, 0] += spoil
            return type("Answer", (), {"results": results, "cycles": [7500]})()

    @contextmanager
    def port(*arguments):
        yield None
    monkeypatch.setattr(run_command, "serial_line", port)
    monkeypatch.setattr("wingbeat.boards.network_host.NetworkHost", Host)
    monkeypatch.setattr("wingbeat.boards.uart_bus.UartBus", lambda port: None)
    yield


def test_predictions_accuracy_and_times(monkeypatch, tmp_path):
    with _model_as_board(monkeypatch):
        place = tmp_path / "run.json"
        code, _ = command("ulx3s", "--network", "digits", "--port", "x", "--images", "10", "--no-load", "--json",
                          str(place))
    facts = json.loads(place.read_text())
    assert code == 0 and facts["accuracy"] == 1.0 and facts["predictions"] == facts["labels"]
    assert facts["core_seconds_per_input"] == pytest.approx(7500 / Ulx3sTop.clock_hz / 10)
    assert facts["mismatches"] == 0 and facts["inputs"] == 10


def test_a_result_that_differs_is_exit_code_1(monkeypatch):
    with _model_as_board(monkeypatch, spoil=1):
        code, output = command("ulx3s", "--network", "digits", "--port", "x", "--images", "3", "--no-load")
    assert code == 1 and "1 results differ from the integer model" in output


def test_inputs_without_labels(monkeypatch, tmp_path):
    place, record = tmp_path / "x.npz", tmp_path / "run.json"
    np.savez(place, inputs=np.zeros((2, 8, 8)))
    with _model_as_board(monkeypatch):
        command("ulx3s", "--network", "digits", "--port", "x", "--inputs", str(place), "--no-load", "--json",
                str(record))
    facts = json.loads(record.read_text())
    assert facts["labels"] is None and facts["accuracy"] is None and len(facts["predictions"]) == 2


@pytest.mark.parametrize("arguments, message", [
    (("icebreaker", "--network", "digits", "--port", "x"), "board: icebreaker carries an array; .*"),
    (("ulx3s", "--network", "digits", "--port", "/nowhere/tty", "--no-load"),
     "--port: '/nowhere/tty' cannot be opened: .*"),
    (("ulx3s", "--network", "digits", "--port", "x", "--bitstream", "no.bit"), "--bitstream: 'no.bit' is missing; .*"),
    (("ulx3s", "--network", "digits", "--port", "simulator", "--no-load"), "--load: False; allowed only with a serial "
                                                                          "port"),
    (("ulx3s", "--network", "digits", "--port", "x", "--inputs", "no.npz"), "--inputs: 'no.npz' cannot be read: .*"),
])
def test_refusals_are_one_line(arguments, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        command(*arguments)


def test_the_loader_is_called_or_named(monkeypatch, tmp_path, capfd):
    bitstream = tmp_path / "ulx3s.bit"
    bitstream.write_bytes(b"bits")
    monkeypatch.setenv("PATH", str(tmp_path))
    run_command.load_bitstream(Ulx3sTop, bitstream)
    assert f"openFPGALoader --board ulx3s {bitstream}" in capfd.readouterr().err.replace("\n", "")
    tool = tmp_path / "openFPGALoader"
    tool.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/called\necho broken cable\nexit 3\n")
    tool.chmod(0o755)
    with pytest.raises(WingbeatError, match="^openFPGALoader: exit code 3: broken cable$"):
        run_command.load_bitstream(Ulx3sTop, bitstream)
    assert Path(tmp_path / "called").read_text() == f"--board ulx3s {bitstream}\n"


@pytest.mark.campaign
@pytest.mark.parametrize("network, images", [("digits", 20), ("digits_attention", 20)])
def test_the_simulated_top_says_what_the_model_says(network, images, tmp_path):
    """UART to UART, two batches and more, the Verilog that the bitstream is made of."""
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no board top was simulated on it")
    place = tmp_path / "run.json"
    code, _ = command("ulx3s", "--network", network, "--port", "simulator", "--images", str(images), "--json",
                      str(place))
    facts = json.loads(place.read_text())
    assert code == 0 and facts["mismatches"] == 0 and facts["accuracy"] >= 0.95
