// The process that owns a cluster: it makes the namespaces, starts every component, relays the API
// server to the machine's loopback, and watches until it is told to stop. With it ends all of it,
// even by SIGKILL (cluster/fabric/sandbox.h); what is left then is found by `down` and `clean`.
//
// A component that ends while the cluster starts ends the start. One that ends later leaves the
// cluster `degraded`, and the rest of it goes on: faults are there to be observed, and nothing is
// restarted behind the back of who caused one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/http/http.h"
#include "base/result.h"
#include "cluster/fabric/controller_trees.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/processes/api_client.h"
#include "cluster/processes/component_set.h"
#include "cluster/processes/credentials.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/relay.h"
#include "cluster/processes/state.h"

namespace cluster::processes {

// What ends a supervisor's work.
struct StopSignals {
  int interrupt_fd = -1;  // readable for good once a signal has arrived (base/interrupt.h)
  // While the cluster starts: the writing end of a pipe whose reader waits for it, and without whom
  // nobody does. -1: nobody has to.
  int waiting_fd = -1;
};

class Supervisor {
 public:
  // Told each step of the start, as a sentence.
  using Progress = std::function<void(const std::string&)>;

  Supervisor(Shape shape, Directory directory, Tools tools, StopSignals stop, Progress progress);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  // As end(); an error then has nobody to go to.
  ~Supervisor();

  // Takes the cluster's directory (removing what a dead supervisor left there) and brings the
  // cluster up, until pods can run on every node. Errors: missing, not_permitted, system, timed_out
  // (a step took too long), interrupted.
  base::Result<> bring_up();
  // Goes on until told to stop. Errors: system.
  base::Result<> watch();
  // Ends every process, and takes everything away; of a start that failed, the logs stay.
  // Idempotent; goes on after an error and returns the first. Errors: timed_out, not_permitted,
  // system.
  base::Result<> end();

  [[nodiscard]] const ClusterState& state() const { return state_; }

 private:
  base::Result<> start_everything();
  base::Result<> claim_directory();
  base::Result<> make_files();
  base::Result<> make_network();
  base::Result<> make_nodes();
  base::Result<> start_api_server();
  base::Result<> take_in_images();
  base::Result<> start_controllers();
  // What the addons of the shape find in the API server, and what of them runs beside it.
  base::Result<> make_addons();
  base::Result<> start_kubelets();
  base::Result<> wait_until_nodes_are_ready();
  base::Result<> wait_until_proxies_have_synced();
  base::Result<> wait_until_addons_are_ready();
  // Istio, by its own command, until it puts proxies beside pods (supervisor_mesh.cc).
  base::Result<> install_mesh();
  base::Result<> run_istioctl(const std::string& operator_file);
  // What a component in a namespace answers at 127.0.0.1. Errors: as base::http::exchange().
  [[nodiscard]] base::Result<base::http::Response> ask(std::string_view in, int port,
                                                       std::string_view path) const;

  // Asks `is_so` until it says yes; its errors are the last words when time is out. Errors:
  // timed_out, naming `what`; as still_wanted().
  base::Result<> wait_until(std::string_view what, base::Duration patience,
                            const std::function<base::Result<bool>()>& is_so);
  // Waits that long, or until a component ends or somebody wants to stop. Errors: interrupted;
  // system, a component ended while the cluster starts, with its last words.
  base::Result<> pause(base::Duration span);
  base::Result<> note_ended_components();
  base::Result<> save_state();
  [[nodiscard]] int netns(std::string_view name) const;

  Shape shape_;
  Directory directory_;
  Tools tools_;
  StopSignals stop_;
  Progress progress_;
  base::MonotonicTime started_;
  ClusterState state_;
  bool keeps_logs_ = false;  // they say why the start failed

  base::UniqueFd lock_;
  Credentials credentials_;
  std::optional<ControllerTrees> cgroups_;
  std::vector<std::string> cgroup_roots_;  // of node 1, 2, ...
  std::optional<Sandbox> root_;
  std::vector<Netns> namespaces_;
  std::vector<Sandbox> nodes_;
  std::unique_ptr<Relay> relay_;
  std::optional<ApiClient> api_;
  ComponentSet components_;
};

}  // namespace cluster::processes
