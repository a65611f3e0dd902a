// The run of a scenario about policies, from environments that are up to what the report holds.
#pragma once

#include <functional>

#include "base/interrupt.h"
#include "base/result.h"
#include "base/terminal.h"
#include "cluster/target.h"
#include "stackbench/plan.h"
#include "stackbench/policy/matrix_record.h"
#include "stackbench/report_builder.h"
#include "stackbench/session.h"

namespace stackbench {

// Looks at policies in every environment, one after the other, and adds what it finds out and the
// scenario's checks to the report as soon as each part is whole: after an error the report has what
// was whole by then. `part_done` is called after each part. Errors: as Target, Session and
// AgentClient; interrupted.
[[nodiscard]] base::Result<> run_policies(cluster::Target& target, Session& session,
                                          const Plan& plan, const RepeatCommand& repeat,
                                          ReportBuilder& report, base::Progress& progress,
                                          const base::Interrupt& interrupt,
                                          const std::function<void()>& part_done);

}  // namespace stackbench
