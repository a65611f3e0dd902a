// Events: what happens to pods during an invocation must be possible at its time, and must leave
// somebody to answer.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using cluster::EventKind;
using Time = base::StringScalar<base::Duration>;

// What a pod is doing between events.
enum class State {
  ready,
  unready,  // it answers, and no Service sends it anything
  ended,    // nothing answers
};

std::string_view in_words(State state) {
  switch (state) {
    case State::ready:
      return "ready";
    case State::unready:
      return "not ready";
    case State::ended:
      return "ended";
  }
  return "";
}

// "web-0" is of the group "web".
std::string group_of(std::string_view pod) { return std::string(pod.substr(0, pod.rfind('-'))); }

class Course {
 public:
  Course(Scenario& scenario, ReadLog& log) : scenario_(scenario), log_(log) {
    for (const auto& [name, group] : scenario.topology.pods) {
      for (int i = 0; i < group.replicas + group.standby; ++i) {
        pods_[fmt::format("{}-{}", name, i)] = i < group.replicas ? State::ready : State::unready;
      }
    }
  }

  // Whether event `index` could be understood; then the pods are as it leaves them.
  bool take(std::size_t index);

 private:
  bool check_fields(const EventSpec& event, const std::string& path);
  bool check_time(const EventSpec& event, const std::string& path);
  // The state of the pod that the field at `path` names, or nothing.
  State* find(const std::string& pod, const std::string& path);
  bool expect(State* pod, std::string_view name, std::initializer_list<State> allowed,
              const EventSpec& event, const std::string& path);
  bool check_left(const EventSpec& event, const std::string& path);

  Scenario& scenario_;
  ReadLog& log_;
  std::map<std::string, State> pods_;
  base::Duration settled_{0};  // when the last event has had its whole effect
};

bool Course::check_fields(const EventSpec& event, const std::string& path) {
  bool sound = true;
  const auto only = [&](bool there, const char* field, EventKind kind) {
    if (!there || event.kind == kind) return;
    refuse(log_, fmt::format("{}.{}", path, field),
           fmt::format("only {} has it, and this event is {}", base::enum_name(kind),
                       base::enum_name(event.kind)));
    sound = false;
  };
  only(event.by.has_value(), "by", EventKind::replace);
  only(event.grace.has_value(), "grace", EventKind::replace);
  only(event.noticed_after.has_value(), "noticed_after", EventKind::kill);
  if (event.kind == EventKind::replace && !event.by) {
    refuse(log_, path, "replace needs to know who joins: say `by:` with a pod that is not ready");
    sound = false;
  }
  return sound;
}

bool Course::check_time(const EventSpec& event, const std::string& path) {
  const auto takes = event.kind == EventKind::kill ? event.noticed_after.value_or(base::Duration(0))
                                                   : event.grace.value_or(base::Duration(0));
  const auto ends =
      takes > base::Duration::max() - event.at ? base::Duration::max() : event.at + takes;
  for (std::size_t i = 0; i < scenario_.workloads.size(); ++i) {
    const auto where = index_path("workloads", i) + ".duration";
    if (log_.faulty(where) || ends < scenario_.workloads[i].duration) continue;
    refuse(log_, path + ".at",
           fmt::format("it and what follows from it are over at {}, and workloads[{}] measures {}; "
                       "events belong inside of every window",
                       Time::format(ends), i, Time::format(scenario_.workloads[i].duration)));
    return false;
  }
  if (event.at < settled_) {
    refuse(log_, path + ".at",
           fmt::format("the event before is not over until {}; list events in order of time, apart "
                       "from each other, so that each is known by its effect",
                       Time::format(settled_)));
    return false;
  }
  // Two at one time could not be told apart either.
  settled_ = ends + base::Duration(1);
  return true;
}

State* Course::find(const std::string& pod, const std::string& path) {
  const auto found = pods_.find(pod);
  if (found != pods_.end()) return &found->second;
  refuse(log_, path, unknown_name("pod", pod, names_of(pods_)));
  return nullptr;
}

bool Course::expect(State* pod, std::string_view name, std::initializer_list<State> allowed,
                    const EventSpec& event, const std::string& path) {
  if (std::ranges::find(allowed, *pod) != allowed.end()) return true;
  refuse(log_, path,
         fmt::format("{} is {} at {}, so {} is not possible", name, in_words(*pod),
                     Time::format(event.at), base::enum_name(event.kind)));
  return false;
}

bool Course::check_left(const EventSpec& event, const std::string& path) {
  const auto group = group_of(event.pod);
  for (const auto& [name, state] : pods_) {
    if (state == State::ready && group_of(name) == group) return true;
  }
  refuse(log_, path + ".pod",
         fmt::format("no pod of \"{}\" would be ready after it, so nothing would answer", group));
  return false;
}

bool Course::take(std::size_t index) {
  auto& event = scenario_.events[index];
  const auto path = index_path("events", index);
  if (log_.faulty(path)) return false;
  if (event.kind == EventKind::kill && !event.noticed_after) {
    event.noticed_after = noticed_by_default;
  }
  if (event.kind == EventKind::replace && !event.grace) event.grace = grace_by_default;
  if (!check_fields(event, path) || !check_time(event, path)) return false;
  auto* const pod = find(event.pod, path + ".pod");
  if (pod == nullptr) return false;
  const auto group = group_of(event.pod);
  if (std::ranges::none_of(scenario_.topology.services,
                           [&](const auto& service) { return service.second.target == group; })) {
    refuse(log_, path + ".pod",
           fmt::format("no Service has the pods \"{}\" behind it, so nobody would notice", group));
    return false;
  }
  for (const auto& arm : scenario_.arms) {
    const auto dialled = servers_of(scenario_, arm);
    if (log_.faulty("arms") || dialled == group) continue;
    refuse(log_, path + ".pod",
           fmt::format("events happen in every invocation, and arm \"{}\" dials the pods \"{}\", "
                       "not \"{}\"; give it a scenario of its own",
                       arm.name, dialled, group));
    return false;
  }
  switch (event.kind) {
    case EventKind::unready:
      if (!expect(pod, event.pod, {State::ready}, event, path + ".pod")) return false;
      *pod = State::unready;
      break;
    case EventKind::ready:
      if (!expect(pod, event.pod, {State::unready}, event, path + ".pod")) return false;
      *pod = State::ready;
      break;
    case EventKind::kill:
      if (!expect(pod, event.pod, {State::ready}, event, path + ".pod")) return false;
      *pod = State::ended;
      break;
    case EventKind::restart:
      if (!expect(pod, event.pod, {State::ended}, event, path + ".pod")) return false;
      *pod = State::ready;
      break;
    case EventKind::replace: {
      if (!expect(pod, event.pod, {State::ready}, event, path + ".pod")) return false;
      const auto name = event.by.value_or(std::string());  // check_fields() saw to it
      auto* const by = find(name, path + ".by");
      if (by == nullptr) return false;
      if (group_of(name) != group) {
        refuse(log_, path + ".by",
               fmt::format("{} is not of the pods \"{}\", so it cannot stand in for {}", name,
                           group, event.pod));
        return false;
      }
      if (!expect(by, name, {State::unready}, event, path + ".by")) return false;
      *pod = State::ended;
      *by = State::ready;
      break;
    }
  }
  return check_left(event, path);
}

// A pod on standby that no event needs would only cost memory.
void check_standby(const Scenario& scenario, ReadLog& log) {
  std::set<std::string> used;
  for (const auto& event : scenario.events) {
    used.insert(event.pod);
    if (event.by) used.insert(*event.by);
  }
  for (const auto& [name, group] : scenario.topology.pods) {
    const auto path = join_path("topology.pods", name) + ".standby";
    for (int i = group.replicas; i < group.replicas + group.standby && !log.faulty(path); ++i) {
      const auto pod = fmt::format("{}-{}", name, i);
      if (!used.contains(pod)) {
        refuse(log, path, fmt::format("no event makes {} ready, so it would never answer", pod));
      }
    }
  }
}

void check_open_loops(const Scenario& scenario, ReadLog& log) {
  for (std::size_t i = 0; i < scenario.workloads.size(); ++i) {
    const auto path = index_path("workloads", i);
    if (log.faulty(path)) continue;
    if (bench::is_stream(scenario.workloads[i].kind) ||
        scenario.workloads[i].kind == bench::WorkloadKind::tls_handshake) {
      refuse(log, path,
             "a stream has no requests that could fail, so it cannot say what clients notice of "
             "events; take tcp_rr, tcp_crr, udp_rr, http or http2");
      continue;
    }
    if (scenario.workloads[i].rate) continue;
    refuse(log, path,
           "under events a closed loop waits where clients would go on coming, so it cannot say "
           "what they notice; give it a rate");
  }
}

// Checks and faults about backends that leave need one that does.
void check_claims(const Scenario& scenario, ReadLog& log) {
  const bool leaves = std::ranges::any_of(
      scenario.events, [](const EventSpec& event) { return cluster::makes_leave(event.kind); });
  const auto keeps = [](const auto& workload) { return bench::keeps_connections(workload); };
  const auto datagrams = [](const auto& workload) {
    return bench::protocol_of(workload.kind) == base::Protocol::UDP;
  };
  const auto& workloads = scenario.workloads;
  for (std::size_t i = 0; i < scenario.checks.size(); ++i) {
    const auto path = index_path("checks", i);
    const auto check = scenario.checks[i];
    if (check != CheckKind::stale_backend && check != CheckKind::flows_stay) continue;
    if (!leaves) {
      refuse(log, path,
             fmt::format("{} is about backends that leave, and no event makes one leave",
                         base::enum_name(check)));
    } else if (log.faulty("workloads")) {
      continue;
    } else if (check == CheckKind::flows_stay && std::ranges::none_of(workloads, datagrams)) {
      refuse(
          log, path,
          "flows_stay is about kept flows of datagrams, for a TCP connection cannot move without "
          "breaking, and no workload here has any; add udp_rr");
    } else if (check == CheckKind::stale_backend &&
               std::ranges::all_of(workloads, [&](const auto& workload) {
                 return keeps(workload) && !datagrams(workload);
               })) {
      refuse(log, path,
             "stale_backend counts new connections and datagrams, and no workload here makes any; "
             "add tcp_crr or udp_rr");
    }
  }
  for (std::size_t i = 0; i < scenario.faults.size(); ++i) {
    const auto path = index_path("faults", i) + ".kind";
    const auto kind = scenario.faults[i].kind;
    if (kind == cluster::FaultKind::stale_backend && !leaves) {
      refuse(log, path, "no event makes a backend leave, so there is nothing to be late for");
    } else if (kind == cluster::FaultKind::flows_flushed &&
               (!leaves || std::ranges::none_of(workloads, datagrams))) {
      refuse(log, path,
             "flows of datagrams are flushed when a backend leaves, and here is no such flow or no "
             "such event");
    }
  }
}

}  // namespace

void resolve_events(Scenario& scenario, ReadLog& log) {
  if (log.faulty("topology")) return;
  if (!scenario.events.empty()) {
    check_open_loops(scenario, log);
    Course course(scenario, log);
    // What a later event may do follows from those before it.
    for (std::size_t i = 0; i < scenario.events.size(); ++i) {
      if (!course.take(i)) return;
    }
  }
  check_standby(scenario, log);
  check_claims(scenario, log);
}

}  // namespace stackbench
