"""A board of amaranth-boards takes a file of 60 lines at most, and its top elaborates for its platform."""

from pathlib import Path

from wingbeat.boards import ecpix5
from wingbeat.boards.build import BOARDS
from wingbeat.boards.ecpix5 import Ecpix5Top


def test_the_file_is_short():
    assert len(Path(ecpix5.__file__).read_text().splitlines()) <= 60


def test_the_plan_has_the_pins_and_the_clock(monkeypatch):
    monkeypatch.setattr("wingbeat.boards.top.emit", lambda component, name: f"module {name}(); endmodule\n")
    for tool in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK"):
        monkeypatch.setenv(tool, "true")
    plan = Ecpix5Top.platform().build(Ecpix5Top(), "ecpix5", do_build=False)
    netlist, pins = plan.files["ecpix5.il"], plan.files["ecpix5.lpf"]
    assert b"EHXPLLL" in netlist.encode() if isinstance(netlist, str) else b"EHXPLLL" in netlist
    text = pins if isinstance(pins, str) else pins.decode()
    assert 'LOCATE COMP "uart_0__rx__io" SITE "R26"' in text and "rgb_led_0__b" in text and "75000000" in text
    assert BOARDS["ecpix5"] is Ecpix5Top
