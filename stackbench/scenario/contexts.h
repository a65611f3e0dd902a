// A scenario in two contexts side by side, `run --ab A B`: the same question to both clusters,
// block by block, so that drift of the machines hits both alike.
#pragma once

#include <string>

#include "stackbench/scenario/scenario.h"

namespace stackbench {

// Every environment and every arm in it twice, "NAME_a" in `context_a` and "NAME_b" in `context_b`;
// an arm of b is compared with its twin in a, what was expected of an arm is expected of both.
// Arms without an environment stay once. Takes a resolved scenario, gives one.
[[nodiscard]] Scenario in_two_contexts(Scenario scenario, const std::string& context_a,
                                       const std::string& context_b);

}  // namespace stackbench
