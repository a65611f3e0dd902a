// The checks of a run: which observation each of them rests on, and what each arm is promised.
#pragma once

#include "base/interrupt.h"
#include "base/result.h"
#include "base/terminal.h"
#include "stackbench/plan.h"
#include "stackbench/report_builder.h"
#include "stackbench/session.h"

namespace stackbench {

// Judges the plan's checks arm by arm and adds them to the report, with what the probe cost. Needs
// root's session, no traffic beside it. Errors: interrupted, and as Session's observations.
[[nodiscard]] base::Result<> run_checks(const Plan& plan, Session& session, ReportBuilder& report,
                                        base::Progress& progress, const base::Interrupt& interrupt);

// Whether the plan asks for the check connection_table, which rests on what Target::facts() says
// before any traffic and after all of it.
[[nodiscard]] bool watches_connection_tables(const Plan& plan);
// Judges it for every arm that goes through such a table; an environment's arms share one finding,
// as they share its tables. Other arms are not listed.
void check_connection_tables(const Plan& plan, const base::Json& before, const base::Json& after,
                             ReportBuilder& report);

}  // namespace stackbench
