// stackbench-agent's command line, apart from what its workers do: tests put fakes there.
#pragma once

#include "bench/agent/worker.h"

namespace bench {

// Runs as agent, or as one of its workers. Returns the exit code: 0 at the end of stdin, 1 when the
// controller's streams fail, 2 for a command line that is wrong.
[[nodiscard]] int agent_main(int argc, char** argv, const Invocations& invocations);

}  // namespace bench
