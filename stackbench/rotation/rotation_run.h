// The run of a scenario with a rotation, from environments that are up to what the report holds.
#pragma once

#include <functional>

#include "base/interrupt.h"
#include "base/result.h"
#include "base/terminal.h"
#include "checks/mtls/rotation.h"
#include "cluster/target.h"
#include "reports/rotation.h"
#include "stackbench/plan.h"
#include "stackbench/report_builder.h"
#include "stackbench/session.h"

namespace stackbench {

// Rotates certificates in every environment, one after the other, while traffic runs and handshakes
// are tried, and adds what was noticed and the scenario's checks to the report as soon as an
// environment is done with: after an error the report has those before. Where the target cannot
// rotate, the environment's checks are skipped, with its reason. `part_done` is called after each
// part. Errors: as Target, Session and AgentClient; interrupted.
[[nodiscard]] base::Result<> run_rotations(cluster::Target& target, Session& session,
                                           const Plan& plan, ReportBuilder& report,
                                           base::Progress& progress,
                                           const base::Interrupt& interrupt,
                                           const std::function<void()>& part_done);

// The report's part of one environment.
void add_rotation(const std::string& environment, const checks::RotationOutcome& outcome,
                  reports::RotationRecord& record);

// The finding of one of the scenario's checks; of rotation_is_seamless that of one kind of traffic.
[[nodiscard]] checks::Finding judge_rotation(CheckKind kind, const RotationSpec& rotation,
                                             const checks::RotationOutcome& outcome,
                                             const std::string& traffic);

}  // namespace stackbench
