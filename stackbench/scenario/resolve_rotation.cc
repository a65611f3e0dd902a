// The rotation section: whose certificates, and times in which something can be told.
#include <algorithm>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;
using Text = base::StringScalar<base::Duration>;

constexpr base::Duration second = std::chrono::seconds(1);
constexpr base::Duration longest_traffic = std::chrono::hours(1);
constexpr double slowest = 10;
constexpr double fastest = 5000;

void stands_alone(const Scenario& scenario, ReadLog& log) {
  const auto refuse_part = [&](const char* part, bool there) {
    if (!there || log.faulty_itself(part)) return;
    refuse(log, part, "a scenario with a rotation has traffic of its own, and nothing of this");
  };
  refuse_part("arms", !scenario.arms.empty());
  refuse_part("workloads", !scenario.workloads.empty());
  refuse_part("expect", !scenario.expect.empty());
  refuse_part("events", !scenario.events.empty());
}

void check_names(const Scenario& scenario, ReadLog& log) {
  const auto& spec = *scenario.rotation;
  const auto& topology = scenario.topology;
  if (!log.faulty("rotation.service") && !log.faulty_itself("topology.services") &&
      !topology.services.contains(spec.service)) {
    refuse(log, "rotation.service",
           unknown_name("Service", spec.service, names_of(topology.services)));
  }
  if (log.faulty("rotation.from") || log.faulty_itself("topology.pods")) return;
  if (spec.from == cluster::external_client) {
    refuse(log, "rotation.from",
           "nobody's proxy is beside the client outside: name a group of pods");
  } else if (!topology.pods.contains(spec.from)) {
    refuse(log, "rotation.from", unknown_name("group of pods", spec.from, names_of(topology.pods)));
  }
}

void check_environments(const Scenario& scenario, ReadLog& log) {
  if (log.faulty_itself("environments")) return;
  if (scenario.environments.empty()) {
    refuse(log, "rotation", "certificates are rotated in every environment, and there is none");
  }
  for (const auto& [name, environment] : scenario.environments) {
    const auto path = join_path("environments", name);
    if (log.faulty(path)) continue;
    if (!environment.mesh) {
      refuse(log, path, "certificates are rotated in every environment, and this one has no mesh");
    } else if (environment.mesh->mode == MtlsMode::DISABLE) {
      refuse(log, path + ".mesh.mode", "in a mesh that is DISABLE nobody shows a certificate");
    }
  }
  if (scenario.family == base::AddressFamily::ipv6 && !log.faulty("family")) {
    refuse(log, "family", "proxies are led IPv4 alone here: dial ipv4");
  }
}

void check_times(const RotationSpec& spec, ReadLog& log) {
  check_span(spec.certificates_last, 2 * second, longest_traffic, "rotation.certificates_last",
             log);
  check_span(spec.every, second, longest_traffic, "rotation.every", log);
  if (!log.faulty("rotation.certificates_last") &&
      spec.certificates_last % second != base::Duration(0)) {
    refuse(
        log, "rotation.certificates_last",
        fmt::format("certificates say when they end in whole seconds (RFC 5280, 4.1.2.5), got {}",
                    Text::format(spec.certificates_last)));
  }
  if (log.faulty("rotation.every")) return;
  // The end of one is rounded down to a second.
  if (!log.faulty("rotation.certificates_last") && spec.every + second > spec.certificates_last) {
    refuse(log, "rotation.every",
           fmt::format("certificates that last {} may end a second earlier, and would before they "
                       "are rotated each {}",
                       Text::format(spec.certificates_last), Text::format(spec.every)));
  }
  for (const auto& [path, span] : {std::pair{"rotation.budget.renewed", spec.budget.renewed},
                                   std::pair{"rotation.budget.gap", spec.budget.gap}}) {
    if (log.faulty(path) || span < spec.every) continue;
    refuse(log, path,
           fmt::format("each rotation is watched for {}, so {} would not be seen to pass",
                       Text::format(spec.every), Text::format(span)));
  }
  if (!log.faulty("rotation.rotations") && traffic_lasts(spec) > longest_traffic) {
    refuse(log, "rotation.rotations",
           fmt::format("they take {}, and one run may be at it for {}",
                       Text::format(traffic_lasts(spec)), Text::format(longest_traffic)));
  }
}

}  // namespace

void resolve_rotation(const Scenario& scenario, ReadLog& log) {
  if (log.faulty_itself("rotation")) return;
  const auto& spec = *scenario.rotation;
  stands_alone(scenario, log);
  check_names(scenario, log);
  check_environments(scenario, log);
  check_times(spec, log);
  const auto rate = spec.rate.per_second;
  if (!log.faulty("rotation.rate") && (rate < slowest || rate > fastest)) {
    refuse(log, "rotation.rate",
           fmt::format("expected between {}/s and {}/s, got {}", slowest, fastest,
                       base::StringScalar<base::RequestRate>::format(spec.rate)));
  }
}

}  // namespace stackbench
