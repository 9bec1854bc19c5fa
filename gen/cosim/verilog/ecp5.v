// SPDX-License-Identifier: BSD-2-Clause
// Simulation models of two ECP5 primitives, in the settings that the generated Verilog uses and no others.
//
// Written from Lattice FPGA-TN-02205 (sysDSP usage guide) and FPGA-TN-02204 (memory usage guide). A setting
// that is not modelled
// ends the simulation; a parameter that is not modelled does not exist here, so that the build fails.
// What the hardware leaves undefined is X: random bits on a two-state simulator.

`default_nettype none

// Signed 18 x 18 bit multiplier: input, pipeline and output registers, each on CLK0 or left out. GSR does
// nothing
// after power-up.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTA_CE = "CE0", parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTB_CE = "CE0", parameter REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", parameter REG_PIPELINE_CE = "CE0", parameter REG_PIPELINE_RST =
        "RST0",
    parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0", parameter REG_OUTPUT_RST = "RST0",
    parameter GSR = "ENABLED", parameter RESETMODE = "SYNC"
) (
    input wire A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input wire B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input wire C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input wire SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output wire P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
           P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire signed [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire signed [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg signed [17:0] a_register, b_register;
    reg signed [35:0] product_register, output_register;

    wire signed [17:0] a_stage = REG_INPUTA_CLK == "CLK0" ? a_register : a;
    wire signed [17:0] b_stage = REG_INPUTB_CLK == "CLK0" ? b_register : b;
    wire signed [35:0] product = a_stage * b_stage;
    wire signed [35:0] product_stage = REG_PIPELINE_CLK == "CLK0" ? product_register : product;
    wire signed [35:0] p = REG_OUTPUT_CLK == "CLK0" ? output_register : product_stage;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
        P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;

    always @(posedge CLK0)
        if (RST0) begin
            a_register <= 0;
            b_register <= 0;
            product_register <= 0;
            output_register <= 0;
        end else if (CE0) begin
            a_register <= a;
            b_register <= b;
            product_register <= product;
            output_register <= product_stage;
        end

    initial begin
        if ((REG_INPUTA_CLK != "CLK0" && REG_INPUTA_CLK != "NONE")
            || (REG_INPUTB_CLK != "CLK0" && REG_INPUTB_CLK != "NONE")
            || (REG_PIPELINE_CLK != "CLK0" && REG_PIPELINE_CLK != "NONE")
            || (REG_OUTPUT_CLK != "CLK0" && REG_OUTPUT_CLK != "NONE"))
            $fatal(1, "MULT18X18D: a REG_*_CLK is not modelled; allowed are CLK0 and NONE");
        if (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0"
            || REG_OUTPUT_CE != "CE0")
            $fatal(1, "MULT18X18D: a REG_*_CE is not modelled; allowed is CE0");
        if (REG_INPUTA_RST != "RST0" || REG_INPUTB_RST != "RST0" || REG_PIPELINE_RST != "RST0"
            || REG_OUTPUT_RST != "RST0")
            $fatal(1, "MULT18X18D: a REG_*_RST is not modelled; allowed is RST0");
        if (RESETMODE != "SYNC") $fatal(1, "MULT18X18D: RESETMODE is not modelled; allowed is SYNC");
    end

    always @(posedge CLK0)
        if (SIGNEDA !== 1'b1 || SIGNEDB !== 1'b1 || SOURCEA !== 1'b0 || SOURCEB !== 1'b0)
            $fatal(1, "MULT18X18D: only signed operands from the pins A and B are modelled");
endmodule

// 18 kbit block RAM, port A writing and port B reading words of one width. Pins: the address starts at bit
// 14 - log2(depth); below it, on the write side, stand the byte enables. Width 36 takes both ports: DIA, DOA
// are the low half.
// A word that is read in the cycle in which it is written is undefined. All words are 0 at power-up.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", parameter GSR = "ENABLED",
    parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL"
) (
    input wire DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
          DIA3, DIA2, DIA1, DIA0,
    input wire ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input wire CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    input wire DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
          DIB3, DIB2, DIB1, DIB0,
    input wire ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input wire CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output wire DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
           DOA3, DOA2, DOA1, DOA0,
    output wire DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
           DOB3, DOB2, DOB1, DOB0
);
    localparam WIDTH = DATA_WIDTH_B;
    localparam DEPTH_BITS = WIDTH == 36 ? 9 : WIDTH == 18 ? 10 : WIDTH == 9 ? 11 : WIDTH == 4 ? 12
        : WIDTH == 2 ? 13 : 14;
    localparam BYTES = WIDTH == 36 ? 4 : WIDTH == 18 ? 2 : 1;

    wire [13:0] write_pins = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
        ADA1, ADA0};
    wire [13:0] read_pins = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
        ADB0};
    wire [35:0] data = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [DEPTH_BITS-1:0] write_address = write_pins[13:14-DEPTH_BITS];
    wire [DEPTH_BITS-1:0] read_address = read_pins[13:14-DEPTH_BITS];
    wire write = CEA && WEA;

    reg [WIDTH-1:0] memory [0:(1<<DEPTH_BITS)-1];
    reg [WIDTH-1:0] read_register, output_register;
    integer at;
    initial for (at = 0; at < (1 << DEPTH_BITS); at = at + 1) memory[at] = 0;

    genvar lane;
    generate
        if (WIDTH >= 18) begin : bytes
            for (lane = 0; lane < BYTES; lane = lane + 1) begin : each
                always @(posedge CLKA)
                    if (write && write_pins[lane]) memory[write_address][9*lane +: 9] <= data[9*lane +: 9];
            end
        end else begin : whole
            always @(posedge CLKA) if (write) memory[write_address] <= data[WIDTH-1:0];
        end
    endgenerate

    always @(posedge CLKB) begin
        if (RSTB) read_register <= 0;
        else if (CEB)
            read_register <= write && write_address == read_address ? {WIDTH{1'bx}} : memory[read_address];
        if (RSTB) output_register <= 0;
        else if (OCEB) output_register <= read_register;
    end

    wire [WIDTH-1:0] word = REGMODE_B == "OUTREG" ? output_register : read_register;
    wire [35:0] shown = word | 36'b0;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0} = WIDTH == 36 ? shown[35:18] : shown[17:0];
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0} = WIDTH == 36 ? shown[17:0] : 18'bx;  // below width 36 port A reads nothing here

    initial begin
        if (DATA_WIDTH_A != DATA_WIDTH_B)
            $fatal(1, "DP16KD: DATA_WIDTH_A = %0d, DATA_WIDTH_B = %0d; only equal widths are modelled",
                DATA_WIDTH_A, DATA_WIDTH_B);
        if (WIDTH != 36 && WIDTH != 18 && WIDTH != 9 && WIDTH != 4 && WIDTH != 2 && WIDTH != 1)
            $fatal(1, "DP16KD: DATA_WIDTH_A = %0d; allowed are 1, 2, 4, 9, 18, 36", DATA_WIDTH_A);
        if ((REGMODE_B != "OUTREG" && REGMODE_B != "NOREG") || (WIDTH == 36 && REGMODE_A != REGMODE_B))
            $fatal(1, "DP16KD: REGMODE_A = %s, REGMODE_B = %s; allowed are OUTREG and NOREG, equal at 36",
                REGMODE_A, REGMODE_B);
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
            $fatal(1, "DP16KD: CSDECODE is not modelled; allowed is 0b000");
        if (WRITEMODE_A != "NORMAL" || WRITEMODE_B != "NORMAL")
            $fatal(1, "DP16KD: WRITEMODE is not modelled; allowed is NORMAL");
        if (RESETMODE != "SYNC") $fatal(1, "DP16KD: RESETMODE is not modelled; allowed is SYNC");
    end

    always @(posedge CLKB) begin
        if ({CSA2, CSA1, CSA0, CSB2, CSB1, CSB0} !== 6'b0) $fatal(1, "DP16KD: chip selects must be 0");
        if (RSTA !== 1'b0) $fatal(1, "DP16KD: RSTA must be 0");
        if (CEA && !WEA) $fatal(1, "DP16KD: port A only writes in this model");
        if (CEB && WEB) $fatal(1, "DP16KD: port B only reads in this model");
        // At width 36 both output registers hold halves of one word.
        if (WIDTH == 36 && OCEA !== OCEB) $fatal(1, "DP16KD: OCEA and OCEB must be equal at width 36");
    end
endmodule

// Two bits of a carry chain. Each bit has a function of four inputs, which propagates the carry, and generates a
// carry by the same function with C and D at zero. Only the setting without injected carries is modelled.
module CCU2C (input CIN, input A0, input B0, input C0, input D0, input A1, input B1, input C1, input D1,
              output S0, output S1, output COUT);
    parameter [15:0] INIT0 = 16'h0000;
    parameter [15:0] INIT1 = 16'h0000;
    parameter INJECT1_0 = "NO";
    parameter INJECT1_1 = "NO";

    // Input by input, so that one that the table ignores may be undefined: an index would make the result so.
    function lookup(input [15:0] table_bits, input d, input c, input b, input a);
        reg [7:0] eight;
        reg [3:0] four;
        reg [1:0] two;
        begin
            eight = d ? table_bits[15:8] : table_bits[7:0];
            four = c ? eight[7:4] : eight[3:0];
            two = b ? four[3:2] : four[1:0];
            lookup = a ? two[1] : two[0];
        end
    endfunction

    wire propagate0 = lookup(INIT0, D0, C0, B0, A0);
    wire propagate1 = lookup(INIT1, D1, C1, B1, A1);
    wire carry1 = propagate0 ? CIN : lookup(INIT0, 1'b0, 1'b0, B0, A0);
    assign COUT = propagate1 ? carry1 : lookup(INIT1, 1'b0, 1'b0, B1, A1);
    assign S0 = propagate0 ^ CIN;
    assign S1 = propagate1 ^ carry1;

    initial if (INJECT1_0 != "NO" || INJECT1_1 != "NO")
        $fatal(1, "CCU2C: INJECT1_0 = %s, INJECT1_1 = %s; only NO is modelled", INJECT1_0, INJECT1_1);
endmodule

`default_nettype wire
