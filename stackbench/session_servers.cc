#include "stackbench/session_servers.h"

#include <algorithm>
#include <utility>

#include "bench/frame.h"

namespace stackbench {

std::string framed_request() {
  std::string message(bench::header_bytes, '\0');
  bench::encode(bench::RequestHeader{.request_bytes = bench::header_bytes,
                                     .response_bytes = bench::header_bytes,
                                     .sequence = 1},
                message.data());
  return message;
}

base::Result<> Session::Servers::send(const std::string& pod) {
  ASSIGN_OR_RETURN(const auto identity, session_.told_identity(arm_, pod));
  ASSIGN_OR_RETURN(auto* const agent, session_.agent(arm_.environment, pod));
  bench::ServerJob job{
      .kind = workload_.kind,
      .wait = server_wait(workload_),
      .listen = {{{.family = arm_.family, .bytes = {}}, bench::target_port(workload_.kind)}},
      .server_id = identity,
      .cpu = session_.core_of(*agent, session_.plan_->cores.server),
      .note_arrivals = note_arrivals_,
      .canary = canary_};
  ASSIGN_OR_RETURN(auto ends, session_.tls_ends(workload_));
  if (ends) job.tls = std::move(ends->server);
  ASSIGN_OR_RETURN(const auto id, agent->send_server(job));
  running_.push_back({pod, agent, id});
  return {};
}

base::Result<> Session::Servers::await() {
  for (const auto& one : running_) {
    if (auto ready = one.agent->await_server(one.id); !ready) {
      return std::unexpected(std::move(ready).error());
    }
  }
  return {};
}

base::Result<> Session::Servers::start(const std::string& pod) {
  RETURN_IF_ERROR(send(pod));
  const auto& one = running_.back();
  if (auto ready = one.agent->await_server(one.id); !ready) {
    return std::unexpected(std::move(ready).error());
  }
  return {};
}

base::Result<> Session::Servers::stop(const std::string& pod) {
  ASSIGN_OR_RETURN(const auto one, take(pod));
  ASSIGN_OR_RETURN(const auto result, one.agent->stop_server(one.id));
  add(pod, result);
  return {};
}

base::Result<> Session::Servers::kill(const std::string& pod) {
  ASSIGN_OR_RETURN(const auto one, take(pod));
  return one.agent->kill(one.id);
}

base::Result<> Session::Servers::stop_all() {
  base::Result<> trouble;
  for (const auto& one : running_) {
    if (auto stopped = one.agent->send_stop(one.id); !stopped && trouble) trouble = stopped;
  }
  for (const auto& one : running_) {
    auto result = one.agent->await_server_result(one.id);
    if (result) {
      add(one.pod, *result);
    } else if (trouble) {
      trouble = std::unexpected(std::move(result).error());
    }
  }
  running_.clear();
  return trouble;
}

base::Result<Session::Servers::Running> Session::Servers::take(const std::string& pod) {
  const auto found = std::ranges::find(running_, pod, &Running::pod);
  if (found == running_.end()) {
    return base::fail(base::ErrorKind::input, "pod {} has no server to end", pod);
  }
  Running one = *found;
  running_.erase(found);
  return one;
}

void Session::Servers::add(const std::string& pod, const bench::ServerResult& more) {
  const auto [place, fresh] = results_.try_emplace(pod, more);
  if (fresh) return;
  auto& sum = place->second;
  sum.requests += more.requests;
  sum.connections += more.connections;
  for (const auto& [address, count] : more.clients) sum.clients[address] += count;
  sum.bad_requests += more.bad_requests;
  sum.cpu_user_ns += more.cpu_user_ns;
  sum.cpu_system_ns += more.cpu_system_ns;
  sum.arrivals_ns.insert(sum.arrivals_ns.end(), more.arrivals_ns.begin(), more.arrivals_ns.end());
  sum.arrivals_lost += more.arrivals_lost;
}

}  // namespace stackbench
