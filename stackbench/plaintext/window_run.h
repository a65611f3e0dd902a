// A run that asks for how long plaintext passes while a mesh changes (plaintext_window).
#pragma once

#include <functional>

#include "base/interrupt.h"
#include "base/terminal.h"
#include "checks/mtls/plaintext_window.h"
#include "cluster/target.h"
#include "reports/plaintext_window.h"
#include "stackbench/plaintext/change_watch.h"
#include "stackbench/report_builder.h"
#include "stackbench/session.h"

namespace stackbench {

// What was done to the mesh, and what the target says of when.
struct ChangeDone {
  cluster::WriteStamps stamps;
  bool closes = false;                            // plaintext, which was answered until then
  std::optional<std::int64_t> listening_ns = {};  // of a pod made anew: its application
  std::optional<std::int64_t> permitted_ns = {};  // when PERMISSIVE was acknowledged before it
};

// What a repetition comes to: what is judged, and as the report has it.
[[nodiscard]] checks::MeshWatch mesh_watch(SeenChange seen, const ChangeDone& done);
[[nodiscard]] reports::PlaintextRepetition plaintext_repetition(const checks::MeshWatch& watch,
                                                                const checks::ChangeSeen& seen,
                                                                const ChangeDone& done,
                                                                const probes::WireReport& wire);

// Watches every change of the scenario in every environment it is asked of, up to half as many
// times more than asked where some say nothing. What the target cannot do is skipped. Errors: as
// ChangeWatch and the target's; interrupted. The mesh's mode is as it was, whatever happened.
[[nodiscard]] base::Result<> run_windows(cluster::Target& target, Session& session,
                                         const Plan& plan, ReportBuilder& report,
                                         base::Progress& progress, const base::Interrupt& interrupt,
                                         const std::function<void()>& part_done);

}  // namespace stackbench
