"""Drivers as text: they fit every kind of core. What they do: tests/cosim/test_drivers.py."""

import subprocess

import pytest

from wingbeat.gen.output.drivers import driver_files
from wingbeat.gen.output.registers import register_files
from wingbeat.hw.config import CoreConfig

ARRAY = CoreConfig.of(name="fitting", layers=1, half_words=16, coefficient_words=16)
PROCESSOR = ARRAY.changed(memory_bits=8, block_log=4)
WIDE = ARRAY.changed(memory_bits=32, width=18, element_width=18)
CONFIGS = {
    "array": ARRAY.changed(bus={"control": "axi4-lite"}),
    "streams": ARRAY.changed(bus={"control": "wishbone", "stream": "axi4-stream"}),
    "native": PROCESSOR.changed(bus={"control": "wishbone"}),
    "no loader": ARRAY.changed(width=8, element_width=8, memory_bits=8, stream_words=2).changed(
        bus={"control": "axi4-lite"}),
    "wide": WIDE.changed(bus={"control": "axi4-lite", "memory": "axi4", "address_width": 64}),
    "bytes": ARRAY.changed(width=8, element_width=8, memory_bits=9).changed(bus={"control": "axi4-lite",
                                                                                "memory": "axi4"})}
COMPILERS = {"C": ["gcc", "-std=c99", "-x", "c"], "C++": ["g++", "-std=c++11", "-x", "c++"]}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("language", COMPILERS)
def test_c_without_a_warning(tmp_path, name, language):
    """Also where the lines of a C++ program include it."""
    for file, text in {**register_files(CONFIGS[name]), **driver_files(CONFIGS[name])}.items():
        (tmp_path / file).write_text(text)
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
    source = "fitting_driver.c" if language == "C" else "use.cc"
    (tmp_path / "use.cc").write_text('#include "fitting_driver.h"\nfitting_status status;\n')
    done = subprocess.run([*COMPILERS[language], *strict, source], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("name", CONFIGS)
def test_python_compiles(name):
    files = driver_files(CONFIGS[name])
    compile(files["fitting_driver.py"], "fitting_driver.py", "exec")
    assert ("simulator.cpp" in files) == CONFIGS[name].is_processor


@pytest.mark.parametrize("name", CONFIGS)
def test_same_configuration_same_text_and_no_long_line(name):
    files = driver_files(CONFIGS[name])
    assert files == driver_files(CONFIGS[name])
    lines = [line for text in files.values() for line in text.splitlines()]
    assert not [line for line in lines if len(line) > 120 or line != line.rstrip()]
