// SPDX-License-Identifier: BSD-2-Clause
// Runs one trial on a processor in simulation: sends the setup writes and notes what happens.
//
// Files stand in the folder in which the simulator runs. Read from `load` on: setup.hex, one setup write a line.
// Written until `dump`: blocks.txt, a line "cycle bits" with the `block` vector for every block, and with `tracing`
// activity.txt, such a line for the first cycle and for every change of `activity`.
//
// While `setup_valid` is low the payload is noise: target and address of one of the writes so far, other data. Whoever
// takes it nevertheless spoils what the program needs.
//
// Cycle k is the k-th rising edge after the reset. The trial ends in the first cycle in which all writes have been
// sent and the processor is not busy, or `error` is not 0, or the memory has seen a fault, or `deadline` has come.
// `done` rises SETTLE cycles later, or when all writes have reached the memory. `start_cycle` is the cycle in which
// the last write to START_TARGET was accepted; `reads_left` and `writes_left` were under way in cycle `end_cycle`, and
// `late_requests` were accepted after it.
module wingbeat_driver #(
  parameter BLOCK = 8,
  parameter BLOCK_VALID = 0,
  parameter ACTIVITY = 1,
  parameter OPEN = 10,
  parameter TARGET_BITS = 1,   // of a setup write, its lowest bits
  parameter START_TARGET = 0,  // the setup target whose write starts the program
  parameter SETTLE = 64
) (
  input clk, input rst, input load, input dump, input tracing, input [31:0] deadline,
  output reg [63:0] setup_payload, output reg setup_valid, input setup_ready,
  input busy, input failed, input fault, input [BLOCK-1:0] block, input [ACTIVITY-1:0] activity,
  input read_moves, input write_moves, input written, input [OPEN-1:0] reads_open, input [OPEN-1:0] writes_open,
  output reg done, output reg ended, output reg timeout, output reg [31:0] setup_writes,
  output reg [31:0] start_cycle, output reg [31:0] end_cycle, output reg [31:0] written_cycle,
  output reg [31:0] reads, output reg [31:0] writes, output reg [31:0] late_requests,
  output reg [OPEN-1:0] reads_left, output reg [OPEN-1:0] writes_left
);

  integer setup_file, block_file, activity_file, items;
  reg [31:0] cycle;
  reg [63:0] line;
  reg at_end;      // of setup.hex
  reg seen_busy;   // since the last start
  reg [63:0] sent [0:1023];  // writes so far, for the noise; a sample of them where there are more
  reg [31:0] kept;
  reg [63:0] random;
  reg [ACTIVITY-1:0] activity_before;

  wire stops = failed || fault || cycle >= deadline || at_end && seen_busy && !busy;

  always @(posedge clk) begin
    if (load) begin
      setup_file = $fopen("setup.hex", "r");
      block_file = $fopen("blocks.txt", "w");
      if (tracing) activity_file = $fopen("activity.txt", "w");
      sent[0] = 0;
    end
    if (dump) begin
      $fclose(setup_file);
      $fclose(block_file);
      if (tracing) $fclose(activity_file);
    end
    if (rst) begin
      setup_valid <= 0; at_end <= 0; setup_writes <= 0; setup_payload <= 64'h5A5A_5A5A_5A5A_5A5A;
      random = 64'h9E37_79B9_7F4A_7C15; kept = 0;
      done <= 0; ended <= 0; timeout <= 0; seen_busy <= 0; cycle <= 1;
      start_cycle <= 0; end_cycle <= 0; written_cycle <= 0; reads <= 0; writes <= 0; late_requests <= 0;
      reads_left <= 0; writes_left <= 0;
    end else if (!done) begin
      cycle <= cycle + 1;
      random = random ^ (random << 13);  // xorshift64
      random = random ^ (random >> 7);
      random = random ^ (random << 17);
      if (!setup_valid || setup_ready) begin
        items = 0;
        if (!at_end) items = $fscanf(setup_file, "%h", line);
        setup_valid <= items == 1;
        at_end <= items != 1;
        if (items == 1) begin
          sent[kept < 1024 ? kept[9:0] : random[9:0]] = line;
          if (kept < 1024) kept = kept + 1;
          setup_payload <= line;
        end else setup_payload <= sent[kept == 0 ? 0 : {22'd0, random[9:0]} % kept] ^ {random[63:24], 24'd0};
      end
      if (busy) seen_busy <= 1;
      if (setup_valid && setup_ready) begin
        setup_writes <= setup_writes + 1;
        if (setup_payload[TARGET_BITS-1:0] == START_TARGET) begin
          start_cycle <= cycle;
          seen_busy <= 0;
        end
      end

      reads <= reads + {31'd0, read_moves};
      writes <= writes + {31'd0, write_moves};
      if (written) written_cycle <= cycle;
      if (block[BLOCK_VALID]) $fwrite(block_file, "%0d %h\n", cycle, block);
      activity_before <= activity;
      if (tracing && (cycle == 1 || activity != activity_before)) $fwrite(activity_file, "%0d %h\n", cycle, activity);

      if (!ended && stops) begin
        ended <= 1;
        timeout <= cycle >= deadline;
        end_cycle <= cycle;
        reads_left <= reads_open;
        writes_left <= writes_open;
      end
      if (ended) begin
        late_requests <= late_requests + {31'd0, read_moves} + {31'd0, write_moves};
        done <= cycle >= end_cycle + SETTLE && writes_open == 0;
      end
    end
  end
endmodule
