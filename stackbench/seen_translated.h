// A fact from packets: where an environment's Services are translated, whatever its configuration
// says.
#pragma once

#include <string>
#include <vector>

#include "reports/record.h"
#include "stackbench/plan.h"

namespace stackbench {

// As the findings of the check translated_at say it of pods that dialled a Service: "per packet",
// "at the socket", or several of these; empty where none looked or none could tell.
[[nodiscard]] std::string seen_translated(const Plan& plan,
                                          const std::vector<reports::Check>& checks,
                                          const std::string& environment);

}  // namespace stackbench
