// Made-up reports for the tests of this room: every part of a record filled, figures invented.
#pragma once

#include "reports/record.h"

namespace reports {

// A complete lab run: four arms and one that was skipped, two workloads, a disturbed block, one
// expectation of each of pass, fail and inconclusive, and a check per arm.
[[nodiscard]] Report example_report();

// A run of a tcp_stream and of a udp_stream over two arms, the second of which lost datagrams.
[[nodiscard]] Report example_stream_report();

// A run about NetworkPolicies: a matrix with a leak and a cell nobody can tell, generated sets one
// of which failed, windows, and flows that were open.
[[nodiscard]] Report example_policy_report();

// The first run, stopped by SIGINT after one block.
[[nodiscard]] Report example_partial_report();

}  // namespace reports
