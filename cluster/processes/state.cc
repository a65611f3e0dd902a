#include "cluster/processes/state.h"

#include "base/file.h"
#include "base/json.h"
#include "cluster/fabric/cgroup.h"

namespace cluster::processes {

base::Result<ClusterState> read_state(const Directory& directory) {
  ASSIGN_OR_RETURN(const auto text, base::read_file(directory.state()));
  const auto json = base::parse_json(text);
  if (!json) return base::in_context(base::Error(json.error()), "{}", directory.state());
  auto state = base::from_json<ClusterState>(*json);
  if (!state) return base::in_context(base::Error(state.error()), "{}", directory.state());
  return state;
}

base::Result<> write_state(const Directory& directory, const ClusterState& state) {
  return base::write_file(directory.state(), base::dump_json_pretty(base::to_json(state)) + "\n");
}

bool supervisor_lives(const ClusterState& state) {
  return start_ticks_of(static_cast<pid_t>(state.supervisor)) == state.start_ticks;
}

}  // namespace cluster::processes
