// Scenario files: YAML in, a resolved Scenario out, or every fault of it at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// Reads, changes (`--set`, in their order), checks and completes a scenario. The result is whole:
// written by base::to_json it is a scenario file that reads back as the same scenario. Errors:
// missing or not_permitted (the file), system, input (every fault with its file, line and column).
[[nodiscard]] base::Result<Scenario> load_scenario(const std::string& path,
                                                   const std::vector<std::string>& overrides);

// The same for text; `name` stands for the file in faults. Errors: input.
[[nodiscard]] base::Result<Scenario> parse_scenario(std::string_view text, const std::string& name,
                                                    const std::vector<std::string>& overrides);

}  // namespace stackbench
