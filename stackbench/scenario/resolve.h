// From what a scenario says to what it means: names are looked up, defaults that depend on other
// fields are filled in, and what makes no sense is refused at its place.
#pragma once

#include "stackbench/scenario/read.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// Checks `scenario` and completes it (arms' relative_to, workloads' wait, expectations' workload).
// Faults go to `log`; nothing is said about a value that was already found unreadable, nor about
// what depends on it.
void resolve(Scenario& scenario, ReadLog& log);

// The parts of it, in their order of being called.
void resolve_topology(Scenario& scenario, ReadLog& log);
void resolve_workloads(Scenario& scenario, ReadLog& log);
void resolve_arms(Scenario& scenario, ReadLog& log);
// Environments with a mesh, and the arms that enter them.
void resolve_meshes(const Scenario& scenario, ReadLog& log);
// What their objects say, and requests that these decide about.
void resolve_authorization(const Scenario& scenario, ReadLog& log);
// Cells about where a mesh's requests go.
void resolve_routing(const Scenario& scenario, ReadLog& log);
void resolve_faults(const Scenario& scenario, ReadLog& log);
void resolve_events(Scenario& scenario, ReadLog& log);
void resolve_bgp(Scenario& scenario, ReadLog& log);
// Of it, `faults`.
void resolve_bgp_faults(const Scenario& scenario, ReadLog& log);
void resolve_expectations(Scenario& scenario, ReadLog& log);
// Of a scenario that has a `policy`, in place of those of arms and workloads.
void resolve_policy(Scenario& scenario, ReadLog& log);
// Of a scenario that has a `plaintext_window`, likewise.
void resolve_plaintext_window(Scenario& scenario, ReadLog& log);
// Of a scenario that has a `rotation`, likewise.
void resolve_rotation(const Scenario& scenario, ReadLog& log);
// What is listed under `checks`, of either kind of scenario.
void resolve_checks(const Scenario& scenario, ReadLog& log);

// Refuses labels that Kubernetes would not take.
void check_labels(const std::map<std::string, std::string>& labels, const std::string& path,
                  ReadLog& log);
// Refuses a span of time outside its bounds.
void check_span(base::Duration span, base::Duration least, base::Duration most,
                const std::string& path, ReadLog& log);

// The mesh of the environment an arm enters; nullptr where there is none.
[[nodiscard]] const cluster::MeshSpec* mesh_of(const Scenario& scenario, const ArmSpec& arm);

// The group of pods that answer an arm; empty where it dials what is not there.
[[nodiscard]] std::string servers_of(const Scenario& scenario, const ArmSpec& arm);

// `unknown arm "web"; did you mean "wep"?`
[[nodiscard]] std::string unknown_name(std::string_view what, std::string_view name,
                                       const std::vector<std::string_view>& known);

// The names of a map, in its order.
template <typename Map>
[[nodiscard]] std::vector<std::string_view> names_of(const Map& map) {
  std::vector<std::string_view> names;
  names.reserve(map.size());
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

// Refuses a name of an arm or an environment that is not [a-z0-9_]+.
void check_word(std::string_view name, const std::string& path, const Place& place, ReadLog& log);

// Refuses a group of pods that the topology does not have.
void check_group(const Scenario& scenario, std::string_view group, const std::string& path,
                 ReadLog& log);

// Whether it can stand in the line of a request: something, in ASCII, without blanks.
[[nodiscard]] bool is_text(std::string_view text);

// Records a fault where the value of `path` stands.
void refuse(ReadLog& log, const std::string& path, std::string message);

}  // namespace stackbench
