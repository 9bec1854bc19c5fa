/* Thirty steps of a host with the C driver of a generated core, on its simulator. facts.h has a program and the memory
 * before and after it. test_drivers.py makes the same steps with the Python driver. */
#include <stdio.h>
#include <string.h>

#include "facts.h"
#include "runner_driver.h"
#include "simulator.h"

#define POLLS 100000
#define BOTH (RUNNER_INTERRUPT_STATE_DONE_MASK | RUNNER_INTERRUPT_STATE_ERROR_MASK)

static int step, failures;
static uint32_t altered_address, altered_by;

static void check(const char *name, int good)
{
    step++;
    failures += !good;
    printf("step %d %s %s\n", step, good ? "passed" : "FAILED", name);
}

/* A bus on which one register reads as something else. */
static int altered_read(void *bus, uint32_t address, uint32_t *value)
{
    int failed = simulator_read(bus, address, value);

    if (address == altered_address)
        *value += altered_by;
    return failed;
}

static runner_result open_altered(uint32_t address, uint32_t by)
{
    runner_core core = {altered_read, simulator_write, NULL};

    altered_address = address;
    altered_by = by;
    return runner_open(&core);
}

static void write_image(void)
{
    memcpy(simulator_memory() + BASE, before, sizeof before);
    memcpy(simulator_memory() + BASE + sizeof before, records, sizeof records);
}

static int is_right(void)
{
    return !memcmp(simulator_memory() + BASE, after, sizeof after);
}

static runner_result window(const runner_core *core, uint64_t base)
{
#if HAS_WINDOW
    return runner_set_window(core, base, sizeof before / RUNNER_BEAT_BYTES + sizeof records / RUNNER_BEAT_BYTES);
#else
    (void)core;
    return base == BASE ? RUNNER_OK : RUNNER_BAD_ARGUMENT;   /* the memory is the core's own */
#endif
}

/* Waits for irq as a host would that sleeps meanwhile. */
static uint32_t events_of_run(const runner_core *core)
{
    uint32_t events = 0;
    int at;

    for (at = 0; at < 10000 && !simulator_run(10); at++)
        ;
    runner_take_events(core, &events);
    return events;
}

int main(void)
{
    const runner_core core = {simulator_read, simulator_write, NULL};
    const size_t first = sizeof before / RUNNER_BEAT_BYTES, beats = sizeof records / RUNNER_BEAT_BYTES;
    const uint64_t bad_word[] = {CONTROL_WORD, 0}, illegal[] = {ILLEGAL_WORD};
    uint64_t counters[RUNNER_COUNTER_COUNT], again[RUNNER_COUNTER_COUNT];
    uint8_t memory[8 * RUNNER_SLOT_BYTES];
    runner_status status;
    runner_result result;
    uint32_t events;
    size_t at;
    int good;

    setvbuf(stdout, NULL, _IONBF, 0);
    simulator_begin(1 << 20, SEED);
    check("not a core", open_altered(RUNNER_MAGIC, 1) == RUNNER_NOT_A_CORE);
    check("other version", open_altered(RUNNER_VERSION, 1U << 16) == RUNNER_OTHER_VERSION);
    check("wrong hash", open_altered(RUNNER_HASH_LOW, 1) == RUNNER_OTHER_CORE);
    check("open", runner_open(&core) == RUNNER_OK);
    check("idle", runner_get_status(&core, &status) == RUNNER_OK && !status.busy && !status.done && !status.fault);
    check("a bad window", window(&core, BASE + 1) == RUNNER_BAD_ARGUMENT);
    check("the window", window(&core, BASE) == RUNNER_OK);
    check("a bad setup word", runner_setup(&core, bad_word, 2) == RUNNER_BAD_ARGUMENT);
    check("events", runner_enable_events(&core, BOTH) == RUNNER_OK && !simulator_run(4));
    write_image();
    check("setup and start", runner_setup(&core, setup, sizeof setup / sizeof *setup) == RUNNER_OK);
    check("start while busy", runner_start(&core) == RUNNER_NOT_READY && runner_setup(&core, setup, 1) == RUNNER_NOT_READY);
    check("too few polls", runner_wait(&core, 1, NULL) == RUNNER_TIMED_OUT);
    events = events_of_run(&core);
    check("interrupt", events == RUNNER_INTERRUPT_STATE_DONE_MASK && !simulator_run(4));
    check("end", runner_wait(&core, 1, &status) == RUNNER_OK && status.done && !status.busy);
    check("results", is_right());
    good = runner_read_counters(&core, counters) == RUNNER_OK && counters[5] == BLOCKS && counters[0] == counters[1]
        + counters[2] + counters[3] + counters[4] && !strcmp(runner_counter_name(5), "blocks");
    check("counters", good);
    write_image();
    check("start again", runner_start(&core) == RUNNER_OK && runner_wait(&core, POLLS, NULL) == RUNNER_OK && is_right());
    check("counters again", runner_read_counters(&core, again) == RUNNER_OK && again[1] == counters[1]);
    runner_take_events(&core, &events);
    result = runner_setup(&core, illegal, 1);   /* destroys the program, and so the load is seen to do something */
    check("load", result == RUNNER_OK && runner_load(&core, first, beats, 0) == RUNNER_OK
          && events_of_run(&core) == RUNNER_INTERRUPT_STATE_DONE_MASK);
    write_image();
    check("start what was loaded", runner_start(&core) == RUNNER_OK && runner_wait(&core, POLLS, NULL) == RUNNER_OK
          && is_right());
    write_image();
    result = runner_setup(&core, illegal, 1);
    check("load and start", result == RUNNER_OK && runner_load(&core, first, beats, 1) == RUNNER_OK
          && runner_wait(&core, POLLS, NULL) == RUNNER_OK && is_right());
    check("a bad load", runner_load(&core, 1U << 31, 1, 1) == RUNNER_BAD_ARGUMENT);
    runner_take_events(&core, &events);
    good = runner_start(&core) == RUNNER_OK;
    simulator_run(60);
    check("abort", good && runner_abort(&core) == RUNNER_OK && runner_wait(&core, POLLS, &status) == RUNNER_STOPPED
          && status.fault == ABORTED && status.drained && !strcmp(runner_fault_text(status.fault), "aborted")
          && events_of_run(&core) == RUNNER_INTERRUPT_STATE_ERROR_MASK);
    check("start after a fault", runner_start(&core) == RUNNER_NOT_READY);
    check("clear", runner_clear(&core, POLLS) == RUNNER_OK && runner_get_status(&core, &status) == RUNNER_OK
          && !status.fault);
    good = runner_setup(&core, illegal, 1) == RUNNER_OK && runner_start(&core) == RUNNER_OK;
    check("program error", good && runner_wait(&core, POLLS, &status) == RUNNER_STOPPED && status.fault == OPCODE);
    write_image();
    good = runner_clear(&core, POLLS) == RUNNER_OK && runner_load(&core, first, beats, 1) == RUNNER_OK;
    check("go on", good && runner_wait(&core, POLLS, NULL) == RUNNER_OK && is_right());
    simulator_fail(BASE, sizeof before);
    good = runner_start(&core) == RUNNER_OK && runner_wait(&core, POLLS, &status) == RUNNER_STOPPED
        && status.fault == MEMORY_ERROR;
#if HAS_WINDOW
    good = good && status.bus_error && status.bus_error_address >= BASE
        && status.bus_error_address < BASE + sizeof before;
#endif
    simulator_fail(0, 0);
    check("memory error", good && runner_clear(&core, POLLS) == RUNNER_OK);
    good = runner_start(&core) == RUNNER_OK;
    simulator_run(60);
    simulator_reset();
    good = good && runner_get_status(&core, &status) == RUNNER_OK && !status.busy && !status.fault && !status.done;
    write_image();
    check("reset in mid-run", good && window(&core, BASE) == RUNNER_OK && runner_start(&core) == RUNNER_OK
          && runner_wait(&core, POLLS, NULL) == RUNNER_OK && is_right());
    for (at = 0, good = 1; at < 8; at++)
        good = good && runner_put_element(memory, at, (int32_t)at * 9999 - 40000) == (at < 1 || at > 7);
    for (at = 1; at < 8; at++)
        good = good && runner_get_element(memory, at) == (int32_t)at * 9999 - 40000;
    check("elements", good && runner_get_element(memory, 0) == -RUNNER_LARGEST - 1);
    simulator_end();
    return failures || step != 30;
}
