// The controller's end of an agent that a target started.
#pragma once

#include <optional>
#include <string>

#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/client.h"
#include "cluster/target.h"

namespace stackbench {

// Takes a target's streams, with the way to have them again where there is one. `name` begins the
// client's errors; `interrupt` must outlive it. `plan`:
// what the agent was started with, if it was. Errors: as AgentClient::connect().
[[nodiscard]] base::Result<bench::AgentClient> connect_agent(
    cluster::AgentStreams streams, std::string name, const base::Interrupt* interrupt,
    std::optional<bench::AgentPlan> plan = {});

}  // namespace stackbench
