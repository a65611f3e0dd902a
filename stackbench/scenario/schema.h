// The scenario's JSON Schema, for editors and for checking files without us.
#pragma once

#include "base/json.h"

namespace stackbench {

// Draft-07. What follows from the structs (fields, types, units, bounds) and what a schema can say
// of the rest (name patterns, at least one arm, exactly one bound). A file that passes may still
// name an arm that does not exist: only the reader knows.
[[nodiscard]] base::Json scenario_schema();

}  // namespace stackbench
