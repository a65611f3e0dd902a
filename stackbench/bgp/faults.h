// What `bgp.faults` in a scenario asks for: everything on the list is done so many times, one after
// the other, each mended and all sound again before the next.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/lab/lab_target.h"
#include "reports/record.h"
#include "stackbench/bgp/fault_judge.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

struct FaultsOutcome {
  std::vector<FaultRun> runs = {};  // in the scenario's order; the last may lack repetitions
  bool interrupted = false;         // the user stopped it: what is here was whole by then
  std::optional<base::Error> trouble = {};  // what stopped it, after something was whole
};

// Told before each: how many are done, of how many, and which comes.
using FaultWatcher =
    std::function<void(std::size_t done, std::size_t total, const std::string& doing)>;

// How a site's speakers are started for these faults: the nodes without graceful restart, until a
// fault wants it.
[[nodiscard]] SpeakersSpec speakers_for_faults(const Spec& spec);

// `site` is of speakers_for_faults(). Errors: interrupted, before anything was whole; timed_out,
// with what is not sound at the beginning; system; input, where the Service cannot be measured.
[[nodiscard]] base::Result<FaultsOutcome> run_faults(Site& site, cluster::LabTarget& target,
                                                     const Spec& spec, base::AddressFamily family,
                                                     const base::Interrupt& interrupt,
                                                     const FaultWatcher& watcher);

// Puts them into a report: a record and its checks each, whose arm is "speaker_killed/node2".
void add_faults(const FaultsOutcome& outcome, reports::Report& report);

// How long it takes, about: for `stackbench plan` and whoever waits.
[[nodiscard]] base::Duration time_for_faults(const Spec& spec);

}  // namespace stackbench::bgp
