// Fills the report record as a run goes on.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "checks/finding.h"
#include "probes/drops.h"
#include "reports/record.h"
#include "reports/store.h"
#include "stackbench/run_loop.h"
#include "stackbench/session.h"

namespace stackbench {

class ReportBuilder {
 public:
  // What is known before anything runs.
  ReportBuilder(const Plan& plan, std::string file, std::vector<std::string> overrides,
                std::vector<std::string> command_line, std::string_view target);

  // Complete invocation results go to this series file from here on; it must outlive the builder's
  // use. Without one the report has none.
  void keep_series(reports::SeriesWriter& series) { series_ = &series; }

  // Environments and the addresses arms dial. Errors: as Session::endpoints.
  base::Result<> add_environments(const Session& session);
  // What Target::facts() says. Called after the checks, whose probes have the kernel count what
  // every eBPF program costs: a datapath's hooks are reported beside the probes.
  void add_facts(base::Json facts);
  // Without a workload it is about all of them.
  void add_check(std::string name, std::string arm, std::optional<std::string> workload,
                 checks::Finding finding);
  // Of a scenario about policies: what was found out about them, filled as it becomes whole.
  [[nodiscard]] reports::PolicyRecord& policy() {
    if (!report_.policy) report_.policy.emplace();
    return *report_.policy;
  }
  // Of a scenario with a plaintext_window.
  void add_plaintext_window(reports::PlaintextWindowRecord record) {
    report_.plaintext_windows.push_back(std::move(record));
  }
  [[nodiscard]] bool has_plaintext_windows() const { return !report_.plaintext_windows.empty(); }
  // Of a scenario with a rotation, likewise.
  [[nodiscard]] reports::RotationRecord& rotation() {
    if (!report_.rotation) report_.rotation.emplace();
    return *report_.rotation;
  }
  void add_probe(reports::ProbeOverhead probe) { report_.probes.push_back(std::move(probe)); }
  // A block with its samples, histograms included. Errors: as SeriesWriter::append.
  base::Result<> add_block(const Block& block, std::span<const Sample> samples);
  // What ended the run early.
  void add_error(const base::Error& error) {
    report_.errors.push_back(reports::trouble_from(error));
  }
  void set_clock(const bench::ClockOffset& clock) {
    report_.plan.clock_offset_ns = clock.offset.count();
    report_.plan.clock_uncertainty_ns = clock.uncertainty.count();
  }
  void set_signal(int signal) { report_.signal = signal; }
  // The series came to nothing: no sample points into it.
  void drop_series() {
    for (auto& sample : report_.samples) sample.series_row.reset();
  }
  void add_series_file(reports::SeriesFile file) { report_.series.push_back(std::move(file)); }

  [[nodiscard]] bool has_checks() const { return !report_.checks.empty(); }

  // The report as it stands between blocks: the estimates so far, nothing judged.
  [[nodiscard]] reports::Report so_far(const Measurements& measured) const;

  // Estimates, expectations, noise and the conclusion, from all that was added. `complete`: the run
  // got to its end. Errors: as judge_expectations.
  base::Result<reports::Report> finish(const Measurements& measured,
                                       const base::NoiseLimits& limits, bool complete) &&;

  // What the kernel dropped during a block; finish() joins it to samples that lost something.
  // `seen_at`: whose kernel, as Session::drops_seen_at.
  void add_drops(probes::Drops drops, std::optional<std::string> seen_at);
  // Why nobody watched for drops.
  void no_drop_watch(const base::Error& error);

 private:
  void add_estimates(const Measurements& measured);
  base::Result<> add_growth(const Measurements& measured);
  void join_drops();

  const Plan* plan_;
  std::vector<probes::Drop> drops_;
  std::vector<std::pair<base::MonotonicTime, base::MonotonicTime>> spans_;  // beside the samples
  reports::Report report_;
  reports::SeriesWriter* series_ = nullptr;
  std::uint64_t rows_ = 0;
  std::map<std::pair<std::size_t, std::size_t>, reports::MergedHistogram> merged_;
};

}  // namespace stackbench
