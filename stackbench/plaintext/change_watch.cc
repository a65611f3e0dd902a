#include "stackbench/plaintext/change_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/canary.h"
#include "stackbench/clear_sample.h"

namespace stackbench {
namespace {

using bench::WorkloadKind;

constexpr auto kind = WorkloadKind::http;

base::Endpoint anywhere() {
  return {{.family = base::AddressFamily::ipv4, .bytes = {}}, bench::target_port(kind)};
}

std::string first_of(const std::string& group) { return group + "-0"; }

// On our clock.
void shift(probes::CanarySpan& span, base::Duration ahead) {
  span.first_ns -= ahead.count();
  span.last_ns -= ahead.count();
}

}  // namespace

const cluster::PodHandle& ChangeWatch::pod(const std::string& name) const {
  // The reader has looked that it is there.
  return *std::ranges::find(session_->environments()[environment_].pods, name,
                            &cluster::PodHandle::name);
}

base::Result<ChangeWatch::Running> ChangeWatch::running(bench::AgentClient& agent,
                                                        bench::JobId id) {
  Running one{.agent = &agent, .id = id, .stop = {agent, id}};
  ASSIGN_OR_RETURN(one.clock, session_->clock_of(agent));
  seen_.clock_uncertainty = std::max(seen_.clock_uncertainty, one.clock.uncertainty);
  return one;
}

bench::ServerJob ChangeWatch::server_job(const std::string& name) const {
  return {.kind = kind, .listen = {anywhere()}, .server_id = pod(name).id};
}

bench::KnockJob ChangeWatch::requests_job() const {
  const auto& service = session_->environments()[environment_].services.at(spec_->service);
  return {.kind = kind,
          .to = {service.ipv4, bench::service_port(kind)},
          .rate = spec_->requests,
          .canary = client_canary_};
}

base::Result<> ChangeWatch::start_server(const std::string& name) {
  ASSIGN_OR_RETURN(auto* const agent, session_->agent(environment_, name));
  ASSIGN_OR_RETURN(const auto started, agent->start_server(server_job(name)));
  ASSIGN_OR_RETURN(auto one, running(*agent, started.id));
  servers_.insert_or_assign(name, std::move(one));
  return {};
}

base::Result<> ChangeWatch::start_capture(const std::string& door) {
  const auto& client = pod(first_of(spec_->client)).ipv4;
  const auto& outsider = pod(first_of(spec_->outsider)).ipv4;
  const auto& service = session_->environments()[environment_].services.at(spec_->service);
  // All connections of these addresses are looked through. The client's or the door's may become
  // another, and not both of an exchange's at a time.
  probes::CaptureJob job{.servers = {{service.ipv4, bench::service_port(kind)},
                                     {client, sample_port},
                                     {outsider, sample_port}},
                         .canaries = {{"outsider", outsider_canary_}, {"client", client_canary_}},
                         .samples = {clear_sample(kind, client, pod(door).ipv4)}};
  for (const auto& [name, server] : servers_) {
    job.servers.push_back({pod(name).ipv4, bench::target_port(kind)});
  }
  ASSIGN_OR_RETURN(auto* const watcher, session_->observer(environment_, first_of(spec_->client)));
  ASSIGN_OR_RETURN(const auto started, watcher->start_capture(job));
  ASSIGN_OR_RETURN(capture_, running(*watcher, started.id));
  return {};
}

base::Result<> ChangeWatch::start_knocks(const std::string& from, const bench::KnockJob& job,
                                         std::optional<Running>& as) {
  ASSIGN_OR_RETURN(auto* const agent, session_->agent(environment_, from));
  ASSIGN_OR_RETURN(const auto started, agent->start_knocks(job));
  ASSIGN_OR_RETURN(as, running(*agent, started.id));
  return {};
}

base::Result<> ChangeWatch::start_requests() {
  seen_.client_since_ns = base::monotonic_now().ns;
  return start_knocks(first_of(spec_->client), requests_job(), client_);
}

base::Result<ChangeWatch> ChangeWatch::start(Session& session, std::size_t environment,
                                             const PlaintextWindowSpec& spec,
                                             const std::string& service_group,
                                             const std::string& door) {
  ChangeWatch watch(session, environment, spec);
  watch.outsider_canary_ = base::make_token();
  watch.client_canary_ = base::make_token();
  for (const auto& one : session.environments()[environment].pods) {
    if (one.group == service_group) RETURN_IF_ERROR(watch.start_server(one.name));
  }
  RETURN_IF_ERROR(watch.start_capture(door));
  RETURN_IF_ERROR(watch.knock_at(watch.pod(door).ipv4));
  RETURN_IF_ERROR(watch.start_requests());
  watch.seen_.from_ns = base::monotonic_now().ns;
  return watch;
}

base::Result<> ChangeWatch::knock_at(const base::IpAddress& address) {
  RETURN_IF_ERROR(end_knocks(outsider_, seen_.outsider));
  seen_.door_since_ns = base::monotonic_now().ns;
  return start_knocks(first_of(spec_->outsider),
                      {.kind = kind,
                       .to = {address, bench::target_port(kind)},
                       .rate = spec_->knocks,
                       .canary = outsider_canary_},
                      outsider_);
}

base::Result<> ChangeWatch::end_knocks(std::optional<Running>& running,
                                       std::vector<bench::Knock>& into) {
  if (!running) return {};
  auto one = *std::exchange(running, std::nullopt);
  RETURN_IF_ERROR(one.stop.now());
  ASSIGN_OR_RETURN(auto result, one.agent->await_knocks_result(one.id));
  result = bench::on_our_clock(std::move(result), one.clock.offset);
  if (&running == &client_ && std::exchange(client_began_with_its_pod_, false)) {
    seen_.client_since_ns = result.began_ns;
  }
  seen_.all_kept = seen_.all_kept && result.dropped == 0;
  std::ranges::move(result.knocks.list, std::back_inserter(into));
  return {};
}

base::Result<> ChangeWatch::stop_application(const std::string& pod) {
  if (pod == first_of(spec_->client)) return end_knocks(client_, seen_.client);
  const auto server = servers_.find(pod);
  if (server == servers_.end()) return {};
  auto one = std::move(server->second);
  servers_.erase(server);
  RETURN_IF_ERROR(one.stop.now());
  RETURN_IF_ERROR(one.agent->await_server_result(one.id));
  return {};
}

base::Result<> ChangeWatch::start_application(const std::string& pod) {
  return pod == first_of(spec_->client) ? start_requests() : start_server(pod);
}

bench::AgentPlan ChangeWatch::plan_of(const std::string& pod) const {
  bench::AgentPlan plan{.session = bench::made_up_name()};
  if (pod == first_of(spec_->client)) {
    plan.add(bench::CommandType::knock, requests_job());
  } else {
    plan.add(bench::CommandType::serve, server_job(pod));
  }
  return plan;
}

base::Result<> ChangeWatch::application_is_there(const std::string& pod,
                                                 bench::AgentClient& agent) {
  constexpr bench::JobId planned{1};
  if (pod == first_of(spec_->client)) {
    RETURN_IF_ERROR(agent.await_knocks(planned));
    ASSIGN_OR_RETURN(client_, running(agent, planned));
    client_began_with_its_pod_ = true;
    return {};
  }
  RETURN_IF_ERROR(agent.await_server(planned));
  ASSIGN_OR_RETURN(auto one, running(agent, planned));
  servers_.insert_or_assign(pod, std::move(one));
  return {};
}

base::Result<SeenChange> ChangeWatch::stop() {
  seen_.until_ns = base::monotonic_now().ns;
  RETURN_IF_ERROR(end_knocks(outsider_, seen_.outsider));
  RETURN_IF_ERROR(end_knocks(client_, seen_.client));
  RETURN_IF_ERROR(capture_->stop.now());
  ASSIGN_OR_RETURN(seen_.wire, capture_->agent->await_capture_result(capture_->id));
  for (auto& [name, span] : seen_.wire.spans) shift(span, capture_->clock.offset);
  capture_.reset();
  while (!servers_.empty()) {
    const auto name = servers_.begin()->first;
    RETURN_IF_ERROR(stop_application(name));
  }
  return std::move(seen_);
}

}  // namespace stackbench
