// What a cluster's supervisor writes down about it, and everybody else reads: state.json in the
// cluster's directory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/describe.h"
#include "base/result.h"
#include "base/scalar.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

enum class Phase {
  starting,
  ready,
  degraded,  // a component ended after the cluster was ready; the rest goes on
  ending,
};

struct ComponentState {
  std::string name = {};
  int node = 0;                                // 0: the control plane
  std::int64_t pid = 0;                        // in the supervisor's PID namespace
  std::optional<std::string> ended = {};       // "exit code 1"; absent while it runs
  std::optional<std::string> last_words = {};  // the end of its log, once it ended
};

template <typename Visit, base::SelfOf<ComponentState> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Its log is logs/NAME.log.", .required = true});
  visit("node", self.node, {.doc = "The node it belongs to; 0: the control plane."});
  visit("pid", self.pid, {.doc = "Its process id.", .required = true});
  visit("ended", self.ended, {.doc = "How it ended; absent while it runs."});
  visit("last_words", self.last_words, {.doc = "The end of its log, once it ended."});
}

struct NodeState {
  std::string name = {};
  std::string address = {};
  std::int64_t init = 0;  // the pid whose namespaces are the node's: `nsenter -t PID -a`
};

template <typename Visit, base::SelfOf<NodeState> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "As in Kubernetes.", .required = true});
  visit("address", self.address, {.doc = "Its InternalIP.", .required = true});
  visit("init", self.init, {.doc = "The process whose namespaces are the node's."});
}

// How long the steps of `up` took, from its start.
struct Timings {
  std::int64_t control_plane_ns = 0;  // until the API server was ready
  std::int64_t nodes_ns = 0;          // until the last node was Ready
  std::int64_t total_ns = 0;  // until kube-proxies had written their rules, addons read theirs
};

template <typename Visit, base::SelfOf<Timings> Self>
void describe(Visit& visit, Self& self) {
  visit("control_plane_ns", self.control_plane_ns, {.doc = "Until the API server was ready."});
  visit("nodes_ns", self.nodes_ns, {.doc = "Until the last node was Ready."});
  visit("total_ns", self.total_ns,
        {.doc = "Until kube-proxies had written their rules and addons were ready."});
}

struct ClusterState {
  Shape shape = {};
  Phase phase = Phase::starting;
  std::int64_t supervisor = 0;    // its pid
  std::uint64_t start_ticks = 0;  // and its start time: a pid alone may be another's by now
  std::string version = {};       // of stackbench
  std::int64_t root = 0;          // the pid whose namespaces hold all the others
  std::int64_t port = 0;          // of the API server, on 127.0.0.1
  std::string cgroup = {};        // the directory's name in every cgroup hierarchy
  Timings timings = {};
  std::vector<NodeState> nodes = {};
  std::vector<ComponentState> components = {};
};

template <typename Visit, base::SelfOf<ClusterState> Self>
void describe(Visit& visit, Self& self) {
  visit("shape", self.shape, {.doc = "What was asked for.", .required = true});
  visit("phase", self.phase, {.doc = "How far it is.", .required = true});
  visit("supervisor", self.supervisor, {.doc = "The process that owns it.", .required = true});
  visit("start_ticks", self.start_ticks, {.doc = "When that started.", .required = true});
  visit("version", self.version, {.doc = "Of stackbench."});
  visit("root", self.root, {.doc = "The process whose namespaces hold all the others."});
  visit("port", self.port, {.doc = "The API server's, on 127.0.0.1."});
  visit("cgroup", self.cgroup, {.doc = "Its directory in every cgroup hierarchy."});
  visit("timings", self.timings, {.doc = "How long its start took."});
  visit("nodes", self.nodes, {.doc = "Its nodes."});
  visit("components", self.components, {.doc = "Its processes."});
}

// Errors: missing (no such cluster), input (not a state file), not_permitted, system.
[[nodiscard]] base::Result<ClusterState> read_state(const Directory& directory);
// Errors: not_permitted, system.
[[nodiscard]] base::Result<> write_state(const Directory& directory, const ClusterState& state);

// Whether the process that wrote it is there.
[[nodiscard]] bool supervisor_lives(const ClusterState& state);

}  // namespace cluster::processes

template <>
struct base::EnumNames<cluster::processes::Phase> {
  using Phase = cluster::processes::Phase;
  static constexpr std::array names{std::pair{Phase::starting, std::string_view("starting")},
                                    std::pair{Phase::ready, std::string_view("ready")},
                                    std::pair{Phase::degraded, std::string_view("degraded")},
                                    std::pair{Phase::ending, std::string_view("ending")}};
};
