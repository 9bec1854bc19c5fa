// SPDX-License-Identifier: BSD-2-Clause
// Memory behind the port of hw/memory/port.py, for simulation, with the speed and the stalls that its inputs ask for.
//
// Contents: on a clock edge with `load` the first `beats` beats come from memory.hex, on one with `dump` they go to
// after.hex, one beat a line, in the folder in which the simulator runs.
//
// Latency: a beat stands on `beats`, and `written` rises, `latency` >= 1 cycles after the request was accepted, or
// later. Throughput: each direction earns `gain` per cycle and pays `cost` for a beat; it saves at most one beat, so
// gain = cost is one beat per cycle. QUEUE requests of each kind can be under way; with more, ready falls.
// Stalls: in each cycle each of read.ready, beats.valid, write.ready, `written` (bits 0..7, 8..15, ... of `chances`) is
// held back with chance/256; a channel draws again in a cycle where `holds` masks a random byte to zero, so 0 draws in
// every cycle and 15 makes runs of 16 cycles on average.
// Order: reads show what had been reported as written when they were accepted. With `overtaking` a write shows in all
// reads that have not been delivered. Both are allowed at the port, and together they bound what a memory may do.
// Beat numbers from `limit` on are refused. `fault` keeps what the asker did wrong: bit 0, a read that was not accepted
// changed or vanished; bit 1, a write; bit 2, a valid that is neither 0 nor 1.
module wingbeat_memory #(
  parameter ADDRESS_BITS = 20,
  parameter ELEMENTS = 32,
  parameter ELEMENT_WIDTH = 18,
  parameter DEPTH = 1024,
  parameter QUEUE_BITS = 9,
  parameter BEAT = ELEMENTS * ELEMENT_WIDTH
) (
  input clk, input rst, input load, input dump,
  input [31:0] beats, input [ADDRESS_BITS:0] limit,
  input [15:0] latency, input [31:0] gain, input [31:0] cost, input overtaking,
  input [31:0] chances, input [7:0] holds, input [63:0] seed,
  input [ADDRESS_BITS-1:0] read_payload, input read_valid, output reg read_ready,
  output reg [BEAT-1:0] beats_payload, output reg beats_valid, input beats_ready,
  input [ADDRESS_BITS+ELEMENTS+BEAT-1:0] write_payload, input write_valid, output reg write_ready,
  output reg written, output reg refused,
  output reg [2:0] fault, output reg [QUEUE_BITS:0] reads_open, output reg [QUEUE_BITS:0] writes_open
);
  localparam QUEUE = 1 << QUEUE_BITS;

  reg [BEAT-1:0] memory [0:DEPTH-1];

  // What is under way. All but the ports is private to the one process below, which runs from top to bottom.
  reg [BEAT-1:0] read_beat [0:QUEUE-1];
  reg [ADDRESS_BITS-1:0] read_address [0:QUEUE-1];
  reg [31:0] read_due [0:QUEUE-1];
  reg [BEAT-1:0] write_beat [0:QUEUE-1];
  reg [ELEMENTS-1:0] write_strobe [0:QUEUE-1];
  reg [ADDRESS_BITS-1:0] write_address [0:QUEUE-1];
  reg [31:0] write_due [0:QUEUE-1];
  reg [QUEUE_BITS-1:0] read_head, read_tail, write_head, write_tail;
  reg [QUEUE_BITS:0] reads, writes;
  reg [31:0] now, read_credit, write_credit;
  reg [63:0] random;
  reg [3:0] stalled;
  reg offers;  // beats_valid of the coming cycle
  reg read_held, write_held;
  reg [ADDRESS_BITS-1:0] held_read;
  reg [ADDRESS_BITS+ELEMENTS+BEAT-1:0] held_write;
  integer channel;

  wire [ADDRESS_BITS-1:0] w_address = write_payload[ADDRESS_BITS-1:0];
  wire [ELEMENTS-1:0] w_strobe = write_payload[ADDRESS_BITS +: ELEMENTS];
  wire [BEAT-1:0] w_beat = write_payload[ADDRESS_BITS+ELEMENTS +: BEAT];

  task put(input [ADDRESS_BITS-1:0] address, input [ELEMENTS-1:0] strobe, input [BEAT-1:0] beat);
    integer e;
    if ({1'b0, address} < limit) begin
      if (&strobe) memory[address] = beat;
      else
        for (e = 0; e < ELEMENTS; e = e + 1)
          if (strobe[e]) memory[address][e*ELEMENT_WIDTH +: ELEMENT_WIDTH] = beat[e*ELEMENT_WIDTH +: ELEMENT_WIDTH];
    end
  endtask

  always @(posedge clk) begin
    if (load) $readmemh("memory.hex", memory, 0, beats - 1);
    if (dump) $writememh("after.hex", memory, 0, beats - 1);
    written <= 0;
    refused <= 0;
    if (rst) begin
      read_head = 0; read_tail = 0; reads = 0; write_head = 0; write_tail = 0; writes = 0;
      now = 0; read_credit = cost; write_credit = cost; random = seed; stalled = 0;
      read_held = 0; write_held = 0; offers = 0;
      fault <= 0;
    end else begin
      if (^{read_valid, write_valid, beats_ready} === 1'bx) fault[2] <= 1;
      if (read_held && (!read_valid || read_payload !== held_read)) fault[0] <= 1;
      if (write_held && (!write_valid || write_payload !== held_write)) fault[1] <= 1;
      read_held = read_valid && !read_ready;
      write_held = write_valid && !write_ready;
      if (read_held) held_read = read_payload;
      if (write_held) held_write = write_payload;

      // Requests come in. A read looks before a write of the same edge shows.
      if (read_valid && read_ready) begin
        read_address[read_tail] = read_payload;
        if ({1'b0, read_payload} < limit) read_beat[read_tail] = memory[read_payload];
        else refused <= 1;
        read_due[read_tail] = now + {16'd0, latency} - 1;
        read_tail = read_tail + 1;
        reads = reads + 1;
      end
      if (write_valid && write_ready) begin
        if (overtaking) put(w_address, w_strobe, w_beat);
        if ({1'b0, w_address} >= limit) refused <= 1;
        write_address[write_tail] = w_address;
        write_strobe[write_tail] = w_strobe;
        write_beat[write_tail] = w_beat;
        write_due[write_tail] = now + {16'd0, latency} - 1;
        write_tail = write_tail + 1;
        writes = writes + 1;
        write_credit = write_credit - cost;
      end

      // What is due goes out.
      if (writes != 0 && now >= write_due[write_head] && !stalled[3]) begin
        if (!overtaking) put(write_address[write_head], write_strobe[write_head], write_beat[write_head]);
        written <= 1;
        write_head = write_head + 1;
        writes = writes - 1;
      end
      if (offers && beats_ready) begin
        offers = 0;
        beats_payload <= {BEAT{1'bx}};
      end
      if (!offers && reads != 0 && now >= read_due[read_head] && read_credit >= cost && !stalled[1]) begin
        offers = 1;
        if ({1'b0, read_address[read_head]} >= limit) beats_payload <= {BEAT{1'b0}};
        else beats_payload <= overtaking ? memory[read_address[read_head]] : read_beat[read_head];
        read_head = read_head + 1;
        reads = reads - 1;
        read_credit = read_credit - cost;
      end
      now = now + 1;
      read_credit = (read_credit < cost ? read_credit : cost) + gain;
      write_credit = (write_credit < cost ? write_credit : cost) + gain;
      if (chances != 0) begin  // xorshift64
        random = random ^ (random << 13);
        random = random ^ (random >> 7);
        random = random ^ (random << 17);
        for (channel = 0; channel < 4; channel = channel + 1)
          if ((random[16*channel +: 8] & holds) == 0)
            stalled[channel] = random[16*channel + 8 +: 8] < chances[8*channel +: 8];
      end
    end
    read_ready <= reads < QUEUE && !stalled[0];
    write_ready <= writes < QUEUE && !stalled[2] && write_credit >= cost;
    beats_valid <= offers;
    reads_open <= reads + {{QUEUE_BITS{1'b0}}, offers};
    writes_open <= writes;
  end
endmodule
