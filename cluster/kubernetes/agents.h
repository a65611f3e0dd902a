// The way to the agents in pods: an exec of `stackbench-agent attach`, which bridges its stdin and
// stdout to the agent's socket in the pod.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/process.h"
#include "base/result.h"
#include "cluster/kubernetes/exec_stream.h"
#include "cluster/kubernetes/kubectl_proxy.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/target.h"

namespace cluster {

// Belongs to one thread. Outlives the streams it gave.
class Agents {
 public:
  // `socket`: kubectl proxy's. `interrupt` must outlive it.
  Agents(std::string socket, KubectlOptions kubectl, const base::Interrupt* interrupt)
      : socket_(std::move(socket)),
        exec_(socket_),
        kubectl_(std::move(kubectl)),
        interrupt_(interrupt) {}

  // Streams to the agent in a pod that runs, on `node`. They can be had again after they broke,
  // unless the pod has ended or its node is gone. Errors: as ExecStreams::open.
  // `container`: the one that is the agent.
  base::Result<AgentStreams> attach(const std::string& in_namespace, const std::string& pod,
                                    const std::string& node,
                                    std::string_view container = agent_container);

  // Starts the agent's executable with `arguments` in a pod. Errors: as ExecStreams::open.
  base::Result<AgentStreams> start(const std::string& in_namespace, const std::string& pod,
                                   const std::vector<std::string>& arguments);

  // Runs the agent's executable with `arguments` in a pod, and returns what it prints. Errors: as
  // ExecStreams::open; system, where it fails, in its own words.
  base::Result<std::string> run(const std::string& in_namespace, const std::string& pod,
                                const std::vector<std::string>& arguments);

  // Runs a program in a pod, for so long at most, and returns what it prints. Errors: as above.
  base::Result<std::string> run(const ExecRequest& request, base::Duration patience);

  // How they are reached, for the report: "WebSocket", or "kubectl exec" where that is refused.
  [[nodiscard]] std::string_view way() const {
    return websocket_refused_ ? "kubectl exec" : "WebSocket";
  }

 private:
  // Tries again, for so long, what may pass.
  base::Result<AgentStreams> open(const ExecRequest& request, base::Duration patience);
  // What AgentStreams::reattach is.
  std::function<base::Result<AgentStreams>()> again_to(const std::string& in_namespace,
                                                       const std::string& pod,
                                                       const std::string& node,
                                                       std::string_view container);
  base::Result<AgentStreams> attach_again(const std::string& in_namespace, const std::string& pod,
                                          const std::string& node, std::string_view container);
  base::Result<AgentStreams> open_by_kubectl(const ExecRequest& request);
  std::string how_it_ended(pid_t pid);

  std::string socket_;
  ExecStreams exec_;
  KubectlOptions kubectl_;
  const base::Interrupt* interrupt_;
  bool websocket_refused_ = false;
  std::vector<base::Process> children_;  // of kubectl exec, those that ended included
};

}  // namespace cluster
