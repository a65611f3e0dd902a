// A real agent that listens, as in a container, and clients whose streams to it can be cut.
#pragma once

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/process.h"
#include "bench/agent/testing/cut_wire.h"
#include "bench/agent/testing/fake_traffic.h"
#include "bench/agent/testing/socket_folder.h"

namespace bench::testing {

class ListeningAgent {
 public:
  explicit ListeningAgent(std::string executable) : executable_(std::move(executable)) {}

  // Starts it, or another one in its place.
  base::Result<> start(const std::vector<std::string>& options = {}) {
    process_.reset();
    std::vector<std::string> argv{executable_, "listen", "--socket", folder_.socket()};
    argv.insert(argv.end(), options.begin(), options.end());
    std::vector<std::string> environment{
        fmt::format("{}={}/jobs", fake_jobs_counter, folder_.path()), "PATH=/usr/bin:/bin"};
    ASSIGN_OR_RETURN(base::Process started, base::Process::spawn({.argv = std::move(argv),
                                                                  .environment = environment,
                                                                  .err = base::Stdio::null()}));
    process_.emplace(std::move(started));
    return {};
  }
  [[nodiscard]] base::Process& process() { return *process_; }
  [[nodiscard]] std::string socket() const { return folder_.socket(); }

  // How many jobs its workers have begun.
  [[nodiscard]] std::size_t jobs() const {
    std::ifstream file(folder_.path() + "/jobs");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str().size();
  }

 private:
  SocketFolder folder_;
  std::string executable_;
  std::optional<base::Process> process_;
};

// A client by way of `wires`, which must outlive it.
inline base::Result<AgentClient> connect_by(Wires& wires, ConnectOptions options = {}) {
  ASSIGN_OR_RETURN(AgentStream stream, wires.open());
  if (!options.reattach) options.reattach = [&wires] { return wires.open(); };
  return AgentClient::connect(std::move(stream.to_agent), std::move(stream.from_agent),
                              "agent client-0 in environment test", std::move(options));
}

}  // namespace bench::testing
