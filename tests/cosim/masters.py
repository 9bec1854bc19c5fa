"""Masters of control buses for cocotb benches: that of cocotbext-axi, and one for Wishbone, classic and pipelined in
turn. ``pauses``: called with a seed, runs of cycles with and without a pause."""

import itertools

from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

__all__ = ["AxiLiteHost", "WishboneHost"]


class AxiLiteHost:
    """The master of cocotbext-axi."""

    def __init__(self, dut, pauses):
        self._master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_ctrl"), dut.clk, dut.rst)
        write, read = self._master.write_if, self._master.read_if
        for number, channel in enumerate((write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                                          read.r_channel)):
            channel.set_pause_generator(pauses(number))

    async def write(self, address, data, length=4):
        """Whether it was done."""
        return int((await self._master.write(address, data.to_bytes(length, "little"))).resp) == 0

    async def read(self, address):
        """What was read, and whether without an error."""
        found = await self._master.read(address, 4)
        return int.from_bytes(found.data, "little"), int(found.resp) == 0


class WishboneHost:
    """One access at a time, with strobes of one cycle or until the answer."""

    def __init__(self, dut, pauses):
        self._dut, self._pauses, self._turn = dut, pauses("wishbone"), itertools.cycle((False, True))
        for name in ("cyc", "stb", "we", "adr", "dat", "sel"):
            getattr(dut, f"wb_{name}_i").value = 0

    async def _access(self, address, data, select):
        dut, edge, is_pipelined = self._dut, RisingEdge(self._dut.clk), next(self._turn)
        while next(self._pauses):
            await edge
        for name, value in (("cyc", 1), ("stb", 1), ("we", data is not None), ("adr", address), ("dat", data or 0),
                            ("sel", select)):
            getattr(dut, f"wb_{name}_i").value = value
        while True:
            await edge
            if is_pipelined and not int(dut.wb_stall_o.value):
                dut.wb_stb_i.value = 0
            if int(dut.wb_ack_o.value) or int(dut.wb_err_o.value):
                break
        found = int(dut.wb_dat_o.value), bool(int(dut.wb_ack_o.value))
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
        return found

    async def write(self, address, data, length=4):
        return (await self._access(address, data, (1 << length) - 1))[1]

    async def read(self, address):
        return await self._access(address, None, 15)
