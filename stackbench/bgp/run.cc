#include "stackbench/bgp/run.h"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include <fmt/chrono.h>
#include <stdlib.h>

#include "base/units.h"
#include "reports/conclude.h"
#include "stackbench/bgp/measure.h"

namespace stackbench::bgp {
namespace {

namespace fs = std::filesystem;
using base::Result;

// A directory that goes with the run.
class Scratch {
 public:
  static Result<Scratch> make() {
    auto name = (fs::temp_directory_path() / "stackbench-bgp-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return base::system_error(errno, "mkdtemp {}", name);
    return Scratch(name);
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

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

void add_checks(const Outcome& outcome, const std::string& service, reports::Report& report) {
  for (const auto& [name, finding] : outcome.findings) {
    report.checks.push_back({.name = name,
                             .arm = service,
                             .verdict = finding.verdict,
                             .sentence = finding.sentence,
                             .observed = finding.observed,
                             .evidence = finding.evidence});
    auto& check = report.checks.back();
    const bool announced = name == "bgp_announced_in_time";
    if (!announced && name != "bgp_withdrawn_in_time") continue;
    check.sentence += ". " + described(outcome.convergences, announced);
    check.evidence["convergences"] = base::to_json(outcome.convergences);
  }
}

// Copies the captures to stay beside the report; their paths.
Result<std::vector<std::string>> keep_captures(const std::string& directory, int nodes,
                                               const std::string& report_file) {
  std::vector<std::string> kept;
  for (int node = 1; node <= nodes; ++node) {
    auto target = fs::path(report_file).replace_extension(fmt::format("node{}.pcap", node));
    std::error_code code;
    if (target.has_parent_path()) fs::create_directories(target.parent_path(), code);
    fs::copy_file(fmt::format("{}/capture-node{}.pcap", directory, node), target,
                  fs::copy_options::overwrite_existing, code);
    if (code) return base::system_error(code.value(), "{}", target.string());
    kept.push_back(target.string());
  }
  return kept;
}

}  // namespace

Result<reports::Report> run(const Scenario& scenario, const Request& request,
                            const base::Interrupt& interrupt) {
  const auto& spec = *scenario.bgp;
  reports::Report report{.stackbench_version = STACKBENCH_VERSION,
                         .question = scenario.question,
                         .target = "lab",
                         .scenario = {.file = request.scenario_file,
                                      .overrides = request.overrides,
                                      .resolved = base::to_json(scenario)},
                         .command_line = request.command_line,
                         .started = stamp(),
                         .machine = base::collect_machine()};
  ASSIGN_OR_RETURN(const auto scratch, Scratch::make());
  const auto plan = plan_of(scenario);
  cluster::LabTarget lab;
  ASSIGN_OR_RETURN(auto site, Site::start(lab, plan,
                                          {.router_asn = {spec.router_asn},
                                           .node_asn = {spec.node_asn},
                                           .communities = spec.communities,
                                           .hold_time_s = spec.hold_time_s,
                                           .restart_time_s = spec.restart_time_s},
                                          scratch.path(), interrupt));
  site->plant(spec.fault);
  ASSIGN_OR_RETURN(const auto outcome, site->measure(rounds_of(scenario)));
  report.target_facts = lab.facts();
  report.environments.push_back(
      {.name = plan.name, .datapath = std::string(base::enum_name(plan.datapath))});
  // The captures are whole once it has gone.
  site.reset();
  add_checks(outcome, spec.service, report);
  report.complete = !outcome.interrupted;
  if (outcome.interrupted) report.signal = interrupt.signal();
  // From here on there are figures: what goes wrong is said beside them, in their report.
  if (std::ranges::count(report.checks, base::Verdict::fail, &reports::Check::verdict) > 0) {
    const auto files = keep_captures(scratch.path(), plan.topology.nodes, request.report_file);
    if (!files) report.errors.push_back(reports::trouble_from(files.error()));
    for (auto& check : report.checks) {
      if (files && check.verdict == base::Verdict::fail) check.evidence["captures"] = *files;
    }
  }
  if (const auto down = lab.teardown(); !down) {
    report.errors.push_back(reports::trouble_from(down.error()));
  }
  report.ended = stamp();
  report.conclusion = reports::conclude(report);
  return report;
}

std::string plan_text(const Scenario& scenario) {
  const auto& spec = *scenario.bgp;
  return fmt::format(
      "{}\n\n{}: AS {}, each with a gobgpd, and a router of AS {}; datapath {}.\n"
      "The address of Service {} is announced and withdrawn {}, by {}.\n"
      "About {}.\n",
      scenario.question,
      base::format_count(static_cast<std::uint64_t>(scenario.topology.nodes), "node"),
      spec.node_asn, spec.router_asn, base::enum_name(spec.datapath), spec.service,
      spec.rounds == 1 ? "once" : fmt::format("{} times", spec.rounds),
      spec.write == Write::service ? "making and deleting the Service"
                                   : "the readiness of its pods",
      // 10 s until GoBGP connects at the latest; a round programs every node's datapath twice.
      base::format_wait((std::chrono::seconds(10) + spec.rounds * std::chrono::seconds(1)) /
                        std::chrono::nanoseconds(1)));
}

}  // namespace stackbench::bgp
