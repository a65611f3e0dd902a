// Cells about where a mesh's requests go, outside of every measurement.
#include <algorithm>
#include <set>
#include <utility>

#include "checks/mesh/routes_as_specified.h"
#include "stackbench/session_servers.h"

namespace stackbench {
namespace {

using base::Duration;
using base::Result;
using checks::RoutedByProxy;
using checks::RoutingClaim;
using std::chrono::milliseconds;

// Beyond what a route holds a request up by.
constexpr Duration answer_patience = std::chrono::seconds(3);
constexpr Duration waited_for_at_most = std::chrono::seconds(7);
// Until who waits for a connection waits, and who is refused is told.
constexpr Duration held_for = milliseconds(500);
// Of a stream of requests, whose resolution this is.
constexpr Duration stream_every = milliseconds(3);
// A pod fails for a part of the time that it is left alone, and is looked for a while longer.
constexpr Duration fails_at_most = milliseconds(500);
constexpr Duration looked_for_longer = std::chrono::seconds(1);
constexpr Duration left_alone_at_most = std::chrono::seconds(20);
constexpr int written_times = 5;
// The stream before a write, and once it is in force.
constexpr Duration before_write = milliseconds(100);
constexpr Duration after_write = milliseconds(200);

std::string whole(const std::string& service) {
  return base::kube::whole_host(service, cluster::default_namespace);
}

std::string request_text(const RoutingSpec& cell, const std::string& host) {
  auto text = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", cell.method, cell.path, host);
  for (const auto& [name, value] : cell.headers) text += fmt::format("{}: {}\r\n", name, value);
  // What is held back is the content, so that there must be some.
  return text + (cell.at_once ? "Content-Length: 1\r\n\r\nx" : "Content-Length: 0\r\n\r\n");
}

RoutingClaim claim_of(const RoutingSpec& cell) {
  if (cell.at_once) return RoutingClaim::at_once;
  if (cell.fails) return RoutingClaim::fails;
  return cell.writes ? RoutingClaim::writes : RoutingClaim::requests;
}

const cluster::ProxyCounters* counters_of(const std::vector<cluster::ProxyCounters>& all,
                                          const std::string& pod) {
  const auto found = std::ranges::find(all, pod, &cluster::ProxyCounters::pod);
  return found == all.end() ? nullptr : &*found;
}

// The object that a written one stands in place of; nothing where there is none.
const base::Json* replaced(const std::vector<base::Json>& objects, const base::Json& written) {
  const auto same = [&](const base::Json& other) {
    const auto name = [](const base::Json& object) {
      const auto metadata = object.value("metadata", base::Json::object());
      return std::pair{metadata.value("namespace", std::string(cluster::default_namespace)),
                       metadata.value("name", std::string())};
    };
    return other.value("kind", "") == written.value("kind", "") && name(other) == name(written);
  };
  const auto found = std::ranges::find_if(objects, same);
  return found == objects.end() ? nullptr : &*found;
}

}  // namespace

// The cells of one arm, whose servers run.
class Session::RoutingTrial {
 public:
  RoutingTrial(Session& session, const PlannedArm& arm, Servers& servers,
               const base::Endpoint& dialled)
      : session_(session),
        arm_(arm),
        servers_(servers),
        dialled_(dialled),
        environment_(session.environments_[arm.environment]),
        objects_(session.plan_->environments[arm.environment].mesh->spec.objects) {
    for (const auto& [name, service] : session.plan_->scenario.topology.services) {
      for (const auto& pod : environment_.pods) {
        if (pod.group == service.target && !pod.standby) {
          pods_.push_back({.name = pod.name, .host = whole(name), .labels = pod.labels});
        }
      }
    }
  }

  Result<checks::RoutingCell> run(const RoutingSpec& cell) {
    checks::RoutingCell seen{.name = cell.name, .claim = claim_of(cell)};
    for (const auto& pod : environment_.pods) seen.pods[pod.id] = pod.name;
    ASSIGN_OR_RETURN(seen.expected, predicted(cell, {}));
    auto ran = [&]() -> Result<> {
      switch (seen.claim) {
        case RoutingClaim::requests:
        case RoutingClaim::at_once:
          return ask(cell, seen);
        case RoutingClaim::fails:
          return fail(cell, seen);
        case RoutingClaim::writes:
          return write(cell, seen);
      }
      return {};
    }();
    if (!ran) return base::in_context(std::move(ran).error(), "cell {}", cell.name);
    return seen;
  }

 private:
  struct Watch {
    std::string pod;
    bench::AgentClient* agent;
    bench::JobId id;
  };

  // With these objects beside, or in place of, those of the mesh.
  [[nodiscard]] Result<checks::RoutedAs> predicted(const RoutingSpec& cell,
                                                   const std::vector<base::Json>& more) const {
    checks::RoutingObjects all;
    RETURN_IF_ERROR(checks::add_objects(objects_, all));
    RETURN_IF_ERROR(checks::add_objects(more, all));
    return checks::routed_as(all, pods_,
                             {.host = whole(arm_.dial.name),
                              .method = cell.method,
                              .path = cell.path.substr(0, cell.path.find('?')),
                              .headers = cell.headers});
  }

  [[nodiscard]] std::vector<std::string> askers(const RoutingSpec& cell) const {
    std::vector<std::string> all;
    for (const auto& pod : environment_.pods) {
      if (pod.group == cell.from && !pod.standby) all.push_back(pod.name);
    }
    return all;
  }

  [[nodiscard]] bench::Door door(const RoutingSpec& cell, const checks::RoutedAs& expected) const {
    const auto delay = expected.delay ? expected.delay->delay : Duration::zero();
    return {.name = cell.name,
            .to = dialled_,
            .plaintext = true,
            .request = request_text(cell, whole(arm_.dial.name)),
            .timeout = std::min<Duration>(delay + answer_patience, std::chrono::seconds(10))};
  }

  Result<> ask(const RoutingSpec& cell, checks::RoutingCell& seen) {
    if (seen.expected.delay && seen.expected.delay->delay > waited_for_at_most) {
      return base::fail(base::ErrorKind::input,
                        "its requests are held up for {}, and nobody waits that long here: say {} "
                        "at most",
                        base::StringScalar<Duration>::format(seen.expected.delay->delay),
                        base::StringScalar<Duration>::format(waited_for_at_most));
    }
    const auto one = door(cell, seen.expected);
    for (const auto& pod : askers(cell)) {
      ASSIGN_OR_RETURN(auto* const agent, session_.agent(arm_.environment, pod));
      ASSIGN_OR_RETURN(const auto before, session_.proxy_counters(arm_.environment));
      RoutedByProxy its{.proxy = pod};
      auto left = static_cast<std::size_t>(cell.at_once.value_or(cell.requests));
      while (left > 0) {
        const auto now = std::min(left, bench::most_doors);
        bench::TlsProbeJob job{.doors = std::vector(now, one)};
        if (cell.at_once) job.hold = held_for;
        ASSIGN_OR_RETURN(auto tried, agent->tls_probe(job));
        std::ranges::move(tried.doors, std::back_inserter(its.replies));
        left -= now;
      }
      ASSIGN_OR_RETURN(const auto after, session_.proxy_counters(arm_.environment));
      const auto* const first = counters_of(before, pod);
      const auto* const last = counters_of(after, pod);
      if (first != nullptr && last != nullptr) {
        its.connections = last->upstream - first->upstream;
        if (first->overflowed && last->overflowed) {
          its.overflowed = *last->overflowed - *first->overflowed;
        }
      }
      seen.proxies.push_back(std::move(its));
    }
    return {};
  }

  // ---- streams ----------------------------------------------------------------------------------

  Result<> start_streams(const RoutingSpec& cell, const checks::RoutingCell& seen) {
    for (const auto& pod : askers(cell)) {
      ASSIGN_OR_RETURN(auto* const agent, session_.agent(arm_.environment, pod));
      ASSIGN_OR_RETURN(const auto id, agent->start_tls_watch({.doors = {door(cell, seen.expected)},
                                                              .every = stream_every}));
      watches_.push_back({pod, agent, id});
    }
    return {};
  }

  // All of them end, whatever was met.
  Result<> stop_streams(checks::RoutingCell& seen, Result<> met) {
    for (const auto& watch : std::exchange(watches_, {})) {
      auto result = watch.agent->stop_tls_watch(watch.id);
      if (!result) {
        if (met) met = std::unexpected(std::move(result).error());
        continue;
      }
      seen.proxies.push_back(
          {.proxy = watch.pod, .replies = std::move(result->doors), .lost = result->changes_lost});
    }
    return met;
  }

  Result<> wait(Duration time) {
    return session_.interrupt_->wait_until(base::monotonic_now() + time);
  }

  Result<> fail(const RoutingSpec& cell, checks::RoutingCell& seen) {
    const auto outlier =
        seen.expected.policy ? seen.expected.policy->outlier_detection : std::nullopt;
    const auto least =
        outlier ? outlier->base_ejection_time.value_or(left_alone_at_most) : answer_patience;
    const auto longest = least + (outlier ? outlier->interval.value_or(least) : Duration::zero());
    if (longest > left_alone_at_most) {
      return base::fail(base::ErrorKind::input,
                        "its pod may be left alone for {} (baseEjectionTime and interval): say "
                        "less, 20s at most together",
                        base::StringScalar<Duration>::format(longest));
    }
    seen.failing = *cell.fails;
    const auto met = [&]() -> Result<> {
      RETURN_IF_ERROR(start_streams(cell, seen));
      RETURN_IF_ERROR(wait(before_write));
      seen.failed_ns = base::monotonic_now().ns;
      RETURN_IF_ERROR(servers_.stop(seen.failing));
      auto waited = wait(std::min(fails_at_most, least / 2));
      RETURN_IF_ERROR(servers_.start(seen.failing));
      seen.mended_ns = base::monotonic_now().ns;
      RETURN_IF_ERROR(waited);
      return session_.interrupt_->wait_until(base::MonotonicTime{seen.failed_ns} + longest +
                                             looked_for_longer);
    }();
    return stop_streams(seen, met);
  }

  Result<> write_once(const base::Json* object, const base::Json& named, bool restores,
                      checks::RoutingCell& seen) {
    // What was before is written whatever is met, and nobody who interrupts waits for it.
    const auto waited_before = wait(before_write);
    if (!waited_before && !restores) return waited_before;
    auto written = [&] {
      if (object != nullptr) return session_.target_->apply(environment_.name, *object);
      const auto& metadata = named.at("metadata");
      return session_.target_->remove(
          environment_.name, named.at("kind").get<std::string>(),
          fmt::format("{}/{}", metadata.value("namespace", std::string(cluster::default_namespace)),
                      metadata.at("name").get<std::string>()));
    }();
    if (!written) return std::unexpected(std::move(written).error());
    auto waited = wait(after_write);
    seen.writes.push_back({.acked_ns = written->acked_ns,
                           .until_ns = base::monotonic_now().ns,
                           .restores = restores});
    return waited;
  }

  Result<> write(const RoutingSpec& cell, checks::RoutingCell& seen) {
    seen.before = std::move(seen.expected);
    ASSIGN_OR_RETURN(seen.expected, predicted(cell, {*cell.writes}));
    const auto* const before = replaced(objects_, *cell.writes);
    auto met = start_streams(cell, seen);
    for (int i = 0; i < written_times && met; ++i) {
      met = write_once(&*cell.writes, *cell.writes, false, seen);
      // Whatever was met, the next cell finds what was before.
      auto restored = write_once(before, *cell.writes, true, seen);
      if (met) met = restored;
    }
    return stop_streams(seen, met);
  }

  Session& session_;
  const PlannedArm& arm_;
  Servers& servers_;
  base::Endpoint dialled_;
  const cluster::EnvironmentHandle& environment_;
  const std::vector<base::Json>& objects_;
  std::vector<checks::RoutedPod> pods_;
  std::vector<Watch> watches_;
};

std::optional<std::string> Session::why_no_routing() const {
  if (!on_cluster()) return std::nullopt;
  return "on a cluster nobody says when its proxies have an object, so that a request that does "
         "not "
         "obey may be one too early: run it on the lab";
}

Result<std::vector<checks::RoutingCell>> Session::try_routing(std::size_t arm_index) {
  const auto& arm = plan_->arms[arm_index];
  const auto workload = std::ranges::find_if(plan_->workloads, [](const PlannedWorkload& one) {
    return one.spec.kind == bench::WorkloadKind::http;
  });
  ASSIGN_OR_RETURN(const auto dialled, endpoints(arm, workload->spec.kind));
  std::set<std::string> groups;
  for (const auto& [name, service] : plan_->scenario.topology.services) {
    groups.insert(service.target);
  }
  Servers servers(*this, arm, workload->spec, false);
  for (const auto& pod : environments_[arm.environment].pods) {
    if (groups.contains(pod.group) && !pod.standby) RETURN_IF_ERROR(servers.send(pod.name));
  }
  RETURN_IF_ERROR(servers.await());
  RoutingTrial trial(*this, arm, servers, dialled.front());
  std::vector<checks::RoutingCell> all;
  base::Result<> met;
  for (const auto& cell : plan_->scenario.routing) {
    auto seen = trial.run(cell);
    if (!seen) {
      met = std::unexpected(std::move(seen).error());
      break;
    }
    all.push_back(*std::move(seen));
  }
  const auto stopped = servers.stop_all();
  RETURN_IF_ERROR(met);
  RETURN_IF_ERROR(stopped);
  return all;
}

}  // namespace stackbench
