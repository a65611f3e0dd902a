// Programs in pods, reached by exec over WebSocket (v5.channel.k8s.io, RFC 6455 by Boost.Beast)
// through kubectl's socket: one thread carries the bytes of all of them, and whoever drives an
// agent has plain descriptors, as in a lab.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/kubernetes/until.h"
#include "cluster/target.h"

namespace cluster {

struct ExecRequest {
  std::string in_namespace;
  std::string pod;
  std::string container;
  std::vector<std::string> command;
};

// The path and query of an exec with all three streams.
[[nodiscard]] std::string exec_target(const ExecRequest& request);

// "exit code 3" of what the server says last (a meta/v1 Status), or its message.
[[nodiscard]] std::string ending_of(std::string_view status);

class ExecStreams {
 public:
  // `socket`: kubectl proxy's. Starts the thread.
  explicit ExecStreams(std::string socket);
  ExecStreams(const ExecStreams&) = delete;
  ExecStreams& operator=(const ExecStreams&) = delete;
  // Cuts what is open: the other ends of its streams read their end.
  ~ExecStreams();

  // Starts a program and returns once the server has agreed; whether it could be executed is heard
  // in how_it_ended. Nothing where this server, or a proxy in front of it, does not take WebSocket.
  // Closing to_agent closes the program's stdin; closing both ends the stream. Errors: as the API
  // server's refusals (no such pod: missing; no right to exec: not_permitted), timed_out,
  // interrupted, system. One thread at a time.
  base::Result<std::optional<AgentStreams>> open(const ExecRequest& request, const Until& until);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cluster
