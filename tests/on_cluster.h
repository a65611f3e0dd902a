// What tests on a cluster share, beside their way to it: waiting, and looking for what is there.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/json.h"
#include "cluster/kubernetes/testing/left_behind.h"

namespace tests {

// Asks until it is so; false when `within` is over.
[[nodiscard]] inline bool comes_true(const std::function<bool()>& condition,
                                     base::Duration within = std::chrono::seconds(60)) {
  const auto deadline = base::monotonic_now() + within;
  while (!condition()) {
    if (base::monotonic_now() > deadline) return false;
    ::poll(nullptr, 0, 50);
  }
  return true;
}

// Of a component ("kube-apiserver", "node1-kube-proxy") of a cluster's state; of "node3" that of
// the node's first process. -1 where there is none.
[[nodiscard]] inline pid_t pid_of(const base::Json& state, std::string_view component) {
  for (const auto& entry : state.value("components", base::Json::array())) {
    if (entry["name"] == component) return entry["pid"].get<pid_t>();
  }
  for (const auto& node : state.value("nodes", base::Json::array())) {
    if (node["name"] == component) return node["init"].get<pid_t>();
  }
  return -1;
}

using cluster::testing::left_behind;

}  // namespace tests
