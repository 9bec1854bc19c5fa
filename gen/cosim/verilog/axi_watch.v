// SPDX-License-Identifier: BSD-2-Clause
// Watches an AXI4 master in simulation. Whatever the memory behind the bus does, the master keeps these rules; a bit of
// `fault` stays for each that was broken:
//   0 1 2  AR, AW, W: what was offered changed or vanished before it was accepted
//   3      a burst leaves [base, base + limit * BEAT_BYTES), crosses 4 KiB or is longer than LONGEST transfers
//   4      WLAST does not stand on the last transfer that AWLEN announced, or data without their address were left
//   5      a valid or ready of the master is neither 0 nor 1
//   6      the master reports an error of the bus
// `reads_open` are bursts whose last data have not come, `writes_open` bursts that were not answered. W may run ahead of
// AW, up to 2^OPEN transfers and bursts.
module wingbeat_axi_watch #(
  parameter ADDRESS = 32,
  parameter DATA = 64,
  parameter LIMIT = 20,
  parameter BEAT_BYTES = 16,
  parameter LONGEST = 16,
  parameter OPEN = 10
) (
  input clk, input rst, input [ADDRESS-1:0] base, input [LIMIT-1:0] limit, input bus_error,
  input [ADDRESS-1:0] araddr, input [7:0] arlen, input [2:0] arsize, input arvalid, input arready,
  input [ADDRESS-1:0] awaddr, input [7:0] awlen, input [2:0] awsize, input awvalid, input awready,
  input [DATA-1:0] wdata, input [DATA/8-1:0] wstrb, input wlast, input wvalid, input wready,
  input rlast, input rvalid, input rready, input bvalid, input bready,
  output reg [6:0] fault, output reg [OPEN-1:0] reads_open, output reg [OPEN-1:0] writes_open
);
  reg [7:0] announced [0:(1<<OPEN)-1];  // AWLEN of bursts whose data have not all come
  reg [7:0] arrived [0:(1<<OPEN)-1];    // transfers less one of bursts whose AWLEN has not come
  reg [OPEN-1:0] announced_head, announced_tail, arrived_head, arrived_tail;
  reg [7:0] transfers;                  // of the burst on W
  reg ar_held, aw_held, w_held;
  reg [ADDRESS+10:0] ar_before, aw_before;
  reg [DATA+DATA/8:0] w_before;

  // In 96 bits nothing wraps.
  wire [95:0] ends = {{96-ADDRESS{1'b0}}, base} + {{96-LIMIT{1'b0}}, limit} * BEAT_BYTES;

  function outside(input [ADDRESS-1:0] address, input [7:0] len, input [2:0] size);
    reg [95:0] first, last;
    begin
      first = {{96-ADDRESS{1'b0}}, address};
      last = first + (({88'd0, len} + 1) << size) - 1;
      outside = address < base || last >= ends || first[95:12] != last[95:12] || {24'd0, len} >= LONGEST;
    end
  endfunction

  always @(posedge clk) begin
    if (rst) begin
      fault <= 0; reads_open <= 0; writes_open <= 0; transfers = 0;
      announced_head = 0; announced_tail = 0; arrived_head = 0; arrived_tail = 0;
      ar_held <= 0; aw_held <= 0; w_held <= 0;
    end else begin
      if (ar_held && (!arvalid || {araddr, arlen, arsize} !== ar_before)) fault[0] <= 1;
      if (aw_held && (!awvalid || {awaddr, awlen, awsize} !== aw_before)) fault[1] <= 1;
      if (w_held && (!wvalid || {wdata, wstrb, wlast} !== w_before)) fault[2] <= 1;
      ar_held <= arvalid && !arready;
      aw_held <= awvalid && !awready;
      w_held <= wvalid && !wready;
      ar_before <= {araddr, arlen, arsize};
      aw_before <= {awaddr, awlen, awsize};
      w_before <= {wdata, wstrb, wlast};

      if (arvalid && arready && outside(araddr, arlen, arsize)) fault[3] <= 1;
      if (awvalid && awready && outside(awaddr, awlen, awsize)) fault[3] <= 1;
      if (awvalid && awready) begin
        announced[announced_tail] = awlen;
        announced_tail = announced_tail + 1;
      end
      if (wvalid && wready) begin
        if (wlast) begin
          arrived[arrived_tail] = transfers;
          arrived_tail = arrived_tail + 1;
        end
        transfers = wlast ? 0 : transfers + 1;
      end
      if (announced_head != announced_tail && arrived_head != arrived_tail) begin
        if (announced[announced_head] != arrived[arrived_head]) fault[4] <= 1;
        announced_head = announced_head + 1;
        arrived_head = arrived_head + 1;
      end
      if (^{arvalid, awvalid, wvalid, rready, bready} === 1'bx) fault[5] <= 1;
      if (bus_error) fault[6] <= 1;
      reads_open <= reads_open + {{OPEN-1{1'b0}}, arvalid && arready}
                  - {{OPEN-1{1'b0}}, rvalid && rready && rlast};
      writes_open <= writes_open + {{OPEN-1{1'b0}}, awvalid && awready} - {{OPEN-1{1'b0}}, bvalid && bready};
    end
  end
endmodule
