#include "cluster/kubernetes/agents.h"

#include <algorithm>
#include <array>
#include <utility>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/agent_errors.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/kubernetes/nodes.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

// With the tries an API server that stalls for a few seconds takes.
constexpr base::Duration open_patience = std::chrono::seconds(20);
// The same on a node that is gone, as far as the cluster knows; and to ask it.
constexpr base::Duration lost_patience = std::chrono::seconds(1);
constexpr base::Duration node_patience = std::chrono::seconds(5);
constexpr base::Duration run_patience = std::chrono::seconds(20);
constexpr base::Duration pause = std::chrono::milliseconds(200);
// How long after its streams a child's process may take to end.
constexpr base::Duration end_follows_streams = std::chrono::milliseconds(200);
// Of what a program prints.
constexpr std::size_t longest_output = std::size_t{1} << 20;

// What may be over in a moment: a server that is busy or restarts, a runtime that is not ready.
bool may_pass(const base::Error& error) {
  return error.kind == ErrorKind::system || error.kind == ErrorKind::peer_lost;
}

ExecRequest request_of(const std::string& in_namespace, const std::string& pod,
                       std::string_view container, const std::vector<std::string>& arguments) {
  ExecRequest request{.in_namespace = in_namespace,
                      .pod = pod,
                      .container = std::string(container),
                      .command = {std::string(agent_path)}};
  request.command.insert(request.command.end(), arguments.begin(), arguments.end());
  return request;
}

Result<std::string> read_to_end(int fd, const Until& until) {
  std::string text;
  std::array<char, 4096> chunk;
  while (true) {
    RETURN_IF_ERROR(wait_for(fd, POLLIN, until));
    const auto count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != ECONNRESET) return base::system_error(errno, "read");
    if (count <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(count));
    if (text.size() > longest_output) {
      return base::fail(ErrorKind::system, "more than {} bytes of output", longest_output);
    }
  }
}

std::string text_of(const base::UniqueFd& errors) {
  std::string text(4096, '\0');
  const auto count = ::pread(errors.get(), text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  text.resize(std::min(text.find('\0'), text.size()));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

Result<AgentStreams> Agents::open(const ExecRequest& request, base::Duration patience) {
  const auto until = Until::after(patience, interrupt_);
  while (!websocket_refused_) {
    auto streams = exec_.open(request, until);
    if (streams && *streams) return std::move(**streams);
    if (streams) {
      websocket_refused_ = true;
    } else if (!may_pass(streams.error()) || base::monotonic_now() + pause >= until.deadline) {
      return std::unexpected(std::move(streams).error());
    } else {
      RETURN_IF_ERROR(let_pass(pause, until));
    }
  }
  return open_by_kubectl(request);
}

Result<AgentStreams> Agents::open_by_kubectl(const ExecRequest& request) {
  auto argv = kubectl_command(kubectl_);
  argv.insert(argv.end(), {"exec", "-i", "--namespace=" + request.in_namespace,
                           "--container=" + request.container, request.pod, "--"});
  argv.insert(argv.end(), request.command.begin(), request.command.end());
  AgentStreams streams;
  ASSIGN_OR_RETURN(streams.errors, bounded_errors_file());
  ASSIGN_OR_RETURN(auto child,
                   base::Process::spawn({.argv = std::move(argv),
                                         .in = base::Stdio::pipe(),
                                         .out = base::Stdio::pipe(),
                                         .err = base::Stdio::descriptor(streams.errors.get())}));
  streams.to_agent = std::move(child.in);
  streams.from_agent = std::move(child.out);
  streams.how_it_ended = [this, pid = child.pid()] { return how_it_ended(pid); };
  children_.push_back(std::move(child));
  return streams;
}

std::string Agents::how_it_ended(pid_t pid) {
  const auto child = std::ranges::find(children_, pid, &base::Process::pid);
  if (child == children_.end()) return {};
  const auto status = child->wait(end_follows_streams);
  return status ? status->to_string() : std::string();
}

Result<AgentStreams> Agents::attach(const std::string& in_namespace, const std::string& pod,
                                    const std::string& node, std::string_view container) {
  auto streams = open(request_of(in_namespace, pod, container, {"attach"}), open_patience);
  if (streams) streams->reattach = again_to(in_namespace, pod, node, container);
  return streams;
}

std::function<Result<AgentStreams>()> Agents::again_to(const std::string& in_namespace,
                                                       const std::string& pod,
                                                       const std::string& node,
                                                       std::string_view container) {
  return [this, in_namespace, pod, node, container = std::string(container)] {
    return attach_again(in_namespace, pod, node, container);
  };
}

Result<AgentStreams> Agents::attach_again(const std::string& in_namespace, const std::string& pod,
                                          const std::string& node, std::string_view container) {
  ApiClient api({.socket = socket_, .timeout = node_patience, .interrupt = interrupt_});
  const auto lost_node = [&]() -> std::string {
    const auto why = why_lost(api, node);
    return why && *why ? **why : std::string();
  };
  // A node may be called lost that only had no word to the API server: it is tried, but not long.
  auto lost = lost_node();
  auto again = open(request_of(in_namespace, pod, container, {"attach"}),
                    lost.empty() ? open_patience : lost_patience);
  if (again) again->reattach = again_to(in_namespace, pod, node, container);
  if (again || again.error().kind == ErrorKind::interrupted) return again;
  if (lost.empty()) lost = lost_node();
  auto& error = again.error();
  if (!lost.empty()) return base::fail(ErrorKind::peer_lost, "{} ({})", lost, error.message);
  // No such pod, or one that has ended: its agent is gone for good.
  if (error.kind == ErrorKind::missing || error.kind == ErrorKind::input) {
    error.kind = ErrorKind::peer_lost;
  }
  return again;
}

Result<AgentStreams> Agents::start(const std::string& in_namespace, const std::string& pod,
                                   const std::vector<std::string>& arguments) {
  return open(request_of(in_namespace, pod, agent_container, arguments), open_patience);
}

Result<std::string> Agents::run(const std::string& in_namespace, const std::string& pod,
                                const std::vector<std::string>& arguments) {
  return run(request_of(in_namespace, pod, agent_container, arguments), run_patience);
}

Result<std::string> Agents::run(const ExecRequest& request, base::Duration patience) {
  ASSIGN_OR_RETURN(auto streams, open(request, open_patience));
  streams.to_agent.reset();
  auto text = read_to_end(streams.from_agent.get(), Until::after(patience, interrupt_));
  const auto program = request.command.front();
  auto words = request.command;
  words.front() = program.substr(program.rfind('/') + 1);
  const auto what = fmt::format("{} in pod {}", fmt::join(words, " "), request.pod);
  if (!text) return base::in_context(std::move(text).error(), "{}", what);
  const auto how = streams.how_it_ended();
  if (how != "exit code 0") {
    return base::fail(ErrorKind::system, "{}: {}: {}", what, how, text_of(streams.errors));
  }
  return text;
}

}  // namespace cluster
