// What all kept invocations together say of a mesh: what its proxies cost, what encryption adds,
// and whether what was measured as a handshake was one.
#pragma once

#include <optional>
#include <vector>

#include "reports/mesh.h"
#include "reports/sample.h"
#include "stackbench/event_report.h"
#include "stackbench/run_loop.h"

namespace stackbench {

// Nothing where no arm has proxies. Costs are of arms that are compared with one that differs in
// its mesh alone, under every workload whose requests' CPU is known and all of whose connections
// met the proxies, and named by whether these counted handshakes; proxies those of every arm that
// has them.
[[nodiscard]] std::optional<reports::MeshRecord> mesh_record(const Plan& plan,
                                                             const Measurements& measured);

// What an invocation's proxies did, as the report keeps it; nothing where there are none.
[[nodiscard]] std::optional<std::vector<reports::ProxySample>> proxies_of(const Sample& sample);

// The check handshake_per_connection where the plan has it: of arms with proxies, under workloads
// of TCP. Over every block but the one to warm up: a disturbed machine counts as well as any.
[[nodiscard]] std::vector<RunCheck> judge_handshakes(const Plan& plan,
                                                     const Measurements& measured);

}  // namespace stackbench
