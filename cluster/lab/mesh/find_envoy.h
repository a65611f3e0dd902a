// The proxy's program.
#pragma once

#include <string>

#include "base/result.h"

namespace cluster {

// Where the program is that ./bootstrap unpacked beside this one (build/tools), or
// $STACKBENCH_ENVOY. Errors: missing, with how to get it.
[[nodiscard]] base::Result<std::string> find_envoy();

}  // namespace cluster
