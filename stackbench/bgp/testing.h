// What tests of times share: a clock of milliseconds, and two nodes that speak.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "bgp-peer/testing.h"

namespace stackbench::bgp::testing {

inline constexpr std::int64_t ms = 1'000'000;
[[nodiscard]] inline base::MonotonicTime at(std::int64_t milliseconds) {
  return {milliseconds * ms};
}

inline const auto node1 = bgp_peer::testing::address("172.18.0.2");
inline const auto node2 = bgp_peer::testing::address("172.18.0.3");

}  // namespace stackbench::bgp::testing
