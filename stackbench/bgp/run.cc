#include "stackbench/bgp/run.h"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/conclude.h"
#include "stackbench/bgp/cluster_ground.h"
#include "stackbench/bgp/ecmp.h"
#include "stackbench/bgp/faults.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/bgp/scale.h"
#include "stackbench/bgp/scratch.h"

namespace stackbench::bgp {
namespace {

namespace fs = std::filesystem;
using base::Result;

reports::Stamp stamp() {
  return {fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))),
          base::monotonic_now().ns};
}

cluster::EnvironmentPlan plan_of(const Scenario& scenario) {
  cluster::EnvironmentPlan plan;
  plan.name = "bgp";
  plan.datapath = scenario.bgp->datapath;
  plan.topology = scenario.topology;
  // What the client's probes are sent to.
  plan.ports = {{"probe", cluster::Protocol::UDP, 8003, 7003}};
  return plan;
}

Rounds rounds_of(const Scenario& scenario) {
  const auto& spec = *scenario.bgp;
  return {.service = spec.service,
          .family = scenario.family,
          .write = spec.write,
          .rounds = spec.rounds,
          .budget = spec.budget};
}

// What the scenario asks, of the questions without faults and flows.
Result<Outcome> measure(Site& site, const Scenario& scenario, const base::Interrupt& interrupt) {
  const auto& spec = *scenario.bgp;
  if (spec.scale) {
    return measure_scale(site,
                         {.service = spec.service,
                          .family = scenario.family,
                          .scale = *spec.scale,
                          .rounds = spec.rounds,
                          .fault = spec.fault,
                          .reference = true},
                         interrupt);
  }
  site.plant(spec.fault);
  return site.measure(rounds_of(scenario));
}

void add_checks(const Outcome& outcome, const std::string& arm, reports::Report& report) {
  for (const auto& [name, finding] : outcome.findings) {
    report.checks.push_back({.name = name,
                             .arm = arm,
                             .verdict = finding.verdict,
                             .sentence = finding.sentence,
                             .observed = finding.observed,
                             .evidence = finding.evidence});
    auto& check = report.checks.back();
    const bool announced = name == "bgp_announced_in_time";
    if (!announced && name != "bgp_withdrawn_in_time") continue;
    check.sentence += ". " + described(outcome.convergences, announced, outcome.seen_at);
    check.evidence["convergences"] = base::to_json(outcome.convergences);
  }
}

SpeakersSpec speakers_of(const Spec& spec) {
  if (!spec.faults.empty()) return speakers_for_faults(spec);
  return {.router_asn = {spec.router_asn},
          .node_asn = {spec.node_asn},
          .communities = spec.communities,
          .hold_time_s = spec.hold_time_s,
          .restart_time_s = spec.restart_time_s,
          .password = spec.password,
          .max_prefixes = spec.max_prefixes,
          .next_hops = spec.next_hops.front()};
}

// A kind of next hops after the other: whether the user stopped them after something was whole.
// What the kernel has not is said so, beside what it has.
Result<bool> measure_flows_into(Site& site, const Scenario& scenario,
                                const base::Interrupt& interrupt, reports::Report& report) {
  const auto& spec = *scenario.bgp;
  for (const auto kind : spec.next_hops) {
    const auto arm = spec.next_hops.size() == 1
                         ? spec.service
                         : fmt::format("{}/{}", spec.service, base::enum_name(kind));
    const auto used = site.use(kind);
    if (!used && used.error().kind == base::ErrorKind::missing) {
      for (const auto* name : {"bgp_ecmp_distribution", "bgp_flows_moved_as_predicted"}) {
        report.checks.push_back({.name = name,
                                 .arm = arm,
                                 .verdict = base::Verdict::skip,
                                 .sentence = used.error().message});
      }
      continue;
    }
    RETURN_IF_ERROR(used);
    auto outcome = measure_flows(site,
                                 {.service = spec.service,
                                  .family = scenario.family,
                                  .next_hops = kind,
                                  .flows = static_cast<std::size_t>(*spec.flows),
                                  .rounds = spec.rounds,
                                  .seed = scenario.seed,
                                  .fault = spec.fault},
                                 interrupt);
    // Interrupted, after another kind was whole.
    if (!outcome && interrupt.requested() && !report.checks.empty()) return true;
    if (!outcome) return std::unexpected(std::move(outcome).error());
    add_checks(*outcome, arm, report);
    if (outcome->interrupted) return true;
  }
  return false;
}

// What the scenario asks: whether the user stopped them after something was whole.
Result<bool> measure_into(Site& site, const Scenario& scenario, const Request& request,
                          const base::Interrupt& interrupt, reports::Report& report) {
  const auto& spec = *scenario.bgp;
  if (spec.flows) return measure_flows_into(site, scenario, interrupt, report);
  if (spec.faults.empty()) {
    ASSIGN_OR_RETURN(auto outcome, measure(site, scenario, interrupt));
    report.bgp_scale = std::move(outcome.scale);
    add_checks(outcome, spec.service, report);
    return outcome.interrupted;
  }
  site.plant(spec.fault);
  const auto tell = [&](std::size_t done, std::size_t total, const std::string& doing) {
    if (request.progress) request.progress(done, total, doing);
  };
  ASSIGN_OR_RETURN(const auto outcome,
                   run_faults(site, site.target(), spec, scenario.family, interrupt, tell));
  add_faults(outcome, report);
  return outcome.interrupted;
}

// Copies the captures to stay beside the report; their paths.
Result<std::vector<std::string>> keep_captures(const std::string& directory,
                                               const std::vector<std::string>& names,
                                               const std::string& report_file) {
  std::vector<std::string> kept;
  for (const auto& name : names) {
    auto target = fs::path(report_file).replace_extension(name + ".pcap");
    std::error_code code;
    if (target.has_parent_path()) fs::create_directories(target.parent_path(), code);
    fs::copy_file(fmt::format("{}/capture-{}.pcap", directory, name), target,
                  fs::copy_options::overwrite_existing, code);
    if (code) return base::system_error(code.value(), "{}", target.string());
    kept.push_back(target.string());
  }
  return kept;
}

std::string plan_of_faults(const Scenario& scenario) {
  const auto& spec = *scenario.bgp;
  auto text = fmt::format(
      "{}\n\n{}: AS {}, each with a gobgpd, and a router of AS {}; datapath {}, hold time {} s.\n"
      "{} times each, with a client that sends to Service {} all the time:\n",
      scenario.question,
      base::format_count(static_cast<std::uint64_t>(scenario.topology.nodes), "node"),
      spec.node_asn, spec.router_asn, base::enum_name(spec.datapath), spec.hold_time_s,
      spec.repetitions, spec.service);
  for (const auto& fault : spec.faults) {
    text += fmt::format("  {:<20} of node {}\n", base::enum_name(fault.kind), fault.node);
  }
  return text + fmt::format("About {}.\n", base::format_wait(time_for_faults(spec).count()));
}

reports::Report report_of(const Scenario& scenario, const Request& request,
                          std::string_view target) {
  return {.stackbench_version = STACKBENCH_VERSION,
          .question = scenario.question,
          .target = std::string(target),
          .scenario = {.file = request.scenario_file,
                       .overrides = request.overrides,
                       .resolved = base::to_json(scenario)},
          .command_line = request.command_line,
          .started = stamp(),
          .machine = base::collect_machine()};
}

using StartSite = std::function<Result<std::unique_ptr<Site>>(const std::string& directory)>;

// Measures at a site, whose target is asked what it is before it is taken down.
Result<reports::Report> measured(const StartSite& start, cluster::Target& target,
                                 const Scenario& scenario, const Request& request,
                                 const base::Interrupt& interrupt) {
  auto report = report_of(scenario, request, target.name());
  ASSIGN_OR_RETURN(const auto scratch, Scratch::make());
  ASSIGN_OR_RETURN(auto site, start(scratch.path()));
  std::vector<std::string> captures;
  if (site->ground().router_netns() >= 0) {
    for (const auto& [name, interface] : site->ground().session_interfaces()) {
      captures.push_back(name);
    }
  }
  ASSIGN_OR_RETURN(const bool interrupted,
                   measure_into(*site, scenario, request, interrupt, report));
  report.target_facts = target.facts();
  if (auto facts = site->ground().facts(); !facts.is_null()) {
    report.target_facts["bgp"] = std::move(facts);
  }
  const auto& environment = site->ground().environment();
  report.environments.push_back(
      {.name = environment.name, .datapath = std::string(base::enum_name(environment.datapath))});
  // The captures are whole once it has gone.
  site.reset();
  report.complete = !interrupted && report.errors.empty();
  if (interrupted) report.signal = interrupt.signal();
  // From here on there are figures: what goes wrong is said beside them, in their report.
  if (!captures.empty() &&
      std::ranges::count(report.checks, base::Verdict::fail, &reports::Check::verdict) > 0) {
    const auto files = keep_captures(scratch.path(), captures, request.report_file);
    if (!files) report.errors.push_back(reports::trouble_from(files.error()));
    for (auto& check : report.checks) {
      if (files && check.verdict == base::Verdict::fail) check.evidence["captures"] = *files;
    }
  }
  if (const auto down = target.teardown(); !down) {
    report.errors.push_back(reports::trouble_from(down.error()));
  }
  report.ended = stamp();
  report.conclusion = reports::conclude(report);
  return report;
}

}  // namespace

Result<reports::Report> run(const Scenario& scenario, const Request& request,
                            const base::Interrupt& interrupt) {
  cluster::LabTarget lab;
  const auto start = [&](const std::string& directory) {
    return Site::start(lab, plan_of(scenario), speakers_of(*scenario.bgp), directory, interrupt);
  };
  return measured(start, lab, scenario, request, interrupt);
}

Result<reports::Report> run_on_cluster(cluster::KubernetesTarget& target, const Scenario& scenario,
                                       RouterPlace place, const Request& request,
                                       const base::Interrupt& interrupt,
                                       std::function<void(std::string_view)> progress) {
  const auto& spec = *scenario.bgp;
  if (spec.scale || spec.flows || !spec.faults.empty()) {
    return base::fail(base::ErrorKind::input,
                      "bgp.{} is asked of a lab alone, where every speaker is ours: leave "
                      "--target kubernetes out",
                      spec.scale   ? "scale"
                      : spec.flows ? "flows"
                                   : "faults");
  }
  if (spec.pool.address.family != scenario.family) {
    return base::fail(base::ErrorKind::input,
                      "bgp.pool: the scenario dials by {}, and {} holds none of its addresses",
                      base::enum_name(scenario.family), spec.pool.to_string());
  }
  auto plan = plan_of(scenario);
  plan.datapath = cluster::DatapathKind::installed;
  ASSIGN_OR_RETURN(auto ground, ClusterGround::make(target, plan, std::move(place),
                                                    {.speakers = speakers_of(spec),
                                                     .pool = spec.pool,
                                                     .fault = spec.fault,
                                                     .progress = std::move(progress)}));
  const auto start = [&](const std::string& directory) {
    return Site::start(std::move(ground), directory, interrupt);
  };
  return measured(start, target, scenario, request, interrupt);
}

namespace {

// What is done, and how long that takes: 10 s until GoBGP connects at the latest, and then
// everything that programs the nodes' datapaths, or that the router works off.
std::pair<std::string, std::chrono::milliseconds> question_of(const Scenario& scenario) {
  using std::chrono::milliseconds;
  const auto& spec = *scenario.bgp;
  const auto often = spec.rounds == 1 ? "once" : fmt::format("{} times", spec.rounds);
  if (spec.scale) {
    // Until the speakers have come to a sink, to which the most of them are told once more.
    milliseconds work{std::chrono::seconds(13)};
    // By measurement: a thousand take about half a second, announced or withdrawn.
    for (const int count : spec.scale->services) work += spec.rounds * milliseconds(200 + count);
    work += spec.rounds * milliseconds(200 + std::ranges::max(spec.scale->services));
    return {fmt::format("{} Services like {} are announced and withdrawn at once, each {}; the "
                        "most of them once more to a sink in the router's place.",
                        fmt::join(spec.scale->services, ", "), spec.service, often),
            work};
  }
  if (spec.flows) {
    std::vector<std::string_view> kinds;
    for (const auto kind : spec.next_hops) kinds.push_back(base::enum_name(kind));
    return {fmt::format("{} flows to Service {} are followed while each node leaves {}; {} next "
                        "hops.",
                        *spec.flows, spec.service, often, fmt::join(kinds, ", then ")),
            static_cast<int>(kinds.size()) * spec.rounds * scenario.topology.nodes *
                milliseconds(200 + *spec.flows / 10)};
  }
  return {fmt::format("The address of Service {} is announced and withdrawn {}, by {}.",
                      spec.service, often,
                      spec.write == Write::service ? "making and deleting the Service"
                                                   : "the readiness of its pods"),
          spec.rounds * milliseconds(1000)};
}

}  // namespace

std::string plan_text(const Scenario& scenario) {
  const auto& spec = *scenario.bgp;
  if (!spec.faults.empty()) return plan_of_faults(scenario);
  const auto [question, work] = question_of(scenario);
  const bool of_clusters = !spec.scale && !spec.flows;
  return fmt::format(
      "{}\n\n{}: AS {}, each with a gobgpd, and a router of AS {}; datapath {}.\n{}\nAbout {}.\n{}",
      scenario.question,
      base::format_count(static_cast<std::uint64_t>(scenario.topology.nodes), "node"),
      spec.node_asn, spec.router_asn, base::enum_name(spec.datapath), question,
      base::format_wait((std::chrono::seconds(10) + work) / std::chrono::nanoseconds(1)),
      of_clusters ? fmt::format("That is the lab. With --target kubernetes the cluster's own "
                                "speakers announce an address of {}.\n",
                                spec.pool.to_string())
                  : "");
}

}  // namespace stackbench::bgp
