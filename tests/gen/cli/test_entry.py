"""The installed script: signals end it quietly, whenever they come, and leave nothing; any terminal will do."""

import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(tmp_path, number):
    """In a folder that exists and in a new one, while the Verilog is being written; these tests may run under nohup."""
    (tmp_path / "here").mkdir()
    for target in ("here", "new/core"):
        run = subprocess.Popen([sys.executable, "-c", "from wingbeat.gen.cli.entry import run; run()", "generate",
                                "--preset", "processor-16", "-o", target], cwd=tmp_path, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
        while run.poll() is None and not list(tmp_path.rglob("new/rtl")):
            time.sleep(0.01)
        run.send_signal(number)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 128 + number and errors == b""
        assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_commands_are_imported(number):
    program = ("import os, sys; from wingbeat.gen.cli.entry import run\n"
               "class Finder:\n"
               "    def find_spec(self, name, *more):\n"
               f"        if name.endswith('cli.app'): os.kill(os.getpid(), {number.value})\n"
               "sys.meta_path.insert(0, Finder()); run()")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60,
                         preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert (run.returncode, run.stderr) == (128 + number, b"")


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup."""
    program = ("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); import wingbeat.gen.cli.app as app; "
               "app.main = lambda: signal.getsignal(signal.SIGHUP) == signal.SIG_IGN; "
               "from wingbeat.gen.cli.entry import run; run()")
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 1


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {
    "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}], ids=["ascii", "locale"])
def test_a_plain_terminal_is_no_fault(tmp_path, environment):
    environment = {**os.environ, **environment}
    for arguments, code in ((["generate", "--preset", "tiny", "-o", "größe"], 0), (["check", "größe.hex"], 2),
                            (["generate", "--config", "größe.toml", "-o", "größe"], 2)):
        run = subprocess.run([sys.executable, "-c", "from wingbeat.gen.cli.entry import run; run()", *arguments],
                             cwd=tmp_path, env=environment, capture_output=True, timeout=60)
        assert run.returncode == code and b"Traceback" not in run.stderr and run.stderr.isascii()
    assert [path.name for path in tmp_path.iterdir()] == ["größe"]
