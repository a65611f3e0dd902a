#include "cluster/kubernetes/proxy_meters.h"

#include <chrono>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/kubernetes/until.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

// The first answer comes once the program runs.
constexpr base::Duration answer_patience = std::chrono::seconds(10);

}  // namespace

Result<std::string> ProxyMeters::next_line(int fd) {
  const auto until = Until::after(answer_patience, interrupt_);
  std::string line;
  char chunk[4096];
  while (!line.ends_with('\n')) {
    RETURN_IF_ERROR(wait_for(fd, POLLIN, until));
    const auto count = ::read(fd, static_cast<char*>(chunk), sizeof(chunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::system_error(errno, "read");
    if (count == 0) return base::fail(ErrorKind::peer_lost, "it ended");
    line.append(static_cast<char*>(chunk), static_cast<std::size_t>(count));
  }
  return line;
}

Result<> ProxyMeters::ask(const std::string& node, const std::vector<const MeteredPod*>& pods) {
  if (!streams_.contains(node)) {
    ASSIGN_OR_RETURN(auto streams, observers_->meter(node, istio_proxy_user));
    streams_.emplace(node, std::move(streams));
  }
  const auto& streams = streams_.at(node);
  std::string question;
  for (const auto* pod : pods) question += pod->uid + " ";
  question += "\n";
  const auto asked = base::monotonic_now();
  if (::write(streams.to_agent.get(), question.data(), question.size()) !=
      static_cast<ssize_t>(question.size())) {
    return base::system_error(errno, "write");
  }
  ASSIGN_OR_RETURN(const auto line, next_line(streams.from_agent.get()));
  const auto answered = base::monotonic_now();
  ASSIGN_OR_RETURN(const auto json, base::parse_json(line));
  ASSIGN_OR_RETURN(const auto usages, base::from_json<base::PodUsages>(json, "usage"));
  for (const auto* pod : pods) {
    const auto found = usages.find(pod->uid);
    if (found == usages.end()) continue;
    last_[pod->name] = {.at_ns = asked.ns + (answered.ns - asked.ns) / 2, .usage = found->second};
  }
  return {};
}

Result<std::map<std::string, MeterReading>> ProxyMeters::read(const std::vector<MeteredPod>& pods) {
  last_.clear();
  if (!why_not_.empty()) return last_;
  std::map<std::string, std::vector<const MeteredPod*>> by_node;
  for (const auto& pod : pods) by_node[pod.node].push_back(&pod);
  for (const auto& [node, on_it] : by_node) {
    if (auto asked = ask(node, on_it); !asked) {
      if (asked.error().kind == ErrorKind::interrupted) return std::unexpected(asked.error());
      why_not_ = fmt::format("on node {}: {}", node, asked.error().message);
      streams_.clear();
      last_.clear();
      break;
    }
  }
  return last_;
}

}  // namespace cluster
