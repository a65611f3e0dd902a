// A real agent process for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "base/process.h"
#include "bench/agent/client.h"

namespace bench::testing {

// The file an agent's stderr goes to, and a second descriptor of it for the client.
inline base::UniqueFd stderr_file() {
  return base::UniqueFd(::memfd_create("agent-stderr", MFD_CLOEXEC));
}

// Starts an agent; its streams are process.in and process.out.
inline base::Result<base::Process> start_agent_process(
    const std::string& executable, const std::vector<std::string>& arguments = {},
    int stderr_fd = -1) {
  std::vector<std::string> argv{executable};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return base::Process::spawn(
      {.argv = std::move(argv),
       .in = base::Stdio::pipe(),
       .out = base::Stdio::pipe(),
       .err = stderr_fd < 0 ? base::Stdio::inherit() : base::Stdio::descriptor(stderr_fd)});
}

// A process and the client connected to it.
struct Agent {
  std::shared_ptr<base::Process> process;
  AgentClient client;
};

inline base::Result<Agent> start_agent(const std::string& executable,
                                       const std::vector<std::string>& arguments = {},
                                       ConnectOptions options = {}) {
  options.stderr_file = stderr_file();
  ASSIGN_OR_RETURN(base::Process started,
                   start_agent_process(executable, arguments, options.stderr_file.get()));
  const auto process = std::make_shared<base::Process>(std::move(started));
  options.how_it_ended = [process] {
    const auto status = process->wait(std::chrono::seconds(5));
    return status ? status->to_string() : status.error().message;
  };
  ASSIGN_OR_RETURN(AgentClient client,
                   AgentClient::connect(std::move(process->in), std::move(process->out),
                                        "agent client-0 in environment test", std::move(options)));
  return Agent{process, std::move(client)};
}

}  // namespace bench::testing
