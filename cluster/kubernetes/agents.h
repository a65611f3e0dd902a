// The way to the agents in pods: an exec of `stackbench-agent attach`, which bridges its stdin and
// stdout to the agent's socket in the pod.
#pragma once

#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "cluster/kubernetes/exec_stream.h"
#include "cluster/kubernetes/kubectl_proxy.h"
#include "cluster/target.h"

namespace cluster {

// Belongs to one thread. Outlives the streams it gave.
class Agents {
 public:
  // `socket`: kubectl proxy's. `interrupt` must outlive it.
  Agents(std::string socket, KubectlOptions kubectl, const base::Interrupt* interrupt)
      : exec_(std::move(socket)), kubectl_(std::move(kubectl)), interrupt_(interrupt) {}

  // Streams to the agent in a pod that runs. They can be had again after they broke. Errors: as
  // ExecStreams::open.
  base::Result<AgentStreams> attach(const std::string& in_namespace, const std::string& pod);

  // Runs the agent's executable with `arguments` in a pod, and returns what it prints. Errors: as
  // ExecStreams::open; system, where it fails, in its own words.
  base::Result<std::string> run(const std::string& in_namespace, const std::string& pod,
                                const std::vector<std::string>& arguments);

  // How they are reached, for the report: "WebSocket", or "kubectl exec" where that is refused.
  [[nodiscard]] std::string_view way() const {
    return websocket_refused_ ? "kubectl exec" : "WebSocket";
  }

 private:
  base::Result<AgentStreams> open(const ExecRequest& request);
  base::Result<AgentStreams> open_by_kubectl(const ExecRequest& request);
  std::string how_it_ended(pid_t pid);

  ExecStreams exec_;
  KubectlOptions kubectl_;
  const base::Interrupt* interrupt_;
  bool websocket_refused_ = false;
  std::vector<base::Process> children_;  // of kubectl exec, those that ended included
};

}  // namespace cluster
