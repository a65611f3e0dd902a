#include "stackbench/churn.h"

#include <algorithm>
#include <utility>

namespace stackbench {

using cluster::EventKind;
using cluster::Readiness;

Churn::Churn(cluster::Target& target, const cluster::EnvironmentHandle& environment,
             const cluster::EnvironmentPlan& plan, base::AddressFamily family,
             ServerControl servers, const base::Interrupt& interrupt)
    : target_(&target),
      environment_(&environment),
      plan_(&plan),
      family_(family),
      servers_(std::move(servers)),
      interrupt_(&interrupt) {}

base::Result<> Churn::write_slice(const std::string& service, const std::string& target,
                                  cluster::WriteStamps& stamps) {
  const auto slice = cluster::endpoint_slice(
      service, target, family_, environment_->pods, plan_->ports,
      [this](const cluster::PodHandle& pod) {
        const auto changed = readiness_.find(pod.name);
        return changed == readiness_.end() ? cluster::first_readiness(pod) : changed->second;
      });
  ASSIGN_OR_RETURN(stamps, target_->apply(environment_->name, base::to_json(slice)));
  return {};
}

base::Result<> Churn::write(const std::string& group, checks::Happened& happened) {
  for (const auto& [name, service] : environment_->services) {
    if (service.target != group) continue;
    cluster::WriteStamps stamps;
    RETURN_IF_ERROR(write_slice(name, group, stamps));
    // Of several Services, from the first's write to the last's.
    if (happened.sent_ns == 0) happened.sent_ns = stamps.sent_ns;
    happened.acked_ns = stamps.acked_ns;
    happened.programmed_ns = stamps.programmed_ns;
  }
  return {};
}

base::Result<> Churn::restore() {
  readiness_.clear();
  for (const auto& [name, service] : environment_->services) {
    cluster::WriteStamps stamps;
    RETURN_IF_ERROR(write_slice(name, service.target, stamps));
  }
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
  switch (event.kind) {
    case EventKind::unready:
      readiness_[event.pod] = Readiness::unready;
      break;
    case EventKind::ready:
      readiness_[event.pod] = Readiness::ready;
      break;
    case EventKind::kill:
      happened.happened_ns = base::monotonic_now().ns;
      RETURN_IF_ERROR(servers_.kill(event.pod));
      RETURN_IF_ERROR(
          interrupt_->wait_until(due + event.noticed_after.value_or(noticed_by_default)));
      readiness_[event.pod] = Readiness::unready;
      break;
    case EventKind::restart:
      RETURN_IF_ERROR(servers_.start(event.pod));
      readiness_[event.pod] = Readiness::ready;
      break;
    case EventKind::replace:
      readiness_[event.pod] = Readiness::terminating;
      readiness_[event.by.value_or(event.pod)] = Readiness::ready;  // the reader asks for a `by`
      break;
  }
  RETURN_IF_ERROR(write(pod->group, happened));
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
