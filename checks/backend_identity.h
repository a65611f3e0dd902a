// The check `backend_identity`: did the pods that answered answer as themselves? What the client
// was told by its replies against what each pod says it answered. A pod that answers as another
// makes every share, every leak and every stale backend look like something else.
#pragma once

#include <string>
#include <vector>

#include "bench/workload.h"
#include "checks/finding.h"

namespace checks {

// What one pod that may have answered says of itself.
struct Answerer {
  std::string pod;       // its name
  std::string identity;  // by which its replies should name it
  bench::ServerResult result;
};

// Judges one arm under one workload: `servers` saw exactly this client's traffic. Fail where a
// reply names an identity that is none of theirs, or one that answered less than the replies say;
// pass otherwise; inconclusive where nothing was answered. A pod may have answered more than the
// client counted: what opens a flow of datagrams, and what came after the client's window.
[[nodiscard]] Finding backend_identity(const bench::ClientResult& client,
                                       const std::vector<Answerer>& servers);

}  // namespace checks
