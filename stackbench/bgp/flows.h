// Flows from the client outside, a datagram each, and by which of the router's links they went on:
// seen at those links, not told by who answers.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace stackbench::bgp {

// By its source port, the node whose link a flow left the router by.
using FlowNodes = std::map<std::uint16_t, int>;

// One thread at a time.
class FlowTap {
 public:
  // In the router's network namespace, with links called node1 to nodeN. Errors: not_permitted,
  // system.
  static base::Result<FlowTap> open(int router, int nodes);

  // Sends a datagram to `target` from each of these ports of the client's namespace; returns which
  // node each went to, without those that went to none within half a second. Errors: system, also
  // where the tap lost packets.
  base::Result<FlowNodes> send(int client, const base::Endpoint& target,
                               const std::vector<std::uint16_t>& ports);

 private:
  FlowTap(base::UniqueFd tap, std::map<int, int> nodes)
      : tap_(std::move(tap)), nodes_(std::move(nodes)) {}

  void drain(const base::Endpoint& target, FlowNodes& seen);
  base::Result<> refuse_losses();

  base::UniqueFd tap_;
  std::map<int, int> nodes_;  // by interface index
};

// `count` different ports from 10000 on, drawn by a seed and the number of the trial.
[[nodiscard]] std::vector<std::uint16_t> draw_ports(std::size_t count, std::uint64_t seed,
                                                    std::uint64_t trial);

}  // namespace stackbench::bgp
