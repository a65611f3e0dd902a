// Requests about routes, many in one message to the kernel. It works them off in their order and
// answers each that fails and the last, so that a thousand cost it a thousand routes, and us a few
// calls. Nobody but fib.cc uses it.
#pragma once

#include <cstdint>
#include <vector>

#include <netlink/netlink.h>
#include <netlink/route/route.h>

#include "base/result.h"

namespace bgp_peer {

// As many as their answers fit into a socket's default buffer, if all of them fail.
inline constexpr std::size_t routes_a_batch = 128;

// Over a connected socket that nobody else reads, which outlives it. One thread at a time.
class RouteBatch {
 public:
  explicit RouteBatch(nl_sock* socket) : socket_(socket) {}

  // Adds a request to make a route what this one is, or to remove it; at most routes_a_batch.
  // Errors: system.
  base::Result<> add(rtnl_route* route, bool removed);
  // Sends them. Returns what became of each, in their order: 0, or libnl's code, below 0. Errors:
  // system, when it is not known what became of them.
  base::Result<std::vector<int>> send();

 private:
  base::Result<> take_answers(std::vector<int>& codes) const;

  nl_sock* socket_;
  std::vector<char> bytes_ = {};
  std::vector<std::uint32_t> sequences_ = {};
};

// What those two sockets ask for is told to everybody who listens: from here on not to this
// listener, which is woken for it no more. Errors: system.
base::Result<> pass_over_asked_by(nl_sock* listener, const nl_sock* one, const nl_sock* other);

}  // namespace bgp_peer
