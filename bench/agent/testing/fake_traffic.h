// What the fake agent's workers do: an agent that is real but for its traffic, so that tests can
// ask for the rare things, a crash above all. The seed of a job names one.
#pragma once

#include <cstdint>

namespace bench::testing {

enum FakeRun : std::uint64_t {
  fake_run_ends = 1,         // after the job's duration, with fake_requests
  fake_run_prints = 2,       // the same, after printing to stdout what looks like a message
  fake_run_waits = 3,        // until it is stopped: Error interrupted
  fake_run_is_deaf = 4,      // never ends
  fake_run_crashes = 5,      // by SIGSEGV, after "about to crash" on stderr
  fake_run_fails = 6,        // Error workload "connection refused"
  fake_run_is_too_long = 7,  // its result does not fit into a line
  fake_run_garbles = 8,      // writes something that is no message where its result belongs
};

constexpr std::uint64_t fake_requests = 7;
// Where this environment variable names a file, every job that a worker begins adds a byte to it.
constexpr const char* fake_jobs_counter = "STACKBENCH_FAKE_JOBS";
constexpr std::uint64_t fake_server_requests = 42;
// A listen port with which the fake server says "address in use".
constexpr std::uint16_t fake_port_in_use = 81;

}  // namespace bench::testing
