// Where the shipped scenarios are, so that `list` finds them from any folder.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace stackbench {

// The scenario files shipped with this build: ./scenarios of the folder we are called in, else the
// one beside the build tree of our executable. Sorted. Errors: missing, when there is none.
[[nodiscard]] base::Result<std::vector<std::string>> shipped_scenarios();

}  // namespace stackbench
