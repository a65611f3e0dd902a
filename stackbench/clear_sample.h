// What a capture is tried with: a conversation in clear, as a workload's would be.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "bench/workload.h"
#include "probes/wire/wire.h"

namespace stackbench {

// A source port that nothing else uses: it is given by IANA to nobody, and below those that clients
// are given.
inline constexpr std::uint16_t sample_port = 4;

// From a client's address to the port of that workload at a server's (session_wire.cc).
[[nodiscard]] probes::ClearSample clear_sample(bench::WorkloadKind kind,
                                               const base::IpAddress& client,
                                               const base::IpAddress& server);

}  // namespace stackbench
