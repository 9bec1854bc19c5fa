"""Names that a user may choose: Amaranth hands them to Verilog unchecked, and they become file names too."""

import re

__all__ = ["ALLOWED_NAMES", "is_module_name"]

ALLOWED_NAMES = "[A-Za-z][A-Za-z0-9_]{0,62} that are not Verilog keywords"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_VERILOG_KEYWORDS = frozenset(
    "always and assign automatic begin bit buf bufif0 bufif1 byte case casex casez cell class clk cmos "
    "config const deassign default defparam design disable do edge else end endcase endconfig "
    "endfunction endgenerate endmodule endprimitive endspecify endtable endtask enum event export "
    "final for force forever fork function generate genvar highz0 highz1 if ifnone import incdir "
    "include initial inout input instance int integer interface join large liblist library "
    "localparam logic longint macromodule medium module nand negedge new nmos nor noshowcancelled "
    "not notif0 notif1 null or output package packed parameter pmos posedge primitive priority "
    "program property pull0 pull1 pulldown pullup rcmos real realtime ref reg release repeat return "
    "rnmos rpmos rst rtran rtranif0 rtranif1 scalared shortint signed small specify specparam static "
    "string strong0 strong1 struct super supply0 supply1 table task this time tran tranif0 tranif1 "
    "tri tri0 tri1 triand trior trireg type typedef union unique unsigned use var vectored virtual "
    "void wait wand weak0 weak1 while wire with wor xnor xor".split())


def is_module_name(name: str) -> bool:
    """Whether ``name`` can be a Verilog module and a file."""
    return _NAME.fullmatch(name) is not None and name.lower() not in _VERILOG_KEYWORDS
