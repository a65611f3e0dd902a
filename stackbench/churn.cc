#include "stackbench/churn.h"

#include <algorithm>
#include <map>
#include <utility>

namespace stackbench {

using cluster::EventKind;
using cluster::Readiness;

Churn::Churn(cluster::Target& target, const cluster::EnvironmentHandle& environment,
             base::AddressFamily family, ServerControl servers, const base::Interrupt& interrupt)
    : target_(&target),
      environment_(&environment),
      family_(family),
      servers_(std::move(servers)),
      interrupt_(&interrupt) {}

base::Result<> Churn::write(const std::map<std::string, Readiness>& pods,
                            checks::Happened& happened) {
  ASSIGN_OR_RETURN(const auto stamps, target_->set_readiness(environment_->name, family_, pods));
  happened.sent_ns = stamps.sent_ns;
  happened.acked_ns = stamps.acked_ns;
  happened.published_ns = stamps.published_ns;
  happened.programmed_ns = stamps.programmed_ns;
  return {};
}

base::Result<> Churn::restore() {
  std::map<std::string, Readiness> pods;
  for (const auto& [name, service] : environment_->services) {
    for (const auto& pod : environment_->pods) {
      if (pod.group == service.target) pods[pod.name] = cluster::first_readiness(pod);
    }
  }
  if (pods.empty()) return {};
  RETURN_IF_ERROR(target_->set_readiness(environment_->name, family_, pods));
  return {};
}

base::Result<checks::Happened> Churn::happen(const EventSpec& event, base::MonotonicTime due) {
  const auto pod = std::ranges::find(environment_->pods, event.pod, &cluster::PodHandle::name);
  if (pod == environment_->pods.end()) {
    return base::fail(base::ErrorKind::input, "environment {} has no pod {}", environment_->name,
                      event.pod);
  }
  checks::Happened happened{
      .kind = event.kind, .pod = event.pod, .identity = pod->id, .by = event.by};
  RETURN_IF_ERROR(interrupt_->wait_until(due));
  std::map<std::string, Readiness> readiness;
  switch (event.kind) {
    case EventKind::unready:
      readiness[event.pod] = Readiness::unready;
      break;
    case EventKind::ready:
      readiness[event.pod] = Readiness::ready;
      break;
    case EventKind::kill:
      happened.happened_ns = base::monotonic_now().ns;
      RETURN_IF_ERROR(servers_.kill(event.pod));
      RETURN_IF_ERROR(
          interrupt_->wait_until(due + event.noticed_after.value_or(noticed_by_default)));
      readiness[event.pod] = Readiness::unready;
      break;
    case EventKind::restart:
      RETURN_IF_ERROR(servers_.start(event.pod));
      readiness[event.pod] = Readiness::ready;
      break;
    case EventKind::replace:
      readiness[event.pod] = Readiness::terminating;
      readiness[event.by.value_or(event.pod)] = Readiness::ready;  // the reader asks for a `by`
      break;
  }
  RETURN_IF_ERROR(write(readiness, happened));
  if (event.kind != EventKind::kill) happened.happened_ns = happened.sent_ns;
  if (event.kind == EventKind::replace) {
    RETURN_IF_ERROR(interrupt_->wait_until(base::MonotonicTime{happened.sent_ns} +
                                           event.grace.value_or(grace_by_default)));
    RETURN_IF_ERROR(servers_.stop(event.pod));
  }
  return happened;
}

base::Result<std::vector<checks::Happened>> Churn::run(const std::vector<EventSpec>& events,
                                                       base::MonotonicTime window_begins) {
  std::vector<checks::Happened> all;
  for (std::size_t i = 0; i < events.size(); ++i) {
    ASSIGN_OR_RETURN(auto happened, happen(events[i], window_begins + events[i].at));
    happened.event = i;
    all.push_back(std::move(happened));
  }
  return all;
}

}  // namespace stackbench
