// Whom the next connection goes to.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/address.h"
#include "bench/seeded_uniform.h"

namespace bench {

// Each connection to one of a job's servers, uniformly at random, as a Service draws its backends:
// an arm that dials the pods themselves meets as many of them as one that dials their Service.
class ServerChoice {
 public:
  struct Server {
    base::Endpoint endpoint;
    base::SocketAddress address;
  };

  // `servers`: at least one. `seed`: of the invocation; the arrival schedule is drawn from the same
  // one, so the draws are set apart, or who is asked would follow from when.
  ServerChoice(std::span<const base::Endpoint> servers, std::uint64_t seed)
      : uniform_(seed ^ 0x6a09e667f3bcc908) {
    for (const auto& server : servers) servers_.push_back({server, base::SocketAddress(server)});
  }

  const Server& next() {
    return servers_[static_cast<std::size_t>(uniform_.next() *
                                             static_cast<double>(servers_.size()))];
  }

 private:
  std::vector<Server> servers_;
  SeededUniform uniform_;
};

}  // namespace bench
